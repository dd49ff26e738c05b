//! The threads that servers run on, and whoever else mints many integers.

mod busy_poll;

pub(crate) use busy_poll::note;

use crate::Error;
use busy_poll::busy_poll;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// How many threads there are, and what they do when there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many. By default half as many as there are processors, and at least one.
    ///
    /// A request costs the system several times what it costs this program, and the system does that
    /// work also for the other side: for clients and backends on the same machine. Threads that take
    /// turns with those on one processor make everything slower than fewer threads do.
    pub threads: usize,
    /// How long the thread looks for the next request or reply before it sleeps, where there is one
    /// thread; several do not look. Zero for not at all. Default 50 µs.
    ///
    /// To be woken costs a thread, and on virtual machines above all, several times what a request
    /// does. Nobody looks while nothing happens, while others want the processor, or where what comes
    /// next mostly comes later.
    pub busy_poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            threads: (processors / 2).max(1),
            busy_poll: Self::BUSY_POLL,
        }
    }
}

impl Options {
    /// The default of [`Options::busy_poll`].
    pub const BUSY_POLL: Duration = Duration::from_micros(50);
}

/// Starts a runtime.
///
/// # Errors
/// [`Error::Misconfigured`] when the system gives no threads or no event queue.
pub fn start(options: &Options) -> Result<Runtime, Error> {
    let threads = options.threads.max(1);
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
    // Of several threads one sleeps in the system's queue of events: then others would look in vain.
    if threads == 1 && !options.busy_poll.is_zero() {
        runtime.spawn(busy_poll(options.busy_poll));
    }
    Ok(runtime)
}

/// How often the runtime wakes up for nothing. Shorter than most deadlines.
const BEAT: Duration = Duration::from_millis(100);

/// Keeps the time at which the event loop wakes up next near. A timer that comes before it makes the
/// loop wake up at once, by way of the system, only to sleep a little shorter: without this, each
/// call to a backend would, for its deadline.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}
