//! The least an HTTP server can do: answers every request with a constant.
//!
//! The yardstick for `int-host serve`, which is measured beside it in the same run:
//! `cargo run --release --example bare -- 8081`, then `wrk -c 100 http://localhost:8081`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("8081")
        .parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let answer = service_fn(async |_| {
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(
                    b"1234567",
                ))))
            });
            // A client that goes away in the middle is no error of this server.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
