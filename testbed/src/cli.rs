//! Runs the program `int-host` as its users do. The accessors of an outcome assert: they panic when it is another
//! one.

use crate::error::{Error, Result};
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{backend, http, target, wait};
use rustix::process::Signal;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take until it listens. The first one compiles its component.
const LISTENS: Duration = Duration::from_secs(60);

/// An isolated environment for commands: its own data directory, and none of this machine's settings.
pub struct Place {
    scratch: Scratch,
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; None when a signal ended the command.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Outcome {
    /// The integers that the command printed.
    ///
    /// # Panics
    /// When the command failed, printed anything else, or its output does not end with a newline.
    pub fn integers(&self) -> Vec<i64> {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(self.stdout.is_empty() || self.stdout.ends_with('\n'));
        self.stdout
            .lines()
            .map(|line| line.parse().unwrap_or_else(|e| panic!("{line:?}: {e}")))
            .collect()
    }

    /// Checks that the command failed with this exit code, that it printed nothing, and that its standard
    /// error contains each of the texts `says`.
    ///
    /// # Panics
    /// When one of these does not hold.
    pub fn assert_failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "nothing is printed by what fails");
        for text in says {
            assert!(self.stderr.contains(text), "no {text:?} in {self:?}");
        }
    }
}

impl Place {
    /// Creates an environment without any data.
    ///
    /// # Errors
    /// When no temporary folder can be created.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new("int-host")?;
        Ok(Self { scratch })
    }

    /// Builds a command that the caller can change or run.
    ///
    /// # Errors
    /// When the program cannot be built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(target::int_host()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ARTISANAL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("ARTISANAL_DATA", self.data())
            .env("ARTISANAL_CACHE", backend::cache())
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.scratch.path());
        Ok(command)
    }

    /// The data directory. It may not exist yet.
    pub fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// The path of another file in this environment. The file is not created.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Runs a command until it ends.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        run(self.command(arguments)?)
    }

    /// Runs a command that mints and returns the integers.
    ///
    /// # Errors
    /// As [`Place::run`].
    ///
    /// # Panics
    /// When the command fails.
    pub fn mint(&self, arguments: &[&str]) -> Result<Vec<i64>> {
        Ok(self.run(arguments)?.integers())
    }

    /// Starts `int-host serve` on a free port and waits until it listens.
    ///
    /// # Errors
    /// When it does not listen in time, with its log.
    pub fn serve(&self, arguments: &[&str]) -> Result<Serving> {
        let mut all = vec!["serve", "--port", "0", "--host", "127.0.0.1"];
        all.extend(arguments);
        Serving::start(self.command(&all)?)
    }
}

/// Wraps a command in a shell script that ends with `exec "$@"`, to set limits or ignored signals first.
pub fn within_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell
}

/// Runs a command until it ends.
///
/// # Errors
/// When it does not end within a minute.
pub fn run(mut command: Command) -> Result<Outcome> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(command)?;
    // Both pipes are read concurrently: a process that fills one pipe while only the other is read blocks.
    let stdout = reader(process.child().stdout.take());
    let stderr = reader(process.child().stderr.take());
    let status = process.wait(LIMIT)?;
    Ok(Outcome {
        code: status.code(),
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic"),
    })
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // After an error, the bytes read before it are returned.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The resident memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The current value.
    pub now: u64,
    /// The peak value.
    pub most: u64,
}

/// A running server. Killed on drop.
pub struct Serving {
    process: Process,
    port: u16,
    scratch: Scratch,
}

impl Serving {
    /// Starts a server that logs `listening on http://127.0.0.1:PORT`, or `tcp://`.
    ///
    /// # Errors
    /// When the server ends or does not listen in time, with its log.
    pub fn start(command: Command) -> Result<Self> {
        Self::start_saying(command, |log| {
            let (_, rest) = log.split_once("listening on ")?;
            let (_, rest) = rest.split_once("://127.0.0.1:")?;
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..digits].parse().ok()
        })
    }

    /// Starts a server of any kind. `port` extracts the port from its log, or returns None until the log has
    /// one.
    ///
    /// # Errors
    /// When the server ends or does not listen in time, with its log.
    pub fn start_saying(mut command: Command, port: impl Fn(&str) -> Option<u16>) -> Result<Self> {
        let scratch = Scratch::new("serve")?;
        let log = scratch.join("server.log");
        let files = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = files.map_err(Error::io(log.display().to_string()))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let shown = format!("{command:?}");
        let mut process = Process::spawn(command)?;
        let port = wait::until_or_error(&format!("{shown} listens"), LISTENS, || {
            let text = read(&log);
            let ended = process.ended();
            match (port(&text), ended) {
                (Some(port), _) => Ok(Ok(port)),
                (None, Some(status)) => Err(Error::Ended {
                    program: shown.clone(),
                    status,
                    output: text,
                }),
                (None, None) => Ok(Err(format!("its log is:\n{text}"))),
            }
        })?;
        Ok(Self {
            process,
            port,
            scratch,
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends a GET request for a path.
    ///
    /// # Errors
    /// When there is no response.
    pub fn get(&self, path: &str) -> Result<http::Answer> {
        self.request("GET", path, &[], "")
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no response.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<http::Answer> {
        http::request(method, &self.url(path), headers, body)
    }

    /// The server's standard output and error so far.
    pub fn log(&self) -> String {
        read(&self.scratch.join("server.log"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The processor time that the process has used so far.
    ///
    /// # Errors
    /// When the process no longer exists, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.processor_time()
    }

    /// The current and the peak memory of the process, from `/proc`.
    ///
    /// # Errors
    /// When the process does not run, or the system has no `/proc`.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let kib = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"))
                .and_then(|number| number.trim().parse().ok())
                .ok_or_else(|| Error::unexpected(format!("no {name} in {path}"), &status))
        };
        Ok(Memory {
            now: kib("VmRSS:")?,
            most: kib("VmHWM:")?,
        })
    }

    /// The exit status; None while the process runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits until the process ends by itself and returns its exit status and its log.
    ///
    /// # Errors
    /// When it still runs after a minute.
    pub fn end(mut self) -> Result<(ExitStatus, String)> {
        let status = self.process.wait(LIMIT)?;
        Ok((status, self.log()))
    }

    /// Sends SIGTERM and waits as [`Serving::end`] does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> Result<(ExitStatus, String)> {
        self.signal(Signal::TERM);
        self.end()
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
