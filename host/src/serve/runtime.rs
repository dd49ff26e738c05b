//! The threads that servers run on.

use crate::Error;
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Runtime};

/// A runtime for servers, with so many threads that handle connections. By default half as many as
/// there are processors, and at least one.
///
/// A request costs the system several times what it costs this program, and the system does that work
/// also for the other side: for clients and backends on the same machine. Threads that take turns
/// with those on one processor make everything slower than fewer threads do.
///
/// # Errors
/// [`Error::Misconfigured`] when the system gives no threads or no event queue.
pub fn runtime(threads: Option<usize>) -> Result<Runtime, Error> {
    let threads = threads.unwrap_or_else(|| {
        let processors = available_parallelism().map_or(1, usize::from);
        processors.div_euclid(2)
    });
    let mut builder = match threads {
        // One thread needs none of what threads do to share their work.
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
        .map_err(|error| Error::Misconfigured(format!("no event loop: {error}")))
}
