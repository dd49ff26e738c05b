//! Measures whether responses arrive in one packet.

use crate::error::{Error, Result};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The read timeout, so that a test does not hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends `requests` GET requests for a path over one connection to 127.0.0.1 and returns how many responses
/// were complete after the first read.
///
/// When a server writes the head before the body and has not set `TCP_NODELAY`, the kernel holds the body
/// back until the client has acknowledged the head, which may take 40 ms.
///
/// # Errors
/// When there is no response, or one without Content-Length.
pub fn whole_answers(port: u16, path: &str, requests: usize) -> Result<usize> {
    let io = || Error::io(format!("requests to port {port}"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(io())?;
    stream.set_read_timeout(Some(LIMIT)).map_err(io())?;
    stream.set_nodelay(true).map_err(io())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let mut whole = 0;
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).map_err(io())?;
        let mut answer = Vec::new();
        let mut reads = 0;
        while !is_complete(&answer)? {
            let mut piece = [0; 16 << 10];
            let got = stream.read(&mut piece).map_err(io())?;
            if got == 0 {
                let answer = String::from_utf8_lossy(&answer);
                return Err(Error::unexpected("a response that ended early", answer));
            }
            answer.extend_from_slice(&piece[..got]);
            reads += 1;
        }
        whole += usize::from(reads == 1);
    }
    Ok(whole)
}

fn is_complete(answer: &[u8]) -> Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else {
        return Ok(false);
    };
    let length: Option<usize> = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    match length {
        Some(length) => Ok(answer.len() >= head + length),
        None => Err(Error::unexpected(
            "a response without Content-Length",
            String::from_utf8_lossy(answer),
        )),
    }
}
