//! The least an HTTP server can do: answers every request with a constant.
//!
//! The yardstick for `int-host serve`, which is measured beside it in the same run.

use bench::yardstick::{CONSTANT, listen, serve};
use bytes::Bytes;
use clap::Parser;
use http::Response;
use http_body_util::Full;

/// Answer every HTTP request with the same seven bytes
#[derive(Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 is any
    #[arg(long, default_value_t = 8081)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { port } = Arguments::parse();
    serve(listen(port).await?, async |_| {
        Response::new(Full::new(Bytes::from_static(CONSTANT)))
    })
    .await
}
