//! The least an HTTP server can do: answers every request with a constant.
//!
//! The yardstick for `int-host serve`, which is measured beside it in the same run.

use bench::yardstick::{CONSTANT, listen, serve};
use bytes::Bytes;
use clap::Parser;
use http::Response;
use http_body_util::Full;
use int_host::serve::runtime;
use std::thread::available_parallelism;

/// Answer every HTTP request with the same seven bytes
#[derive(Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 is any
    #[arg(long, default_value_t = 8081)]
    port: u16,
    /// How many threads [default: one for each processor, as tokio has it]
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { port, threads } = Arguments::parse();
    let threads = threads.or_else(|| available_parallelism().ok().map(usize::from));
    runtime(threads)?.block_on(async {
        serve(listen(port).await?, async |_| {
            Response::new(Full::new(Bytes::from_static(CONSTANT)))
        })
        .await
    })
}
