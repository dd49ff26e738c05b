//! Busy polling: the thread polls for the next event for a short time before it sleeps.

use super::Credit;
use artisanal_core::yield_once;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::yield_now;
use tokio::time::sleep;

/// How long polling pauses when its credit is used up.
const REST: Duration = Duration::from_millis(100);

/// The maximum duration of a yield to the system when no other thread wants the processor; much less than
/// the time slice of another thread.
const ALONE: Duration = Duration::from_micros(4);

thread_local! {
    static EVENTS: Events = const {
        Events {
            count: Cell::new(0),
            waiting: RefCell::new(None),
        }
    };
}

/// The events on this thread.
struct Events {
    count: Cell<u64>,
    /// The task that waits for the next event.
    waiting: RefCell<Option<Waker>>,
}

/// Records an event that another one may soon follow, such as a backend's reply or the next request.
pub(crate) fn note() {
    EVENTS.with(|events| {
        events.count.set(events.count.get().wrapping_add(1));
        if let Some(waker) = events.waiting.take() {
            waker.wake();
        }
    });
}

/// Keeps this thread from sleeping for `time` after each event, while that pays off.
///
/// A sleeping processor takes long to wake up, and then has cold caches. If the next event mostly comes
/// later than `time`, as with a backend that writes to a disk, polling wastes time: then it pauses for a
/// while before the next attempt.
pub(super) async fn busy_poll(time: Duration) {
    while_alone(time, alone).await;
}

async fn while_alone(time: Duration, alone: impl Fn() -> bool) {
    let mut seen = 0;
    loop {
        let mut credit = Credit::FULL;
        while credit.is_left() {
            seen = event_after(seen).await;
            let mut begun = Instant::now();
            loop {
                // Runs other tasks, and polls the system for events without blocking.
                yield_now().await;
                // Runs the tasks that were woken by tasks which these events woke: they have work to do, so the
                // processor must not go to other threads yet.
                yield_once().await;
                let count = count();
                if count != seen {
                    seen = count;
                    begun = Instant::now();
                    credit.earn();
                } else if begun.elapsed() > time || !alone() {
                    credit.lose();
                    break;
                }
            }
        }
        sleep(REST).await;
    }
}

/// Waits until the event count differs from `seen`, and returns it.
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

/// Yields the processor to other threads. Returns whether none of them wanted it.
fn alone() -> bool {
    let before = Instant::now();
    std::thread::yield_now();
    before.elapsed() < ALONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    /// How often a thread sleeps while it waits 20 ms for another thread, after an event.
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
            // The task starts to wait.
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

    #[test]
    fn tasks_with_work_to_do_run_before_other_threads() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            // What was received, and what was done about it.
            let (received, done) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
            let (sent, inbox) = (Arc::clone(&received), Arc::clone(&done));
            let yields = Arc::<AtomicUsize>::default();
            let counter = Arc::clone(&yields);
            let polling = tokio::spawn(while_alone(Duration::from_secs(60), move || {
                counter.fetch_add(1, Ordering::Relaxed);
                let (sent, done) = (sent.load(Ordering::Relaxed), inbox.load(Ordering::Relaxed));
                assert_eq!(
                    sent, done,
                    "other threads run before a task with work to do"
                );
                true
            }));
            yield_now().await;
            note();
            let (near, far) = std::os::unix::net::UnixStream::pair().expect("a socket");
            near.set_nonblocking(true).expect("set");
            let near = tokio::net::UnixStream::from_std(near).expect("in the event loop");
            for _ in 0..20 {
                let before = yields.load(Ordering::Relaxed);
                let (tell, told) = oneshot::channel();
                let (received, done) = (Arc::clone(&received), Arc::clone(&done));
                let worker = tokio::spawn(async move {
                    told.await.expect("it is told");
                    done.fetch_add(1, Ordering::Relaxed);
                });
                (&far).write_all(b"x").expect("written");
                near.readable().await.expect("readable");
                near.try_read(&mut [0]).expect("read");
                received.fetch_add(1, Ordering::Relaxed);
                tell.send(()).expect("somebody waits");
                worker.await.expect("no panic");
                while yields.load(Ordering::Relaxed) == before {
                    assert!(!polling.is_finished(), "busy polling has failed");
                    yield_now().await;
                }
            }
            polling.abort();
        });
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
            // The task sees the event, and then that there is no other.
            for _ in 0..3 {
                yield_now().await;
            }
        }
        let tries = (Credit::MOST / Credit::LOSS) as usize;
        let looked = looks.load(Ordering::Relaxed);
        // There is a second round of attempts only if this loop took longer than the pause.
        assert!((tries..events / 10).contains(&looked), "{looked} looks");
        sleep(REST * 2).await;
        note();
        sleep(REST).await;
        assert!(looks.load(Ordering::Relaxed) > looked);
        looking.abort();
    }
}
