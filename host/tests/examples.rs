//! Runs the examples, which cargo builds along with the tests of this package.

use int_host::{Host, Options, Source};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program of an example: cargo puts examples in a folder beside that of the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("the folder of the profile");
    Command::new(profile.join("examples").join(name))
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("built by `cargo build --workspace --examples`");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running example. It is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn embed_mints_three_integers_at_each_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut embed = example("embed");
    embed.arg(folder.path());
    assert_eq!(run(&mut embed), "2\n4\n6\n");
    assert_eq!(run(&mut embed), "8\n10\n12\n");
}

#[test]
fn serve_answers_with_integers() {
    let mut command = example("serve");
    command.arg("0").stdout(Stdio::piped());
    let mut running = Running(
        command
            .spawn()
            .expect("built by `cargo build --workspace --examples`"),
    );
    let mut line = String::new();
    let output = running.0.stdout.take().expect("piped");
    // Kept until the end: the example prints one line for each address.
    let mut output = BufReader::new(output);
    output.read_line(&mut line).expect("the address");
    let address = line.trim().strip_prefix("listening on http://");
    let address = address.unwrap_or_else(|| panic!("no address: {line}"));
    for integer in ["2", "4"] {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("set");
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with(&format!("\r\n\r\n{integer}")), "{answer}");
    }
}

#[test]
fn compose_writes_an_http_endpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("intd-redis.wasm");
    let said = run(example("compose").arg("redis").arg(&file));
    assert_eq!(said, format!("wrote {}\n", file.display()));
    let host = Host::new(Options::default()).expect("a host");
    let shape = host.inspect(&Source::File(file)).expect("a component");
    assert!(shape.exports_http() && !shape.imports_engine(), "{shape:?}");
}
