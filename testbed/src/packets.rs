//! How answers are cut into packets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Gets a path so many times over one connection to 127.0.0.1, and counts the answers that came as one: the
/// first read had all of it.
///
/// A server that sends a head before its body is there has its body held back by the kernel until the
/// client has acknowledged the head, which may take 40 ms, unless it sets `TCP_NODELAY`.
///
/// # Panics
/// When there is no answer, or one that does not tell how long it is.
pub fn whole_answers(port: u16, path: &str, requests: usize) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    stream.set_nodelay(true).expect("set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let mut whole = 0;
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let mut reads = 0;
        while !is_complete(&answer) {
            let mut piece = [0; 16 << 10];
            let got = stream.read(&mut piece).expect("an answer");
            assert_ne!(got, 0, "ended after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..got]);
            reads += 1;
        }
        whole += usize::from(reads == 1);
    }
    whole
}

fn is_complete(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else {
        return false;
    };
    let length: usize = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .expect("the length of the body");
    answer.len() >= head + length
}
