//! `int-host publish`, between clients and a ledger.

use crate::sockets::{frame, read_frame, socket};
use crate::{LIMIT, integers, mint_while, serve};
use rustix::process::Signal;
use serde_json::Value;
use std::io::Write;
use std::net::TcpStream;
use testbed::cli::{Place, Serving};
use testbed::ledger::Ledger;
use testbed::{TestResult, port, wait};

/// Starts a publisher to a ledger.
pub(crate) fn publisher(place: &Place, ledger: &Ledger, arguments: &[&str]) -> TestResult<Serving> {
    let url = ledger.url();
    let all = ["publish", "--host", "127.0.0.1", "--consumer", &url];
    Ok(Serving::start(place.command(&[&all, arguments].concat())?)?)
}

pub(crate) fn stats(publisher: &Serving) -> TestResult<Value> {
    Ok(publisher.get("/v1.0/stats")?.json())
}

/// A WebSocket for frames of the original format.
fn original(publisher: &Serving) -> TcpStream {
    let (stream, answer) = socket(publisher.port(), "/v1.0/ingest", "");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream
}

/// A frame of the original format.
fn integer(integer: u32) -> Vec<u8> {
    frame(2, &[integer.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn frames_of_8_bytes_become_events() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let options = [
        "--port",
        "0",
        "--policy",
        "strict",
        "--key",
        "old",
        "-N",
        "San Francisco",
    ];
    let publisher = publisher(&place, &ledger, &options)?;
    let mut stream = original(&publisher);
    for n in 1..=50 {
        stream.write_all(&integer(n * 3)).expect("written");
    }
    for _ in 1..=50 {
        assert_eq!(read_frame(&mut stream), (1, b"a".to_vec()));
    }
    let events = ledger.events("old")?;
    let minted: Vec<_> = integers(&events).into_keys().collect();
    assert_eq!(minted, (1..=50).map(|n| n * 3).collect::<Vec<_>>());
    let by = stream.local_addr().expect("an address").to_string();
    assert!(
        events.iter().all(|event| event["by"] == by.as_str()),
        "{events:?}"
    );
    // Something else ends the connection, and only that. What came before is answered.
    for (bad, code, reason) in [
        (
            frame(2, &[0; 8]),
            1008,
            "the integer of a frame is 1 or more",
        ),
        (
            frame(2, &[0, 0, 0, 1]),
            1008,
            "a frame has 8 bytes, and this one has 4",
        ),
        (
            frame(2, &[0, 0, 0, 1, 0, 0, 0, 1]),
            1008,
            "the last 4 bytes of a frame are 0",
        ),
        (
            frame(2, &[1; 2000]),
            1009,
            "a message of 2000 bytes; 1024 are allowed",
        ),
        (
            frame(1, b"12345678"),
            1003,
            "a message has to be binary, and this one is a text",
        ),
    ] {
        let mut other = original(&publisher);
        other.write_all(&integer(7)).expect("written");
        other.write_all(&bad).expect("written");
        assert_eq!(read_frame(&mut other), (1, b"a".to_vec()));
        let close = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
        assert_eq!(read_frame(&mut other), (8, close), "{reason}");
    }
    stream.write_all(&integer(1000)).expect("written");
    assert_eq!(read_frame(&mut stream), (1, b"a".to_vec()));
    assert_eq!(ledger.events("old")?.len(), 56);
    let alive = publisher.get("/v1.0/alive")?;
    assert_eq!(
        (alive.status, alive.header("server")),
        (200, "San Francisco")
    );
    assert!(!alive.header("x-request-id").is_empty());
    let stats = stats(&publisher)?;
    assert_eq!(stats["malformed"], 5);
    assert_eq!(
        (
            &stats["frames"],
            &stats["acknowledged"],
            &stats["ring"]["size"]
        ),
        (&56.into(), &56.into(), &4096.into())
    );
    for (path, status) in [("/v1.0/ingest", 426), ("/", 404), ("/v1.0/stats?x=1", 400)] {
        assert_eq!(publisher.get(path)?.status, status, "{path}");
    }
    let (_, refused) = socket(
        publisher.port(),
        "/v1.0/ingest",
        "Sec-WebSocket-Protocol: other\r\n",
    );
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    Ok(())
}

#[test]
fn the_ring_is_bounded_and_is_sent_at_the_end() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let port = port::free()?.to_string();
    // The options by their old names.
    let consumer = ledger.port().to_string();
    let arguments = [
        "publish",
        "-H",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "127.0.0.1",
        "-T",
        &consumer,
        "-r",
        "4",
        "-W",
        "1",
        "-n",
        "8",
    ];
    let publisher = Serving::start(place.command(&arguments)?)?;
    let mut stream = original(&publisher);
    for n in 1..=20 {
        stream.write_all(&integer(n)).expect("written");
    }
    // One batch is under way, and four events are in the ring; the others wait.
    wait::until_true("the ring is full", LIMIT, || {
        stats(&publisher)
            .is_ok_and(|stats| stats["ring"]["length"] == 4 && stats["waits"].as_u64() >= Some(1))
    })?;
    let full = stats(&publisher)?;
    assert_eq!(full["ring"]["high_water"], 4);
    assert_eq!(
        (&full["acknowledged"], &full["dropped"]),
        (&0.into(), &0.into())
    );
    ledger.start_again()?;
    for _ in 1..=20 {
        assert_eq!(read_frame(&mut stream), (1, b"a".to_vec()));
    }
    wait::until_true("the ledger has all", LIMIT, || {
        stats(&publisher).is_ok_and(|stats| stats["acknowledged"] == 20)
    })?;
    ledger.kill()?;
    for n in 21..=23 {
        stream.write_all(&integer(n)).expect("written");
        assert_eq!(read_frame(&mut stream), (1, b"a".to_vec()));
    }
    publisher.signal(Signal::TERM);
    ledger.start_again()?;
    let (status, log) = publisher.end()?;
    assert!(status.success(), "{log}");
    let minted = integers(&ledger.events("integers")?);
    assert_eq!(
        minted.into_keys().collect::<Vec<_>>(),
        (1..=23).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn shed_counts_what_it_drops() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let options = [
        "--port",
        "0",
        "--ring",
        "4",
        "--workers",
        "1",
        "--policy",
        "shed",
    ];
    let publisher = publisher(&place, &ledger, &options)?;
    let mut stream = original(&publisher);
    for n in 1..=50 {
        stream.write_all(&integer(n)).expect("written");
        assert_eq!(read_frame(&mut stream), (1, b"a".to_vec()));
    }
    let dropped = stats(&publisher)?["dropped"].as_u64().expect("a number");
    assert!(dropped >= 40, "{dropped}");
    ledger.start_again()?;
    publisher.stop()?;
    let events = ledger.events("integers")?;
    let lost = events.iter().filter(|event| event["kind"] == "lost");
    let lost: u64 = lost.filter_map(|e| e["payload"]["events"].as_u64()).sum();
    assert_eq!(lost, dropped);
    assert_eq!(integers(&events).len() as u64 + lost, 50);
    Ok(())
}

/// A server publishes to a publisher as to a ledger; both are killed meanwhile.
#[test]
fn a_publisher_takes_the_place_of_a_ledger() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let port = port::free()?.to_string();
    let mut between = publisher(&place, &ledger, &["--port", &port])?;
    let url = format!("ws://127.0.0.1:{port}");
    let serving = place.serve(&["--ledger", &url, "--ledger-policy", "strict"])?;
    let minted = mint_while(&serving.url("/"), |count| {
        for round in 0..4 {
            let before = count();
            wait::until_true("integers are minted", LIMIT, || count() >= before + 100)?;
            if round % 2 == 0 {
                ledger.kill()?;
                ledger.start_again()?;
            } else {
                between.signal(Signal::KILL);
                let new = publisher(&place, &ledger, &["--port", &port])?;
                std::mem::replace(&mut between, new).end()?;
            }
        }
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 100
        })?)
    })?;
    // The answers about idempotency keys pass as well.
    let next = || {
        let headers = [("idempotency-key", "a")];
        serving.request("POST", "/v1/sequences/integers/next", &headers, "")
    };
    let first = next()?;
    assert_eq!((first.status, next()?.body), (200, first.body));
    serving.stop()?;
    let stored = integers(&ledger.events("integers")?);
    assert!(minted.iter().all(|integer| stored.contains_key(integer)));
    let direct = serve(&place, &ledger, "strict")?;
    assert_eq!(direct.get("/")?.status, 200);
    Ok(())
}
