//! The tokio runtime for servers, and for programs that mint many integers.

mod busy_poll;
mod credit;

pub(crate) use busy_poll::note;
pub(crate) use credit::Credit;

use crate::Error;
use busy_poll::busy_poll;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// The number of threads and the busy polling of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of threads. Default: half the number of processors, and at least one.
    ///
    /// A request costs the operating system several times what it costs this program, and if clients and
    /// backends are on the same machine, the system does the work for them too. Threads that compete with
    /// that work for a processor are slower than fewer threads.
    pub threads: usize,
    /// How long the thread polls for the next request or reply before it sleeps. Only a runtime with one
    /// thread polls. Zero disables it. Default 50 µs.
    ///
    /// Waking a thread costs several times what a request does, above all on virtual machines. The thread
    /// does not poll while there are no events, while other threads want the processor, or if the next event
    /// mostly comes later.
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
/// [`Error::Misconfigured`] when the system cannot create the threads or the event queue.
pub fn start(options: &Options) -> Result<Runtime, Error> {
    let threads = options.threads.max(1);
    let mut builder = match threads {
        // One thread does not need the overhead of work stealing.
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Error::Misconfigured(format!("cannot start the event loop: {error}")))?;
    runtime.spawn(beat());
    // With several threads, one of them sleeps in the system's event queue and gets the events, so the
    // others would poll in vain.
    if threads == 1 && !options.busy_poll.is_zero() {
        runtime.spawn(busy_poll(options.busy_poll));
    }
    Ok(runtime)
}

/// The period of the timer that keeps the event loop's next wake-up near. Shorter than most deadlines.
const BEAT: Duration = Duration::from_millis(100);

/// A periodic timer, so that per-call deadlines do not re-arm epoll. A new timer that expires before the
/// event loop's next wake-up wakes the loop at once, with a system call, only to shorten its sleep. Without
/// this timer, the deadline of every backend call would do that.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}
