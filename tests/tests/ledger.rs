//! The ledger and servers that publish to it, as processes.

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::get;
use testbed::ledger::Ledger;
use testbed::wait;

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(60);

fn serve(place: &Place, ledger: &Ledger, policy: &str) -> TestResult<Serving> {
    let url = ledger.url();
    Ok(place.serve(&["--ledger", &url, "--ledger-policy", policy])?)
}

/// The integers that events say were handed out, by the number of their event. Checks that none comes twice.
fn integers(events: &[Value]) -> BTreeMap<i64, u64> {
    let mut all = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "mint") {
        let span = &event["payload"];
        let number = |name: &str| span[name].as_i64().expect("a number");
        for index in 0..number("count") {
            let integer = number("first") + index * number("step");
            let before = all.insert(integer, event["number"].as_u64().expect("a number"));
            assert_eq!(before, None, "{integer} is in two events");
        }
    }
    all
}

/// Clients that mint until they are told to end, whatever happens to the server; what they got.
fn mint_while(
    url: &str,
    scenario: impl FnOnce(&dyn Fn() -> usize) -> TestResult,
) -> TestResult<Vec<i64>> {
    let over = AtomicBool::new(false);
    let minted = Mutex::new(Vec::new());
    let count = || minted.lock().expect("not poisoned").len();
    std::thread::scope(|scope| -> TestResult {
        for client in 1..=4 {
            let (over, minted) = (&over, &minted);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match get(&format!("{url}?count={client}")) {
                        Ok(answer) if answer.status == 200 => {
                            minted.lock().expect("not poisoned").extend(
                                answer
                                    .body
                                    .lines()
                                    .map(|line| line.parse::<i64>().expect("an integer")),
                            )
                        }
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        let done = scenario(&count);
        over.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(minted.into_inner().expect("not poisoned"))
}

#[test]
fn every_integer_has_an_event() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= 300
        })?)
    })?;
    let answer = serving.request(
        "POST",
        "/v1/sequences/integers/next",
        &[("x-request-id", "my-id")],
        "",
    )?;
    let own = answer.json()["first"].as_i64().expect("an integer");
    let events = ledger.events("integers")?;
    let stored = integers(&events);
    for integer in &minted {
        let found = ledger.get(&format!("/v1/integers/integers/{integer}"))?;
        assert_eq!(found["status"], "minted", "{found}");
        assert_eq!(
            found["event"]["number"].as_u64(),
            stored.get(integer).copied()
        );
    }
    let found = ledger.get(&format!("/v1/integers/integers/{own}?strings=true"))?;
    assert_eq!(found["event"]["request"], "my-id");
    assert_eq!(found["event"]["payload"]["first"], own.to_string());
    assert!(
        found["event"]["by"]
            .as_str()
            .is_some_and(|by| by.starts_with("127.0.0.1:")),
        "{found}"
    );
    let (greatest, _) = stored.last_key_value().expect("integers");
    for integer in 2..=*greatest {
        if !stored.contains_key(&integer) {
            let found = ledger.get(&format!("/v1/integers/integers/{integer}"))?;
            assert_eq!(found["status"], "skipped", "{found}");
        }
    }
    let beyond = ledger.get(&format!("/v1/integers/integers/{}", greatest + 2))?;
    assert_eq!(
        (&beyond["status"], &beyond["reason"]),
        (&"unknown".into(), &"after-the-last".into())
    );
    let before = ledger.get("/v1/integers/integers/1")?;
    assert_eq!(before["reason"], "before-the-ledger");
    let gaps = ledger.get("/v1/keys/integers/gaps")?;
    assert_eq!(
        gaps["gaps"],
        serde_json::json!([]),
        "every even integer was handed out"
    );
    let state = ledger.get("/v1/keys/integers/state")?;
    assert_eq!(state["state"]["integers"], stored.len());
    assert_eq!(state["state"]["mints"], events.len());
    Ok(())
}

