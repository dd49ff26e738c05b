//! How long guest code computes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The clock of guest code: it counts ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Counts another tick. To be called before guest code is made to look at the clock.
    pub(crate) fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells the ticks during which the guest code of one store computed from those during which it
/// waited, or others had its thread.
///
/// Guest code only computes while the future of its store is polled. So whoever drives a store does it
/// inside of [`Meter::run`], and guest code that is found computing at a tick has done so since that poll
/// began, or since it was last found.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// When guest code began to compute, or was last found computing.
    since: AtomicU64,
}

impl Meter {
    pub(crate) fn new(clock: Clock) -> Self {
        let since = AtomicU64::new(clock.now());
        Self(Arc::new(Inner { clock, since }))
    }

    /// Drives a store.
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

    /// Whether a tick came while the guest code computed. It is not counted again.
    ///
    /// Several that were missed count as one: most likely the system ran somebody else.
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
                // Others run in between, for a long time.
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
