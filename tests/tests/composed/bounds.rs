//! What a composed component may do under `int-host`, and what its failures leave behind.

use super::{at_once, compose};
use std::io::{Read, Write};
use std::net::TcpStream;
use testbed::cli::Place;
use testbed::redis::Redis;
use testbed::{TestResult, target};

/// A host limits the handles of an instance. Requests that are answered without waiting for anything leave none behind,
/// also when many arrive at once.
pub(super) fn answers_at_once_leave_no_handles() -> TestResult {
    const CONNECTIONS: usize = 100;
    const ROUNDS: usize = 25;
    const PIPELINED: usize = 32;
    const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nhost: h\r\n\r\n";
    let place = Place::new()?;
    let file = compose(&place, "memory", "spin")?;
    let serving = place.serve(&["--component", &file])?;
    assert_eq!(serving.get("/")?.integer(), 2);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = TcpStream::connect(("127.0.0.1", serving.port()));
        connections.push(connection.expect("a connection"));
    }
    let mut answers = [0; 64 << 10];
    for _ in 0..ROUNDS {
        for connection in &mut connections {
            let requests = REQUEST.repeat(PIPELINED);
            connection.write_all(&requests).expect("sent");
        }
        for connection in &mut connections {
            let mut length = 0;
            while answers[..length]
                .windows(4)
                .filter(|w| w == b"PONG")
                .count()
                < PIPELINED
            {
                let read = connection.read(&mut answers[length..]).expect("answers");
                let told = String::from_utf8_lossy(&answers[..length]);
                assert!(read > 0 && !told.contains(" 502 "), "{told}");
                length += read;
            }
        }
    }
    // It is the same instance, which has its integers in its memory.
    assert_eq!(serving.get("/")?.integer(), 4);
    Ok(())
}

/// The endpoint with an engine that tries to escape its permissions.
pub(super) fn keeps_to_its_address() -> TestResult {
    let place = Place::new()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let dials = format!("dials?to={address}");
    let file = compose_misbehaving(&place)?;
    for attempt in [
        &dials,
        "reads?to=/etc/passwd",
        "environment",
        "listens",
        "talks?to=127.0.0.1:53",
    ] {
        for authority in ["", "127.0.0.1:9"] {
            let dsn = format!("misbehaving://{authority}/{attempt}");
            let serving = place.serve(&["--component", &file, "--dsn", &dsn])?;
            let answer = serving.get("/")?;
            assert_eq!(answer.status, 502, "{dsn}: {}", answer.body);
            assert_eq!(answer.json()["code"], "denied", "{dsn}: {}", answer.body);
        }
    }
    listener.set_nonblocking(true).expect("set");
    assert!(listener.accept().is_err(), "somebody connected");
    // The positive control: with permission the attempt succeeds.
    let dsn = format!("misbehaving:///{dials}");
    let allowed = address.to_string();
    let serving = place.serve(&[
        "--component",
        &file,
        "--dsn",
        &dsn,
        "--allow-host",
        &allowed,
    ])?;
    let answer = serving.get("/")?;
    assert_eq!(answer.json()["code"], "other", "{}", answer.body);
    let log = serving.log();
    let id = answer.header("x-request-id");
    let told = log.lines().find(|line| line.contains(id));
    assert!(told.is_some_and(|line| line.contains("ESCAPED")), "{log}");
    Ok(())
}

/// The endpoint with an engine that fails: the request fails, and the server continues.
pub(super) fn outlives_its_component() -> TestResult {
    let place = Place::new()?;
    let file = compose_misbehaving(&place)?;
    for habit in ["traps", "hog", "spins", "waits"] {
        let dsn = format!("misbehaving:///{habit}");
        let serving = place.serve(&[
            "--component",
            &file,
            "--dsn",
            &dsn,
            "--request-timeout",
            "3s",
        ])?;
        assert_eq!(serving.get("/ping")?.status, 200);
        for _ in 0..2 {
            let answer = serving.get("/")?;
            assert!(
                (500..=504).contains(&answer.status),
                "{habit}: {}",
                answer.body
            );
            assert_eq!(serving.get("/ping")?.status, 200, "{habit}");
        }
        let (status, log) = serving.stop()?;
        assert_eq!(status.code(), Some(0), "{habit}: {log}");
        assert!(!log.contains("panicked at host/"), "{habit}: {log}");
    }
    Ok(())
}

fn compose_misbehaving(place: &Place) -> TestResult<String> {
    let component = target::component("misbehaving")?;
    let file = place.file("misbehaving.wasm");
    let file = file.to_str().expect("UTF-8").to_owned();
    let component = component.to_str().expect("UTF-8");
    let outcome = place.run(&["compose", "--component", component, "-o", &file])?;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    Ok(file)
}

/// With instances that are replaced constantly, no integer is lost or repeated.
pub(super) fn many_instances() -> TestResult {
    let place = Place::new()?;
    let file = compose(&place, "redis", "spin")?;
    let redis = Redis::start()?;
    let serving = place.serve(&[
        "--component",
        &file,
        "--dsn",
        &redis.dsn(),
        "--max-instance-requests",
        "3",
        "--max-instances",
        "4",
    ])?;
    at_once(&serving)?;
    assert!(serving.get("/last")?.integer() > 0);
    Ok(())
}