#[test]
fn an_event_names_the_token_of_a_client() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let made = place.run(&["token", "new", "--name", "billing"])?;
    let token = made.stderr.lines().last().expect("the token").to_owned();
    let file = place.file("tokens.toml");
    std::fs::write(&file, &made.stdout).expect("written");
    let (file, url) = (file.display().to_string(), ledger.url());
    let listen = ["--listen", "http://127.0.0.1:0", "--tokens", &file];
    let publish = ["--ledger", &url, "--ledger-policy", "strict"];
    let serving = Serving::start(place.command(&[&["serve"][..], &listen, &publish].concat())?)?;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/?count=3"),
        ("POST", "/v1/sequences/integers/next"),
    ] {
        let answer = serving.request(method, path, &headers, "")?;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let events = ledger.events("integers")?;
    let by: Vec<_> = events.iter().map(|event| &event["by"]).collect();
    assert_eq!(by, ["billing"; 3], "{events:?}");
    Ok(())
}

#[test]
fn nothing_that_strict_answered_is_missing_after_crashes_of_the_ledger() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        for _ in 0..3 {
            let before = count();
            wait::until_true("integers are minted", LIMIT, || count() >= before + 100)?;
            ledger.kill()?;
            ledger.start_again()?;
        }
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 100
        })?)
    })?;
    serving.stop()?;
    let stored = integers(&ledger.events("integers")?);
    let unique: BTreeSet<_> = minted.iter().collect();
    assert_eq!(unique.len(), minted.len());
    let missing: Vec<_> = minted
        .iter()
        .filter(|integer| !stored.contains_key(integer))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {}", minted.len());
    Ok(())
}

#[test]
fn nothing_that_strict_answered_is_missing_after_a_crash_of_the_server() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        wait::until_true("integers are minted", LIMIT, || count() >= 200)?;
        serving.signal(Signal::KILL);
        Ok(())
    })?;
    let stored = integers(&ledger.events("integers")?);
    assert!(minted.iter().all(|integer| stored.contains_key(integer)));
    Ok(())
}

#[test]
fn what_is_in_the_ring_is_sent_at_the_end() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    for policy in ["shed", "block"] {
        let key = format!("of-{policy}");
        let serving = place.serve(&[
            "--engine",
            "memory",
            "--key",
            &key,
            "--ledger",
            &ledger.url(),
            "--ledger-policy",
            policy,
        ])?;
        for _ in 0..50 {
            assert_eq!(serving.get("/")?.status, 200);
        }
        let (status, log) = serving.stop()?;
        assert!(status.success(), "{log}");
        assert_eq!(integers(&ledger.events(&key)?).len(), 50, "{log}");
    }
    Ok(())
}

#[test]
fn without_a_ledger_shed_mints_and_strict_does_not() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let shed = place.serve(&["--engine", "memory", "--ledger", &ledger.url()])?;
    assert_eq!(shed.get("/")?.integer(), 2);
    let strict = place.serve(&[
        "--engine",
        "memory",
        "--ledger",
        &ledger.url(),
        "--ledger-policy",
        "strict",
    ])?;
    let refused = strict.get("/")?;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"unavailable".into())
    );
    ledger.start_again()?;
    wait::until_true("strict mints again", LIMIT, || {
        strict.get("/").is_ok_and(|a| a.status == 200)
    })?;
    wait::until_true("the integer of shed arrives", LIMIT, || {
        ledger
            .get("/v1/integers/integers/2")
            .is_ok_and(|found| found["status"] == "minted")
    })?;
    Ok(())
}

