//! The idle timeout of connections.
//!
//! A timer per request would cost more than reading the request's head. So there is one timer per
//! connection, which periodically checks whether there was any activity since the last check.

use super::streams::Streams;
use futures::task::AtomicWaker;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// The activity on one connection. Only one task uses it, so relaxed ordering is enough.
#[derive(Default)]
pub(super) struct Activity {
    /// Counts received request heads, completed responses, and writes.
    events: AtomicU64,
    in_flight: AtomicBool,
    /// Whether to detect a disconnect: a request is in flight, and no data has arrived after it.
    watched: AtomicBool,
    /// Whether the body of the latest request was not read to its end.
    unread: AtomicBool,
}

impl Activity {
    /// Records that the head of a request arrived. Resolves to the output of `answer`.
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

    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether to detect that the client disconnects.
    pub(super) fn watches(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Stops detecting a disconnect until the next request.
    pub(super) fn stop_watching(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Records activity, such as that the client accepted part of a response.
    pub(super) fn note(&self) {
        crate::runtime::note();
        let events = self.events.load(Ordering::Relaxed);
        self.events.store(events.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Detects that a client has not sent the head of a request in time.
pub(super) struct IdleTimeout {
    activity: Arc<Activity>,
    /// The streams of an HTTP/2 connection.
    streams: Option<Arc<Streams>>,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    alarm: Arc<Alarm>,
    /// Wakes the alarm; the timer is polled with it.
    waker: Waker,
    /// The event count when the timer was started.
    seen: u64,
}

/// Records whether the timer woke the task. Polling the timer every time would cost more than everything
/// else here.
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
    /// Must be called within a runtime.
    pub(super) fn new(activity: Arc<Activity>, timeout: Duration) -> Self {
        let alarm = Arc::new(Alarm {
            // So that the first poll starts the timer.
            due: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            activity,
            streams: None,
            timeout,
            timer: Box::pin(sleep(timeout)),
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            seen: 0,
        }
    }

    /// The same for an HTTP/2 connection. It also detects a client that accepts no part of an answer.
    pub(super) fn of_streams(
        activity: Arc<Activity>,
        streams: Arc<Streams>,
        timeout: Duration,
    ) -> Self {
        Self {
            streams: Some(streams),
            ..Self::new(activity, timeout)
        }
    }

    /// Resolves after one to two times `timeout` without activity.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Before the check, so that an alarm that fires in between wakes this task.
        self.alarm.task.register(context.waker());
        if !self.alarm.due.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        loop {
            let mut woken = Context::from_waker(&self.waker);
            ready!(self.timer.as_mut().poll(&mut woken));
            let mut events = self.activity.events.load(Ordering::Relaxed);
            let mut in_flight = self.activity.in_flight.load(Ordering::Relaxed);
            let mut stuck = false;
            if let Some(streams) = &self.streams {
                events = events.wrapping_add(streams.written());
                in_flight = !streams.are_answered();
                stuck = streams.check();
            }
            let idle = events == self.seen && !in_flight;
            self.seen = events;
            self.timer.as_mut().reset(Instant::now() + self.timeout);
            if idle || stuck {
                return Poll::Ready(());
            }
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
