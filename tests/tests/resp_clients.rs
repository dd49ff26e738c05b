//! The Redis protocol of `int-host serve`, with the clients that people use, unchanged.
//!
//! Each client is installed by its language's package manager, in a fixed version, once for each target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::TestResult;
use testbed::cli::{Place, Serving, run};
use testbed::port;

const TOKEN: &str = "a-mint-token-of-some-length";

/// What each program prints: with RESP2, then with RESP3, one mint, five at once, and the last integer; and a
/// pipeline of three mints.
const MINTED: &str = "2 12 12\n14 16 18\n20 30 30\n32 34 36\n";

/// A server with a password, and its port for the Redis protocol.
fn serve() -> TestResult<(Serving, String)> {
    let port = port::free()?;
    let listen = format!("resp://127.0.0.1:{port}");
    let arguments = [
        "--engine",
        "memory",
        "--mint-token",
        TOKEN,
        "--listen",
        &listen,
    ];
    Ok((Place::new()?.serve(&arguments)?, port.to_string()))
}

/// A file or folder of the programs.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// The folder in which a client is installed. It is there when the command succeeded once.
fn installed(name: &str, how: &str, install: impl Fn(&Path) -> Command) -> TestResult<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("clients")
        .join(name);
    let done = folder.join("installed");
    if !done.exists() {
        std::fs::create_dir_all(&folder).expect("a folder");
        output(install(&folder), how)?;
        std::fs::write(done, "").expect("a file");
    }
    Ok(folder)
}

/// Runs a program to its end and returns what it printed. `how` is how to install what it needs.
fn output(command: Command, how: &str) -> TestResult<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match run(command) {
        Ok(outcome) => {
            assert_eq!(
                outcome.code,
                Some(0),
                "{name}: {}{}",
                outcome.stdout,
                outcome.stderr
            );
            Ok(outcome.stdout)
        }
        Err(error) => panic!("cannot run {name}; {how} ({error})"),
    }
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

#[test]
fn redis_py() -> TestResult {
    let how = "install Python 3 with pip (Debian: python3-pip)";
    let folder = installed("python", how, |folder| {
        let mut pip = command("python3", &["-m", "pip", "install", "--quiet"]);
        pip.args(["--disable-pip-version-check", "--upgrade", "--target"]);
        pip.arg(folder).arg("-r").arg(program("requirements.txt"));
        pip
    })?;
    let (_serving, port) = serve()?;
    let mut python = Command::new("python3");
    python.arg(program("mint.py")).args([&*port, TOKEN]);
    python
        .env("PYTHONPATH", folder)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    assert_eq!(output(python, how)?, MINTED);
    Ok(())
}

#[test]
fn node_redis() -> TestResult {
    let how = "install Node.js with npm (Debian: npm)";
    let folder = installed("node", how, |folder| {
        for file in ["package.json", "mint.js"] {
            std::fs::copy(program("node").join(file), folder.join(file)).expect("copied");
        }
        let mut npm = command("npm", &["install", "--silent", "--no-audit", "--no-fund"]);
        npm.current_dir(folder);
        npm
    })?;
    let (_serving, port) = serve()?;
    let mut node = Command::new("node");
    node.arg(folder.join("mint.js")).args([&*port, TOKEN]);
    assert_eq!(output(node, how)?, MINTED);
    Ok(())
}

#[test]
fn go_redis() -> TestResult {
    let how = "install Go 1.24 or later, from go.dev/dl";
    let folder = installed("go", how, |folder| {
        let mut go = command("go", &["build", "-o"]);
        go.arg(folder.join("mint"))
            .arg(".")
            .current_dir(program("go"));
        go
    })?;
    let (_serving, port) = serve()?;
    let mint = folder.join("mint");
    assert_eq!(
        output(command(&mint.to_string_lossy(), &[&port, TOKEN]), how)?,
        MINTED
    );
    Ok(())
}

#[test]
fn jedis() -> TestResult {
    let how = "install a JDK 17 or later with Maven (Debian: maven)";
    let folder = installed("java", how, |folder| {
        let mut maven = command(
            "mvn",
            &["--quiet", "--batch-mode", "dependency:copy-dependencies"],
        );
        maven.arg(format!("-DoutputDirectory={}", folder.display()));
        maven.arg("--file").arg(program("java").join("pom.xml"));
        maven
    })?;
    let (_serving, port) = serve()?;
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(folder.join("*"))
        .arg(program("java").join("Mint.java"));
    java.args([&*port, TOKEN]);
    assert_eq!(output(java, how)?, MINTED);
    Ok(())
}

#[test]
fn redis_cli() -> TestResult {
    let how = "install redis-cli (Debian: redis-tools)";
    let (_serving, port) = serve()?;
    for (version, from) in [("-2", 2), ("-3", 4)] {
        let arguments = [
            "-p",
            &port,
            "--no-auth-warning",
            "-a",
            TOKEN,
            version,
            "INCR",
            "integers",
        ];
        let printed = output(command("redis-cli", &arguments), how)?;
        assert_eq!(printed.trim(), from.to_string());
    }
    Ok(())
}

#[test]
fn redis_benchmark() -> TestResult {
    let how = "install redis-benchmark (Debian: redis-tools)";
    let (serving, port) = serve()?;
    let load = [
        "-c", "20", "-n", "3200", "-P", "16", "-q", "INCR", "integers",
    ];
    let mut benchmark = command("redis-benchmark", &["-p", &port, "-a", TOKEN]);
    benchmark.args(load);
    let printed = output(benchmark, how)?;
    assert!(printed.contains("requests per second"), "{printed}");
    assert_eq!(serving.get("/last")?.body, "6400");
    Ok(())
}
