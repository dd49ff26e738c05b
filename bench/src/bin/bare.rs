//! A minimal HTTP server that answers every request with a constant.
//!
//! It is the yardstick for `int-host serve` and is measured in the same run.

use bench::yardstick::{CONSTANT, listen, serve};
use bytes::Bytes;
use clap::Parser;
use http::Response;
use http_body_util::Full;
use int_host::runtime::{Options, start};
use std::thread::available_parallelism;
use std::time::Duration;

/// Answer every HTTP request with the same seven bytes
#[derive(Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 means any free port
    #[arg(long, default_value_t = 8081)]
    port: u16,
    /// Number of threads [default: one per processor, as in tokio]
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { port, threads } = Arguments::parse();
    let options = Options {
        threads: threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)),
        // No busy polling, as in most servers.
        busy_poll: Duration::ZERO,
    };
    start(&options)?.block_on(async {
        serve(listen(port).await?, async |_| {
            Response::new(Full::new(Bytes::from_static(CONSTANT)))
        })
        .await
    })
}
