//! Connections on which nothing is asked.
//!
//! A timer for each request would cost more than reading its head does. So there is one for each
//! connection, which looks now and then whether anything happened since it last did.

use futures::task::AtomicWaker;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// What happens on one connection. All of it is one task's: no order between threads is needed.
#[derive(Default)]
pub(super) struct Activity {
    /// Counts heads of requests that arrived, answers that were found, and writes.
    events: AtomicU64,
    in_flight: AtomicBool,
    /// Whether a client that goes away is to be noticed: a request is in flight, and nothing has come
    /// after it.
    watched: AtomicBool,
}

impl Activity {
    /// The head of a request arrived; resolves as `answer` does.
    pub(super) fn request<F: Future>(
        self: &Arc<Self>,
        answer: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let activity = Arc::clone(self);
        activity.note();
        activity.in_flight.store(true, Ordering::Relaxed);
        activity.watched.store(true, Ordering::Relaxed);
        async move {
            let answer = answer.await;
            activity.in_flight.store(false, Ordering::Relaxed);
            activity.watched.store(false, Ordering::Relaxed);
            activity.note();
            answer
        }
    }

    /// Whether it is to be noticed when the client goes away.
    pub(super) fn watches(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Until the next request there is nothing more to be noticed.
    pub(super) fn stop_watching(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// The client took a part of an answer.
    pub(super) fn note(&self) {
        crate::runtime::note();
        let events = self.events.load(Ordering::Relaxed);
        self.events.store(events.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Notices when a client owes the head of a request for too long.
pub(super) struct IdleTimeout {
    activity: Arc<Activity>,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    alarm: Arc<Alarm>,
    /// What the timer wakes: the alarm.
    waker: Waker,
    /// The events when the timer was started.
    seen: u64,
}

/// Tells whether it was the timer that woke the task. To ask the timer each time would cost more than
/// all else that is done here.
struct Alarm {
    due: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl IdleTimeout {
    /// Must be made within a runtime.
    pub(super) fn new(activity: Arc<Activity>, patience: Duration) -> Self {
        let alarm = Arc::new(Alarm {
            // The timer begins when it is asked for the first time.
            due: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            activity,
            patience,
            timer: Box::pin(sleep(patience)),
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            seen: 0,
        }
    }

    /// Resolves once the client owed it for longer than `patience`, and before it did for twice that.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // First, so that an alarm that comes now wakes this task.
        self.alarm.task.register(context.waker());
        if !self.alarm.due.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        loop {
            let mut woken = Context::from_waker(&self.waker);
            ready!(self.timer.as_mut().poll(&mut woken));
            let events = self.activity.events.load(Ordering::Relaxed);
            if events == self.seen && !self.activity.in_flight.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            self.seen = events;
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_millis(20);

    fn idle() -> (Arc<Activity>, IdleTimeout) {
        let activity = Arc::new(Activity::default());
        (Arc::clone(&activity), IdleTimeout::new(activity, PATIENCE))
    }

    #[tokio::test]
    async fn nothing_at_all_is_noticed() {
        let (_activity, mut idle) = idle();
        poll_fn(|context| idle.poll(context)).await;
    }

    #[tokio::test]
    async fn what_is_in_flight_is_not_idle() {
        let (activity, mut idle) = idle();
        let request = activity.request(std::future::pending::<()>());
        let noticed = timeout(PATIENCE * 5, poll_fn(|context| idle.poll(context))).await;
        assert!(noticed.is_err());
        drop(request);
        activity.request(async {}).await;
        poll_fn(|context| idle.poll(context)).await;
    }

    #[tokio::test]
    async fn whoever_does_something_is_not_idle() {
        let (activity, mut idle) = idle();
        let busy = async {
            loop {
                activity.note();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = busy => unreachable!(),
            () = poll_fn(|context| idle.poll(context)) => panic!("it was not idle"),
            () = sleep(PATIENCE * 5) => {}
        }
    }
}
