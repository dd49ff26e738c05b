//! HTTP/2 without TLS: a client that knows that the server speaks it begins with the preface of HTTP/2.

use super::stream::Stream;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The beginning of the preface. No method of HTTP/1.1 is called so.
const BEGINNING: &[u8] = b"PRI ";

/// The pause between looks at a beginning that is not complete.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at the first bytes of a connection without TLS, and reads none. A client that sends nothing for so long has no
/// preface.
pub(crate) async fn look(stream: Stream, longest: Duration) -> Stream {
    match stream {
        Stream::Plain(tcp) => match timeout(longest, has_preface(&tcp)).await {
            Ok(true) => Stream::Http2(tcp),
            Ok(false) | Err(_) => Stream::Plain(tcp),
        },
        other => other,
    }
}

async fn has_preface(tcp: &TcpStream) -> bool {
    let mut first = [0; BEGINNING.len()];
    loop {
        match tcp.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => match first.get(..count) {
                Some(BEGINNING) => return true,
                Some(part) if BEGINNING.starts_with(part) => sleep(PAUSE).await,
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_first_bytes_decide() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (parts, http2) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], true),
            (&["P", "RI", " * HTTP/2.0"], true),
            (&["P", "OST / HTTP/1.1"], false),
            (&["GET / HTTP/1.1"], false),
            (&["PR"], false),
            (&[], false),
        ] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let looking = look(Stream::Plain(server), Duration::from_secs(10));
            let looking = tokio::spawn(looking);
            for part in parts {
                client.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
            let stream = looking.await.unwrap();
            assert_eq!(stream.is_http2(), http2, "{parts:?}");
        }
    }
}