/// More mints than the ring has room for, while the ledger is away.
#[test]
fn what_was_shed_is_an_event() -> TestResult {
    const MINTS: usize = 80_000;
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let serving = place.serve(&[
        "--protocol",
        "resp",
        "--engine",
        "memory",
        "--ledger",
        &ledger.url(),
    ])?;
    let mut stream = TcpStream::connect(("127.0.0.1", serving.port())).expect("a connection");
    let reading = stream.try_clone().expect("a clone");
    let replies = std::thread::spawn(move || {
        BufReader::new(reading)
            .lines()
            .take(MINTS)
            .map_while(Result::ok)
            .filter(|line| line.starts_with(':'))
            .count()
    });
    let command = b"*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n";
    for _ in 0..MINTS / 100 {
        stream.write_all(&command.repeat(100)).expect("written");
    }
    assert_eq!(replies.join().expect("no panic"), MINTS, "all are answered");
    ledger.start_again()?;
    serving.stop()?;
    let events = ledger.events("integers")?;
    let lost: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "lost")
        .collect();
    let count: u64 = lost
        .iter()
        .filter_map(|event| event["payload"]["events"].as_u64())
        .sum();
    let stored = integers(&events).len();
    assert!(count > 0);
    assert_eq!(stored as u64 + count, MINTS as u64);
    let first = lost
        .first()
        .and_then(|event| event["payload"]["first"].as_i64())
        .expect("a loss");
    let found = ledger.get(&format!("/v1/integers/integers/{first}"))?;
    assert_eq!(found["status"], "unknown", "{found}");
    assert!(found["reason"]["lost"].is_u64(), "{found}");
    Ok(())
}

