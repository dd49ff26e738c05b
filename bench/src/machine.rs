//! The machine on which the results were measured.

use serde::Serialize;
use std::process::Command;

/// Properties of the machine that affect results.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name in the kernel.
    pub cpu: String,
    /// The number of hardware threads.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The programs involved, with their versions.
    pub versions: Vec<(String, String)>,
}

/// The programs whose versions are reported, with the option that prints the version.
const PROGRAMS: [(&str, &str); 7] = [
    ("rustc", "--version"),
    ("redis-server", "--version"),
    ("mariadbd", "--version"),
    // The server itself is seldom on PATH.
    ("psql", "--version"),
    ("rqlited", "-version"),
    ("summitdb-server", "-v"),
    ("spin", "--version"),
];

impl Machine {
    /// The machine that this process runs on.
    pub fn this() -> Self {
        let versions = PROGRAMS
            .iter()
            .filter_map(|(program, option)| {
                let done = Command::new(program).arg(option).output().ok()?;
                let said = [done.stdout, done.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                Some((program.to_string(), said.lines().next()?.trim().to_owned()))
            })
            .collect();
        Self {
            cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            versions,
        }
    }
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The resident memory of a process in bytes; None when the kernel does not report it.
pub fn resident(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
