//! WebSockets, and clients that follow a key.

use crate::LIMIT;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use testbed::TestResult;
use testbed::ledger::Ledger;

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

fn open(ledger: &Ledger, path: &str, protocol: &str) -> (TcpStream, String) {
    socket(ledger.port(), path, protocol)
}

/// Asks for a WebSocket; the connection and the head of the answer.
pub(crate) fn socket(port: u16, path: &str, protocol: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
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

/// The subprotocols of batches.
const VERSION_1: &str = "Sec-WebSocket-Protocol: artisanal-ledger.v1\r\n";
pub(crate) const VERSION_2: &str = "Sec-WebSocket-Protocol: artisanal-ledger.v2\r\n";

#[test]
fn publishers_of_both_versions_are_served() -> TestResult {
    let ledger = Ledger::start()?;
    let publisher = [0x11, 7, 0, 0, 0, 0, 0, 0, 0];
    // Version 1: a mint of the integer 2.
    let event = [10, 1, b'a', 24, 1, 58, 6, 8, 2, 16, 2, 24, 1];
    let old = [&[8, 1][..], &publisher, &[24, 1, 34, 13], &event].concat();
    // Version 2: mints of 4 and 6 in columns, by `h`.
    let mints = [
        16, 2, 34, 1, b'a', 34, 1, b'h', 42, 1, 0, 50, 1, 1, 58, 2, 2, 2, 66, 2, 8, 4, 74, 1, 2,
        82, 1, 1,
    ];
    let new = [&[8, 2][..], &publisher, &[24, 2, 50, 28], &mints].concat();
    for (protocol, batch, replies) in [
        (
            VERSION_1,
            old,
            [&[8, 1, 16, 1, 24, 1][..], &[8, 1, 16, 1, 24, 1, 32, 1]],
        ),
        (
            VERSION_2,
            new,
            [&[8, 2, 16, 2, 24, 2], &[8, 2, 16, 2, 24, 2, 32, 2]],
        ),
    ] {
        let (mut stream, answer) = open(&ledger, "/v1/ingest", protocol);
        assert!(
            answer.contains(protocol.trim().split_once(' ').expect("a value").1),
            "{answer}"
        );
        for reply in replies {
            stream.write_all(&frame(2, &batch)).expect("written");
            assert_eq!(read_frame(&mut stream), (2, reply.to_vec()));
        }
    }
    let events = ledger.events("a")?;
    let seen: Vec<_> = events
        .iter()
        .map(|e| (&e["payload"]["first"], &e["by"]))
        .collect();
    let (none, h) = (Value::Null, Value::from("h"));
    assert_eq!(seen, [(&2.into(), &none), (&4.into(), &h), (&6.into(), &h)]);
    Ok(())
}

#[test]
fn what_is_no_batch_is_refused() -> TestResult {
    let ledger = Ledger::start()?;
    let (_, refused) = open(&ledger, "/v1/ingest", "");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    // An empty batch; a text; a message of 2^40 bytes; a frame without a mask.
    let frames: [(&[u8], u16); 4] = [
        (&[0x82, 0x80, 0, 0, 0, 0], 1008),
        (&[0x81, 0x81, 0, 0, 0, 0, b'x'], 1003),
        (&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
        (&[0x82, 0x01, 0], 1002),
    ];
    for (frame, code) in frames {
        let (mut stream, answer) = open(&ledger, "/v1/ingest", VERSION_2);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        // The example of RFC 6455.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        stream.write_all(frame).expect("written");
        let (kind, bytes) = read_frame(&mut stream);
        assert_eq!((kind, bytes.get(..2)), (8, Some(&code.to_be_bytes()[..])));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert_eq!(ledger.get("/v1.0/stats")?["batches_refused"], 4);
    assert_eq!(ledger.get("/v1.0/stats")?["events"], 0);
    Ok(())
}

/// A frame of a client, whose mask is 0.
pub(crate) fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short frame");
    let mut frame = vec![0x80 | kind];
    match u8::try_from(length) {
        Ok(short @ 0..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(bytes);
    frame
}

/// The kind and the bytes of the next short frame of a server.
pub(crate) fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert!(head[1] < 126, "{head:?}");
    let mut bytes = vec![0; head[1].into()];
    stream.read_exact(&mut bytes).expect("its bytes");
    (head[0] & 0x0f, bytes)
}
