//! Servers on the port of PostgreSQL that are another program, or break its protocol.

use crate::mint;
use crate::postgres::POSTGRES;
use std::io::{Read, Write};
use std::net::TcpListener;
use testbed::contract::kind;
use testbed::postgres::{self, PASSWORD, USER};

/// A server that reads a message and sends these bytes, and then waits for the client to disconnect.
fn impostor(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut buffer = [0; 4096];
                if stream.read(&mut buffer).is_ok_and(|read| read > 0)
                    && stream.write_all(&bytes).is_ok()
                {
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
                }
            });
        }
    });
    port
}

/// A message of the protocol.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

#[test]
fn replies_of_other_programs_are_no_trap() {
    let login = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let after_login = |bytes: &[u8]| [&login[..], bytes].concat();
    let column = b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let rows = |row: &[u8]| {
        let row = [message(b'T', column), message(b'D', row)].concat();
        after_login(&[row, message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat())
    };
    let endless = message(b'D', b"\0\x01\0\0\0\x01f").repeat(100_000);
    let statuses = message(b'S', b"name\0value\0").repeat(100_000);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        (
            "a mail server",
            b"220 mail.example ESMTP ready\r\n".to_vec(),
        ),
        ("no length", vec![b'R', 0, 0, 0, 0]),
        ("a negative length", vec![b'R', 0xff, 0xff, 0xff, 0xff]),
        ("the greatest length", vec![b'R', 0x7f, 0xff, 0xff, 0xff]),
        ("an unknown login", message(b'R', &[0, 0, 0, 99])),
        ("a login without a name", message(b'R', &[0, 0, 0, 10])),
        ("a short salt", message(b'R', &[0, 0, 0, 5, 1])),
        ("an error without fields", message(b'E', b"\0")),
        ("an error without an end", message(b'E', b"Mabc")),
        ("an unknown tag", message(b'?', b"")),
        ("endless statuses", after_login(&statuses)),
        (
            "endless rows",
            after_login(&[message(b'T', column), endless].concat()),
        ),
        (
            "rows without columns",
            after_login(&message(b'D', b"\0\x01\0\0\0\x01f")),
        ),
        ("no column", rows(b"\0\0")),
        ("one column", rows(b"\0\x01\0\0\0\x01f")),
        ("a null", rows(b"\0\x01\xff\xff\xff\xff")),
        ("a long value", rows(b"\0\x01\x7f\xff\xff\xff")),
        ("a copy", after_login(&message(b'G', b"\0\0\0"))),
        (
            "a notice without fields",
            after_login(&message(b'N', b"\0")),
        ),
        ("not UTF-8", rows(b"\0\x01\0\0\0\x01\xff")),
    ];
    for (what, bytes) in cases {
        let port = impostor(bytes);
        let dsn = format!("{}?timeout=500ms", postgres::dsn(USER, PASSWORD, &[port]));
        let error = mint(POSTGRES, &dsn, "k").expect_err(what);
        assert!(
            matches!(kind(&error), "other" | "unavailable" | "denied"),
            "{what}: {error:?}"
        );
        let shown = error.to_string();
        assert!(!shown.contains(PASSWORD), "{what}: {shown}");
        assert!(shown.chars().count() < 700, "{what}: {shown}");
    }
}
