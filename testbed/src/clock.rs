//! A clock whose readings are comparable across the processes of one machine.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the machine's monotonic clock (`CLOCK_MONOTONIC`): since boot on Linux.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (secs, nanos) = (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    );
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}
