//! Options, and the log.

use super::*;

#[test]
fn logs_are_lines_or_json_and_say_nothing_of_requests_unless_told_to() -> TestResult {
    for (arguments, logged) in [(&[][..], false), (&["--log-requests"][..], true)] {
        let serving = memory(arguments)?;
        serving.get("/")?;
        serving.get("/last?secret=1")?;
        serving.get("/nowhere")?;
        let (_, log) = serving.stop()?;
        assert_eq!(log.contains("/nowhere"), logged, "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
    let serving = memory(&["--log-format", "json", "--log-requests"])?;
    serving.get("/")?;
    let (_, log) = serving.stop()?;
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(entry["level"].is_string(), "{line}");
    }
    assert!(log.lines().count() >= 3, "{log}");
    Ok(())
}

/// What the server sends until it closes the connection.
fn exchange(serving: &Serving, bytes: &str) -> String {
    let mut replies = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", serving.port())).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(bytes.as_bytes()).expect("sent");
    stream.read_to_string(&mut replies).expect("replies");
    replies
}

#[test]
fn commands_of_the_redis_protocol_are_logged_without_passwords() -> TestResult {
    let serving = memory(&[
        "--protocol",
        "resp",
        "--log-requests",
        "--mint-token",
        TOKEN,
    ])?;
    let commands = format!(
        "INCR integers\r\nAUTH wrong-password\r\nAUTH {TOKEN}\r\nINCR integers\r\nINCRBY integers 2\r\n\
         INCR nobody\r\nGET integers\r\nMYSTERY password\r\nQUIT\r\n"
    );
    assert!(exchange(&serving, &commands).ends_with("+OK\r\n"));
    assert!(exchange(&serving, "*x\r\n").starts_with("-ERR"));
    let (_, log) = serving.stop()?;
    let mut lines = log
        .lines()
        .filter_map(|line| line.split_once("int_host::requests: "))
        .map(|(_, line)| line.split(" micros=").next().unwrap_or_default());
    for expected in [
        r#"connection=1 command="INCR" error="NOAUTH""#,
        r#"connection=1 command="AUTH" error="WRONGPASS""#,
        r#"connection=1 command="AUTH""#,
        r#"connection=1 command="incr" key="integers" count=1 integer=2"#,
        r#"connection=1 command="incr" key="integers" count=2 integer=6"#,
        r#"connection=1 command="incr" key="nobody" count=1 error="ERR""#,
        r#"connection=1 command="GET" key="integers""#,
        r#"connection=1 command="MYSTERY" error="ERR""#,
        r#"connection=1 command="QUIT""#,
        "Protocol error: invalid multibulk length connection=2",
    ] {
        assert_eq!(lines.next(), Some(expected), "{log}");
    }
    assert_eq!(lines.next(), None, "{log}");
    assert!(!log.contains(TOKEN) && !log.contains("password"), "{log}");
    Ok(())
}

#[test]
fn a_wrong_start_is_told_at_once() -> TestResult {
    let place = Place::new()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("bound").port().to_string();
    let on_taken = [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        &taken,
        "--engine",
        "memory",
    ];
    let outcome = place.run(&on_taken)?;
    outcome.assert_failed(8, &["in use", "--port"]);
    drop(listener);
    let outcome = place.run(&["serve", "--port", "0", "--engine", "redis"])?;
    outcome.assert_failed(2, &["redis://"]);
    let outcome = place.run(&["serve", "--port", "0", "--key", "a\nb"])?;
    outcome.assert_failed(2, &["key"]);
    let outcome = place.run(&[
        "serve",
        "--host",
        "no-such-host.invalid",
        "--engine",
        "memory",
    ])?;
    outcome.assert_failed(8, &["no-such-host.invalid"]);
    let outcome = place.run(&["serve", "--port", "99999"])?;
    outcome.assert_failed(2, &["99999"]);
    Ok(())
}

/// Ignoring an option such as a token could leave the server unprotected.
#[test]
fn options_without_effect_are_refused_by_name() -> TestResult {
    let place = Place::new()?;
    let file = place.file("composed.wasm");
    let file = file.to_str().expect("UTF-8");
    let composed = place.run(&["compose", "--engine", "memory", "-o", file])?;
    assert_eq!(composed.code, Some(0), "{composed:?}");
    let memory = ["serve", "--port", "0", "--engine", "memory"];
    let tcp = [&memory[..], &["--protocol", "tcp"]].concat();
    let endpoint = ["serve", "--port", "0", "--component", file];
    let cases: [(&[&str], &[&str]); 12] = [
        (&tcp, &["--mint-token", "t"]),
        (&tcp, &["--admin-token", "t"]),
        (&tcp, &["--keys", "a,b"]),
        (&tcp, &["--cors-origin", "*"]),
        (&tcp, &["--config", "a=b"]),
        (&memory, &["--max-requests", "5"]),
        (&memory, &["--request-timeout", "5s"]),
        (&memory, &["--config", "a=b"]),
        (&memory, &["--continuous"]),
        (&endpoint, &["--calls", "2"]),
        (&endpoint, &["--set-last-int", "5"]),
        (&endpoint, &["--count", "5"]),
    ];
    for (line, option) in cases {
        let outcome = place.run(&[line, option].concat())?;
        outcome.assert_failed(2, &[option[0], "no effect"]);
    }
    // The error lists all options without effect, including those from the environment.
    let mut command = place.command(&[&tcp[..], &["--keys", "a"]].concat())?;
    command.env("ARTISANAL_MINT_TOKEN", TOKEN);
    let outcome = testbed::cli::run(command)?;
    outcome.assert_failed(
        2,
        &[
            "--keys",
            "--mint-token (from the environment variable ARTISANAL_MINT_TOKEN)",
        ],
    );
    assert!(!outcome.stderr.contains(TOKEN), "{}", outcome.stderr);
    outcome.assert_failed(2, &["over TCP"]);
    // A component that reads no settings cannot enforce a token.
    let noop = target::component("noop")?;
    let noop = noop.to_str().expect("UTF-8");
    let line = [
        "serve",
        "--port",
        "0",
        "--component",
        noop,
        "--mint-token",
        "t",
    ];
    place
        .run(&line)?
        .assert_failed(2, &["--mint-token", "reads no settings"]);
    // Options with an effect are accepted.
    let mut command =
        place.command(&[&tcp[..], &["--host", "127.0.0.1", "--log-requests"]].concat())?;
    command
        .env("ARTISANAL_LAST_INT", "40")
        .env("ARTISANAL_CONTINUOUS", "false");
    let serving = Serving::start(command)?;
    assert_eq!(exchange(&serving, ""), "42\n");
    let (_, log) = serving.stop()?;
    assert!(log.contains("integer=42"), "{log}");
    Ok(())
}
