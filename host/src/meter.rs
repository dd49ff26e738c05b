//! Measures how long guest code computes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The guest clock: a counter of ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Counts a tick. Must be called before the epoch is incremented, which interrupts guest code.
    pub(crate) fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Distinguishes the ticks during which the guest code of one store computed from those during which it
/// waited or other code ran on its thread.
///
/// Guest code only computes while the future of its store is polled. So every store is driven inside
/// [`Meter::run`], and guest code that is interrupted by a tick has been computing since that poll began
/// or since the previous interruption.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// The tick at which guest code began to compute or was last interrupted.
    since: AtomicU64,
}

impl Meter {
    pub(crate) fn new(clock: Clock) -> Self {
        let since = AtomicU64::new(clock.now());
        Self(Arc::new(Inner { clock, since }))
    }

    /// Drives the future of a store.
    pub(crate) async fn run<T>(&self, store: impl Future<Output = T>) -> T {
        let mut store = pin!(store);
        poll_fn(|context| {
            self.begin();
            store.as_mut().poll(context)
        })
        .await
    }

    fn begin(&self) {
        self.0.since.store(self.0.clock.now(), Ordering::Relaxed);
    }

    /// Whether a tick occurred while the guest code computed. Each tick is reported once.
    ///
    /// Several missed ticks count as one: most likely the operating system ran another thread.
    pub(crate) fn took_a_tick(&self) -> bool {
        let now = self.0.clock.now();
        self.0.since.swap(now, Ordering::Relaxed) < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use std::task::Poll;

    #[test]
    fn only_ticks_while_it_is_polled_count() {
        let clock = Clock::default();
        let meter = Meter::new(clock.clone());
        let mut polls = 0;
        let work = poll_fn(|context| {
            assert!(!meter.took_a_tick(), "it did not run before");
            clock.tick();
            assert!(meter.took_a_tick());
            assert!(!meter.took_a_tick(), "it was counted");
            clock.tick();
            clock.tick();
            assert!(meter.took_a_tick());
            assert!(!meter.took_a_tick(), "several are one");
            polls += 1;
            if polls < 3 {
                // Other code runs for a long time in between.
                clock.tick();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        runtime.block_on(meter.run(work));
        clock.tick();
        runtime.block_on(meter.run(ready(())));
        assert!(!meter.took_a_tick());
    }
}
