//! Clocks that can be set while components use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// What every clock shows when a run begins. No jumps go back as far as zero.
const BEGIN: Duration = Duration::from_secs(1 << 30);

/// The clock of one machine: the time of the runtime, which stands still while anything can be done, and how far the
/// clock differs from it.
#[derive(Clone)]
pub(crate) struct Clock {
    start: Instant,
    ahead: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            ahead: Arc::default(),
        }
    }
}

impl Clock {
    /// Lets the clock jump by so many milliseconds, forward or back.
    pub(crate) fn jump(&self, ms: i64) {
        self.ahead.fetch_add(ms, Ordering::Relaxed);
    }

    /// What it shows.
    pub(crate) fn now(&self) -> Duration {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let distance = Duration::from_millis(ahead.unsigned_abs());
        let shown = BEGIN + self.start.elapsed();
        if ahead < 0 {
            shown.saturating_sub(distance)
        } else {
            shown + distance
        }
    }
}

/// The monotonic clock of a component on the machine. It jumps as well, as when a virtual machine is moved.
pub(crate) struct MonotonicClock(pub(crate) Clock);

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The wall clock of a component on the machine.
pub(crate) struct WallClock(pub(crate) Clock);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}
