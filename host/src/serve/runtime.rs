//! The threads that servers run on.

use crate::Error;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// How often the runtime wakes up for nothing. Shorter than most deadlines.
const BEAT: Duration = Duration::from_millis(100);

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
    let threads = threads.unwrap_or_else(default_threads).max(1);
    let mut builder = match threads {
        // One thread needs none of what threads do to share their work.
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Error::Misconfigured(format!("no event loop: {error}")))?;
    runtime.spawn(beat());
    Ok(runtime)
}

/// Keeps the time at which the event loop wakes up next near. A timer that comes before it makes the
/// loop wake up at once, by way of the system, only to sleep a little shorter: without this, each
/// call to a backend would, for its deadline.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}

/// How many threads [`runtime`] has by default.
pub fn default_threads() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    (processors / 2).max(1)
}
