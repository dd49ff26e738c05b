//! Bytes that no client sends, and clients that do not read.

use super::Server;
use redis::Commands;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use testbed::TestResult;

#[test]
fn bytes_that_are_no_request_are_refused_and_the_connection_is_closed() -> TestResult {
    let server = Server::memory(&[])?;
    let long = format!("*1\r\n${}\r\n", 1 << 30);
    let line = "x".repeat(20 << 10);
    let arguments = format!(
        "*1000\r\n{}",
        format!("$1000\r\n{}\r\n", "x".repeat(1000)).repeat(1000)
    );
    for (bytes, says) in [
        ("*1\r\n*1\r\n*1\r\n", "expected '$'"),
        ("*100000000\r\n", "invalid multibulk length"),
        ("*1\r\n$-5\r\n", "invalid bulk length"),
        (&*long, "invalid bulk length"),
        (&*line, "too big inline request"),
        (&*arguments, "too big request"),
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("not reset");
        assert!(
            reply.starts_with("-ERR Protocol error: ") && reply.contains(says),
            "{reply}"
        );
    }
    // What came before is answered.
    let replies = server.exchange(b"INCR integers\r\n*1\r\nx", 9);
    assert_eq!(replies, ":2\r\n-ERR Protocol error: expected '$'\r\n");
    Ok(())
}

/// A page in a browser can have such requests sent.
#[test]
fn the_body_of_an_http_request_is_not_run() -> TestResult {
    let server = Server::memory(&[])?;
    for (head, says) in [
        ("POST / HTTP/1.1\r\n", "ERR unknown command 'POST'"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "ERR unknown command 'host:'",
        ),
    ] {
        let replies = server.exchange(format!("{head}\r\nINCR integers\r\n").as_bytes(), 9);
        let last = replies.lines().last().unwrap_or_default();
        assert!(last.contains(says), "{replies}");
    }
    assert_eq!(server.exchange(b"INCR integers\r\n", 1), ":2\r\n");
    Ok(())
}

/// Clients that send half of a command, or read no replies, keep nobody else from minting.
#[test]
fn slow_clients_hold_nobody_up() -> TestResult {
    let server = Server::memory(&[])?;
    let half: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = server.connect();
            stream
                .write_all(b"*2\r\n$4\r\nINCR\r\n$8\r\ninte")
                .expect("sent");
            stream
        })
        .collect();
    // This one reads nothing. Its replies fill the buffers of the system, and then the server stops reading.
    let mut deaf = server.connect();
    deaf.set_nonblocking(true).expect("a socket");
    let echo = format!("*2\r\n$4\r\nECHO\r\n$16000\r\n{}\r\n", "x".repeat(16_000));
    let mut sent = 0;
    let begun = std::time::Instant::now();
    while sent < 64 << 20 && begun.elapsed() < Duration::from_secs(2) {
        match deaf.write(echo.as_bytes()) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        // Whole requests, whatever fits.
        if sent % echo.len() != 0 {
            deaf.set_nonblocking(false).expect("a socket");
            let rest = echo.len() - sent % echo.len();
            deaf.set_write_timeout(Some(Duration::from_millis(500)))
                .expect("a timeout");
            if deaf
                .write_all(&echo.as_bytes()[echo.len() - rest..])
                .is_err()
            {
                break;
            }
            sent += rest;
            deaf.set_nonblocking(true).expect("a socket");
        }
    }
    assert!(sent < 64 << 20, "the server took {sent} bytes");
    assert_eq!(
        server
            .client("")
            .and_then(|mut client| client.incr("integers", 1)),
        Ok(2)
    );
    let memory = server.serving.memory()?.now;
    assert!(memory < 200 << 20, "{memory} bytes");
    // The rest of the command makes it whole.
    for (n, mut stream) in half.into_iter().enumerate().take(10) {
        stream.write_all(b"gers\r\n").expect("sent");
        let mut reply = [0; 5];
        let length = stream.read(&mut reply).expect("a reply");
        let expected = format!(":{}\r\n", 4 + 2 * n);
        assert_eq!(&reply[..length], &expected.as_bytes()[..length]);
    }
    drop(deaf);
    Ok(())
}
