//! Requests of one connection that arrive together.

use super::Server;
use std::io::{Read, Write};
use testbed::TestResult;
use testbed::port;

/// Sixteen INCR of one connection are one call of the engine.
#[test]
fn a_pipeline_is_one_call() -> TestResult {
    let metrics = port::free()?;
    let address = format!("127.0.0.1:{metrics}");
    let server = Server::memory(&["--metrics", &address, "--keys", "other"])?;
    let pipeline = "*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n".repeat(16);
    let replies = server.exchange(pipeline.as_bytes(), 16);
    let expected: String = (1..=16).map(|n| format!(":{}\r\n", 2 * n)).collect();
    assert_eq!(replies, expected);
    let calls = || -> TestResult<String> {
        let text = testbed::http::get(&format!("http://{address}/metrics"))?.body;
        let name = r#"engine_call_duration_seconds_count{engine="memory",key="integers",operation="next"} "#;
        let (_, rest) = text.split_once(name).expect("counted");
        Ok(rest.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(calls()?, "1");
    // Replies keep their order when the mints in between are of other sequences, or fail.
    let mixed = "INCR integers\r\nINCRBY integers 3\r\nINCR other\r\nGET integers\r\nINCR nothing\r\nINCR integers\r\n";
    let replies = server.exchange(mixed.as_bytes(), 7);
    let lines: Vec<_> = replies.lines().collect();
    assert_eq!(lines[..5], [":34", ":40", ":2", "$2", "40"]);
    assert!(
        lines[5].starts_with("-ERR this sequence does not exist"),
        "{replies}"
    );
    assert_eq!(lines[6], ":42");
    assert_eq!(calls()?, "3");
    Ok(())
}

/// Requests that follow each other byte by byte are not read again, but each of them mints, and nothing else does.
#[test]
fn equal_requests_mint_once_each() -> TestResult {
    let server = Server::memory(&["--increment", "1", "--keys", "other"])?;
    let incr = "*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n";
    let large = "*3\r\n$6\r\nINCRBY\r\n$8\r\nintegers\r\n$5\r\n60000\r\n";
    let failing = "*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n";
    let cases = [
        (incr.repeat(3), 3, ":1\r\n:2\r\n:3\r\n"),
        // The third one does not fit into the call of the first, nor does the fourth into that of the second.
        (large.repeat(3), 3, ":60003\r\n:120003\r\n:180003\r\n"),
        (
            format!("{incr}*0\r\n*0\r\n{incr}\r\n\r\nPING\r\n"),
            3,
            ":180004\r\n:180005\r\n+PONG\r\n",
        ),
        ("PING\r\n".repeat(2), 2, "+PONG\r\n+PONG\r\n"),
        (
            "INCR other\r\n".repeat(2) + "INCR other2\r\n",
            2,
            ":1\r\n:2\r\n",
        ),
    ];
    for (requests, replies, expected) in cases {
        let read = server.exchange(requests.as_bytes(), replies);
        assert_eq!(read, expected, "{requests}");
    }
    let read = server.exchange(failing.repeat(2).as_bytes(), 2);
    let refused = "-ERR this sequence does not exist";
    assert_eq!(read.matches(refused).count(), 2, "{read}");
    // A request that is cut off mints when its rest arrives.
    let mut stream = server.connect();
    let (begin, rest) = incr.split_at(20);
    let mut read = [0; 18];
    for (requests, expected) in [
        (format!("{incr}{begin}"), ":180006\r\n"),
        (format!("{rest}{incr}"), ":180007\r\n:180008\r\n"),
    ] {
        stream.write_all(requests.as_bytes()).expect("sent");
        let replies = &mut read[..expected.len()];
        stream.read_exact(replies).expect("replies");
        assert_eq!(String::from_utf8_lossy(replies), expected);
    }
    Ok(())
}

/// Counts that do not fit into one call are made by several.
#[test]
fn a_pipeline_is_as_many_calls_as_it_needs() -> TestResult {
    let server = Server::memory(&["--increment", "1"])?;
    let mut client = server.client("").expect("connected");
    let mut pipeline = redis::pipe();
    for count in [60_000, 60_000, 100_000, 1, 99_999] {
        pipeline.incr("integers", count);
    }
    let replies: Vec<i64> = pipeline.query(&mut client).expect("minted");
    assert_eq!(replies, [60_000, 120_000, 220_000, 220_001, 320_000]);
    Ok(())
}
