//! Looking for the next event a little longer, before the thread sleeps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::yield_now;
use tokio::time::sleep;

/// How much may be lost until looking is left for [`REST`]. An event that came in time is worth 1.
const CREDIT: u32 = 16;

/// What it costs when none came.
const LOSS: u32 = 2;

/// How long looking is left when it does not pay.
const REST: Duration = Duration::from_millis(100);

/// What a processor takes to find out that nobody else wants it: much less than a turn of somebody
/// who does.
const ALONE: Duration = Duration::from_micros(4);

thread_local! {
    static EVENTS: Events = const {
        Events {
            count: Cell::new(0),
            waiting: RefCell::new(None),
        }
    };
}

/// What happened on this thread.
struct Events {
    count: Cell<u64>,
    /// Who waits for the next one.
    waiting: RefCell<Option<Waker>>,
}

/// Something happened that something else may soon follow: the reply of a backend, the next request.
pub(crate) fn note() {
    EVENTS.with(|events| {
        events.count.set(events.count.get().wrapping_add(1));
        if let Some(waker) = events.waiting.take() {
            waker.wake();
        }
    });
}

/// Keeps this thread from sleeping for `time` after each event, while that pays.
///
/// A processor that was asleep takes long to come back, and comes back with cold caches. Where the next
/// event mostly comes later, as with a backend that writes to a disk, looking for it is a waste: then
/// it is left for a while, and tried again.
pub(super) async fn busy_poll(time: Duration) {
    while_alone(time, alone).await;
}

async fn while_alone(time: Duration, alone: impl Fn() -> bool) {
    let mut seen = 0;
    loop {
        let mut credit = CREDIT;
        while credit > 0 {
            seen = event_after(seen).await;
            let mut begun = Instant::now();
            loop {
                // Other tasks run, and the system is asked for events, but not waited for.
                yield_now().await;
                let count = count();
                if count != seen {
                    seen = count;
                    begun = Instant::now();
                    credit = (credit + 1).min(CREDIT);
                } else if begun.elapsed() > time || !alone() {
                    credit = credit.saturating_sub(LOSS);
                    break;
                }
            }
        }
        sleep(REST).await;
    }
}

/// Waits for an event after those that were seen.
async fn event_after(seen: u64) -> u64 {
    poll_fn(|context| {
        let count = count();
        if count != seen {
            return Poll::Ready(count);
        }
        let waker = Some(context.waker().clone());
        EVENTS.with(|events| events.waiting.replace(waker));
        Poll::Pending
    })
    .await
}

fn count() -> u64 {
    EVENTS.with(|events| events.count.get())
}

/// Lets whoever else wants this processor have it; says whether nobody did.
fn alone() -> bool {
    let before = Instant::now();
    std::thread::yield_now();
    before.elapsed() < ALONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    /// How often a thread sleeps while it waits 20 ms for what another thread brings, after an event.
    fn sleeps(time: Duration, alone: bool) -> usize {
        let sleeps = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sleeps);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let looking = tokio::spawn(while_alone(time, move || alone));
            // It begins to wait.
            yield_now().await;
            note();
            yield_now().await;
            let before = sleeps.load(Ordering::Relaxed);
            let (send, receive) = oneshot::channel();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                send.send(())
            });
            receive.await.expect("it is sent");
            looking.abort();
            sleeps.load(Ordering::Relaxed) - before
        })
    }

    #[test]
    fn a_thread_that_looks_does_not_sleep() {
        assert_eq!(sleeps(Duration::from_secs(60), true), 0);
    }

    #[test]
    fn it_sleeps_when_the_time_is_over_and_when_others_want_the_processor() {
        assert!(sleeps(Duration::from_micros(1), true) > 0);
        assert!(sleeps(Duration::from_secs(60), false) > 0);
    }

    #[tokio::test]
    async fn what_does_not_pay_is_left_for_a_while_and_tried_again() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&looks);
        let looking = tokio::spawn(while_alone(Duration::from_secs(60), move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        }));
        let events = 1000;
        for _ in 0..events {
            note();
            // It sees the event, and then that there is no other.
            for _ in 0..3 {
                yield_now().await;
            }
        }
        let tries = (CREDIT / LOSS) as usize;
        let looked = looks.load(Ordering::Relaxed);
        // More than once only where this took longer than the rest does.
        assert!((tries..events / 10).contains(&looked), "{looked} looks");
        sleep(REST * 2).await;
        note();
        sleep(REST).await;
        assert!(looks.load(Ordering::Relaxed) > looked);
        looking.abort();
    }
}