#[test]
fn events_are_appended_in_turn_and_replayed() -> TestResult {
    let ledger = Ledger::start()?;
    let append = |body: &str| ledger.request("POST", "/v1/keys/orders-7/events", body);
    let first =
        append(r#"{"kind":"order","payload":{"paid":false,"n":9007199254740993},"expected":0}"#)?;
    assert_eq!((first.status, &first.json()["number"]), (201, &1.into()));
    assert_eq!(
        append(r#"{"kind":"order","payload":{"paid":true}}"#)?.status,
        201
    );
    let conflict = append(r#"{"kind":"order","payload":{},"expected":1}"#)?;
    assert_eq!(
        (conflict.status, &conflict.json()["current"]),
        (409, &2.into())
    );
    assert_eq!(conflict.header("content-type"), "application/problem+json");
    for bad in [
        "",
        "{",
        "[]",
        r#"{"kind":"mint","payload":{}}"#,
        r#"{"kind":"a"}"#,
        r#"{"kind":"a","payload":1,"x":1}"#,
    ] {
        assert_eq!(append(bad)?.status, 400, "{bad}");
    }
    let long = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(append(&long)?.status, 413);
    let state = ledger.get("/v1/keys/orders-7/state?reducer=merge")?;
    assert_eq!(
        state["state"],
        serde_json::json!({"paid": true, "n": 9_007_199_254_740_993_i64})
    );
    for (path, status) in [
        ("/v1/keys/orders-7/state?reducer=x", 400),
        ("/v1/keys/orders-7/events?limit=0", 400),
        ("/v1/keys/orders-7/events?what=0", 400),
        ("/v1/integers/orders-7/x", 400),
        ("/v1/integers/a%00b/1", 400),
        ("/v1/ingest", 426),
        ("/nothing", 404),
    ] {
        assert_eq!(ledger.request("GET", path, "")?.status, status, "{path}");
    }
    let alive = ledger.request("GET", "/v1.0/alive", "")?;
    assert_eq!(alive.status, 200);
    assert!(!alive.header("server").is_empty() && !alive.header("x-request-id").is_empty());
    let stats = ledger.get("/v1.0/stats")?;
    assert_eq!(
        (&stats["appends"], &stats["conflicts"]),
        (&2.into(), &1.into())
    );
    // A restart forgets nothing.
    ledger.kill()?;
    ledger.start_again()?;
    assert_eq!(ledger.events("orders-7")?.len(), 2);
    Ok(())
}

#[test]
fn followers_get_events_as_they_come() -> TestResult {
    let ledger = Ledger::start()?;
    let append = |n: u32| {
        ledger.request(
            "POST",
            "/v1/keys/k/events",
            &format!(r#"{{"kind":"n","payload":{n}}}"#),
        )
    };
    append(1)?;
    let mut stream = TcpStream::connect(("127.0.0.1", ledger.port())).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream
        .write_all(b"GET /v1/keys/k/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("written");
    let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
    let mut next = || -> Value {
        loop {
            let line = lines.next().expect("the stream goes on").expect("a line");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    };
    for n in 1..=5 {
        let event = next();
        assert_eq!(
            (&event["number"], &event["payload"]),
            (&n.into(), &n.into())
        );
        append(n + 1)?;
    }
    Ok(())
}

/// The beginning of a request for a WebSocket, after its path.
const UPGRADE: &str = "HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for a WebSocket; the connection and the head of the answer.
fn open(ledger: &Ledger, path: &str, protocol: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", ledger.port())).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let request = format!("GET {path} {UPGRADE}{protocol}\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).expect("text"))
}

#[test]
fn a_web_socket_gets_events_as_well() -> TestResult {
    let ledger = Ledger::start()?;
    let append = |n: u32| {
        let body = format!(r#"{{"kind":"n","payload":{n}}}"#);
        ledger.request("POST", "/v1/keys/k/events", &body)
    };
    for n in 1..=3 {
        append(n)?;
    }
    let (mut stream, answer) = open(&ledger, "/v1/keys/k/events?from=2", "");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    for n in 2..=5 {
        // A text of less than 126 bytes, which has its length in one byte.
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        assert!(head[0] == 0x81 && head[1] < 126, "{head:?}");
        let mut text = vec![0; head[1].into()];
        stream.read_exact(&mut text).expect("its text");
        let event: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(
            (&event["number"], &event["payload"]),
            (&n.into(), &n.into())
        );
        if n >= 3 {
            append(n + 1)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_no_batch_is_refused() -> TestResult {
    let ledger = Ledger::start()?;
    let (_, refused) = open(&ledger, "/v1/ingest", "");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    // An empty batch; a text; a message of 2^40 bytes; a frame without a mask.
    let frames: [&[u8]; 4] = [
        &[0x82, 0x80, 0, 0, 0, 0],
        &[0x81, 0x81, 0, 0, 0, 0, b'x'],
        &[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 0x01, 0],
    ];
    for frame in frames {
        let protocol = "Sec-WebSocket-Protocol: artisanal-ledger.v1\r\n";
        let (mut stream, answer) = open(&ledger, "/v1/ingest", protocol);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        // The example of RFC 6455.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        stream.write_all(frame).expect("written");
        let mut rest = Vec::new();
        // The connection ends, with a close frame or without.
        let _ = stream.read_to_end(&mut rest);
        let closed = rest.first().is_none_or(|byte| *byte == 0x88);
        assert!(rest.len() < 200 && closed, "{rest:?}");
    }
    assert_eq!(ledger.get("/v1.0/stats")?["events"], 0);
    Ok(())
}

#[test]
fn a_directory_belongs_to_one_ledger_of_its_version() -> TestResult {
    let ledger = Ledger::start()?;
    let place = ledger.place();
    let second = place.run(&["ledger", "--port", "0"])?;
    second.assert_failed(8, &["in use"]);
    ledger.kill()?;
    std::fs::write(
        place.data().join("ledger/version"),
        "artisanal-ledger 999\n",
    )
    .expect("written");
    let other = place.run(&["ledger", "--port", "0"])?;
    other.assert_failed(8, &["another version", "artisanal-ledger 999"]);
    Ok(())
}

#[test]
fn a_full_disk_is_refused_and_resumed() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let limit_files = |length| {
        let id = ledger
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .expect("it runs");
        let limit = Rlimit {
            current: length,
            maximum: None,
        };
        prlimit(Pid::from_raw(id), Resource::Fsize, limit).expect("the limit can be set");
    };
    let minted = mint_while(&serving.url("/"), |count| {
        for _ in 0..2 {
            let before = count();
            wait::until_true("integers are minted", LIMIT, || count() >= before + 50)?;
            limit_files(Some(64));
            wait::until_true("mints are refused", LIMIT, || {
                get(&serving.url("/")).is_ok_and(|a| a.status == 503)
            })?;
            limit_files(None);
        }
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 50
        })?)
    })?;
    serving.stop()?;
    let stored = integers(&ledger.events("integers")?);
    let missing: Vec<_> = minted
        .iter()
        .filter(|integer| !stored.contains_key(integer))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {}", minted.len());
    assert!(ledger.get("/v1.0/stats")?["failures"].as_u64() >= Some(1));
    Ok(())
}
