//! Clients that begin long batches, and send no more.

use crate::LIMIT;
use crate::publisher::{publisher, stats};
use crate::sockets::{VERSION_2, frame, read_frame, socket};
use artisanal_ledger::event::{Event, Mint, Payload};
use artisanal_ledger::frame::{Batch, Reply};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use testbed::cli::Place;
use testbed::ledger::Ledger;
use testbed::{TestResult, wait};

/// How many batches of more than 16 KiB are read at a time.
const LONG: u64 = 64;

/// The beginning of a frame of 4 MB.
fn beginning() -> Vec<u8> {
    let mut bytes = vec![0x82, 0xff];
    bytes.extend_from_slice(&4_000_000_u64.to_be_bytes());
    bytes.resize(64 << 10, 0);
    bytes
}

/// A batch of this many mints.
fn batch(publisher: u64, count: u16) -> Vec<u8> {
    let mint = |n| Event {
        key: "a".into(),
        at: 1,
        by: "somebody".into(),
        payload: Some(Payload::Mint(Mint {
            first: i64::from(n),
            step: 1,
            count: 1,
        })),
        ..Event::default()
    };
    let batch = Batch {
        version: 2,
        publisher,
        first: 1,
        events: (1..=count).map(mint).collect(),
        ..Batch::default()
    };
    frame(2, &batch.bytes())
}

fn connect(port: u16) -> TcpStream {
    let (stream, answer) = socket(port, "/v1/ingest", VERSION_2);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream
}

/// Sends a batch, and reads that it is stored.
fn store(port: u16, publisher: u64, count: u16) {
    let mut stream = connect(port);
    let batch = batch(publisher, count);
    stream.write_all(&batch).expect("written");
    let (_, reply) = read_frame(&mut stream);
    let expected = Reply::stored(1, count.into(), 0);
    assert_eq!(Reply::read(&reply), Ok(expected));
}

fn begin_and_stop(port: u16, stats: impl Fn() -> TestResult<Value>) -> TestResult {
    let beginning = beginning();
    let mut unfinished = Vec::new();
    for _ in 0..LONG + 10 {
        let mut stream = connect(port);
        stream.write_all(&beginning).expect("written");
        unfinished.push(stream);
    }
    wait::until("the batches that are read are bounded", LIMIT, || {
        let stats = stats().map_err(|error| error.to_string())?;
        let bounded = stats["batches_long"] == LONG && stats["batches_waits"] == 10;
        bounded.then_some(()).ok_or(stats.to_string())
    })?;
    // A short batch waits for none of them, and a long one until their time is over.
    store(port, 1, 1);
    assert_eq!(stats()?["batches_long"], LONG);
    store(port, 2, 1000);
    for mut stream in unfinished {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 200, "{rest:?}");
    }
    assert_eq!(stats()?["batches_long"], 0);
    Ok(())
}

#[test]
fn a_ledger_reads_few_long_batches_at_a_time() -> TestResult {
    let ledger = Ledger::start()?;
    begin_and_stop(ledger.port(), || Ok(ledger.get("/v1.0/stats")?))?;
    assert_eq!(ledger.get("/v1.0/stats")?["events"], 1001);
    Ok(())
}

#[test]
fn a_publisher_reads_few_long_batches_at_a_time() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let publisher = publisher(&place, &ledger, &["--port", "0"])?;
    begin_and_stop(publisher.port(), || stats(&publisher))?;
    assert_eq!(ledger.get("/v1.0/stats")?["events"], 1001);
    Ok(())
}
