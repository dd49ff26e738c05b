//! A server without this project: each request is one mint with the backend's native client.
//!
//! It is the yardstick for `int-host serve` on one connection: the same hyper, the same statement, one
//! persistent connection to the backend, and no coalescing.

use bench::native::{Native, Place};
use bench::yardstick::{listen, serve};
use bytes::Bytes;
use clap::Parser;
use http::{Response, StatusCode};
use http_body_util::Full;
use int_host::runtime::{Options, start};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Answer every HTTP request with an integer that is minted with a native client
#[derive(Parser)]
struct Arguments {
    /// Name of the engine whose backend is used
    #[arg(long)]
    engine: String,
    /// DSN of the backend
    #[arg(long)]
    dsn: String,
    /// Folder of the embedded store, if the engine uses it
    #[arg(long)]
    data: Option<PathBuf>,
    /// Key of the sequence
    #[arg(long, default_value = "integers")]
    key: String,
    /// Port on 127.0.0.1; 0 means any free port
    #[arg(long, default_value_t = 8082)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    // As many threads as `int-host serve`, but without busy polling, as in most servers.
    let options = Options {
        busy_poll: Duration::ZERO,
        ..Options::default()
    };
    start(&options)?.block_on(run(Arguments::parse()))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        engine,
        dsn,
        data,
        key,
        port,
    } = arguments;
    let place = data.map_or(Place::Dsn(dsn), Place::Data);
    let native = Arc::new(Native::connect(&engine, &place, &key).await?);
    serve(listen(port).await?, move |_| {
        let native = Arc::clone(&native);
        async move {
            match native.next(1).await {
                Ok(span) => Response::new(Full::from(Bytes::copy_from_slice(
                    itoa::Buffer::new().format(span.first()).as_bytes(),
                ))),
                Err(error) => {
                    let mut response = Response::new(Full::from(format!("{error:#}")));
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        }
    })
    .await
}
