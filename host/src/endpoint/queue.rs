//! The queue of requests that wait for a component instance.

use futures::channel::oneshot;
use http::{Request, Response};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wasmtime_wasi_http::WasiBody;

/// The channel for the response to one request.
pub(super) type Reply = oneshot::Sender<Result<Response<WasiBody>, wasmtime::Error>>;

/// One request.
pub(super) struct Job {
    pub(super) request: Request<WasiBody>,
    pub(super) reply: Reply,
    pub(super) since: Instant,
    /// The permit that counts the request as in flight. It is held until the component has finished the
    /// request, even if the client disconnected earlier.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Canceled requests are removed from the queue once there are at least this many, and at least as many
/// as requests that are still wanted.
const SWEEP: usize = 64;

/// The request queue that all instances of one component share.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    pushed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    workers: usize,
    /// How many workers are at capacity.
    full: usize,
    /// How many requests were canceled since the last sweep, in the queue or after they were taken.
    gone: usize,
}

impl Queue {
    /// Adds a request. Returns true if the caller has to start a worker for it, which is then already
    /// counted: there is no worker yet, all are at capacity, or earlier requests are still waiting.
    pub(super) fn push(&self, job: Job, most_workers: usize) -> bool {
        let start = {
            let mut state = self.lock();
            let busy = state.full >= state.workers || !state.waiting.is_empty();
            let start = busy && state.workers < most_workers.max(1);
            state.workers += usize::from(start);
            state.waiting.push_back(job);
            start
        };
        if !start {
            self.pushed.notify_one();
        }
        start
    }

    /// The first request of a new instance. `full` says whether the instance can take only this one; then
    /// the caller must create a [`Full`] for it.
    pub(super) fn first(&self, full: bool) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let job = state.waiting.pop_front()?;
            if !job.reply.is_canceled() {
                state.full += usize::from(full);
                return Some(job);
            }
        }
    }

    /// Moves one worker's share of the requests that are still wanted to `jobs`, at most `most` of them.
    pub(super) fn take(&self, most: usize, jobs: &mut VecDeque<Job>) {
        let mut state = self.lock();
        let mut left = state.waiting.len().div_ceil(state.workers.max(1)).min(most);
        while left > 0
            && let Some(job) = state.waiting.pop_front()
        {
            if !job.reply.is_canceled() {
                jobs.push_back(job);
                left -= 1;
            }
        }
        let others = !state.waiting.is_empty();
        drop(state);
        if others {
            // Several pushes may have resulted in one wake-up.
            self.pushed.notify_one();
        }
    }

    /// Counts a canceled request. When there are enough of them ([`SWEEP`]), drops those that are still in
    /// the queue, with their permits: the workers that would otherwise skip them may be busy for a long time.
    pub(super) fn abandon(&self) {
        let gone: VecDeque<_> = {
            let mut state = self.lock();
            state.gone += 1;
            if state.gone < SWEEP || state.gone * 2 < state.waiting.len() {
                return;
            }
            state.gone = 0;
            let (gone, waiting) = std::mem::take(&mut state.waiting)
                .into_iter()
                .partition(|job| job.reply.is_canceled());
            state.waiting = waiting;
            gone
        };
        // Not under the lock: dropping a body may run code of the connection.
        drop(gone);
    }

    /// Puts back requests that were taken but not started, at the front of the queue.
    pub(super) fn give_back(&self, jobs: &mut VecDeque<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut state = self.lock();
        while let Some(job) = jobs.pop_back() {
            state.waiting.push_front(job);
        }
        drop(state);
        self.pushed.notify_one();
    }

    /// Resolves when requests were added since the last wake-up.
    pub(super) fn pushed(&self) -> Notified<'_> {
        self.pushed.notified()
    }

    /// Undoes `push`'s worker count after a failed spawn. Returns the waiting requests if no other worker
    /// is left to take them.
    pub(super) fn not_started(&self) -> VecDeque<Job> {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
        match state.workers {
            0 => std::mem::take(&mut state.waiting),
            _ => VecDeque::new(),
        }
    }

    /// Removes a worker from the count. Returns false if it must go on, because requests are waiting and it
    /// is the only worker.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.lock();
        let needed = state.workers == 1 && !state.waiting.is_empty();
        if !needed {
            state.workers = state.workers.saturating_sub(1);
        }
        !needed
    }

    fn count_full(&self, full: bool) {
        let mut state = self.lock();
        state.full = if full {
            state.full.saturating_add(1)
        } else {
            state.full.saturating_sub(1)
        };
    }

    /// Ignores poisoning: the state is consistent at every point that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records whether an instance is at capacity, for [`Queue::push`].
pub(super) struct Full<'a> {
    queue: &'a Queue,
    full: bool,
}

impl<'a> Full<'a> {
    /// For an instance that starts with the request from [`Queue::first`].
    pub(super) fn new(queue: &'a Queue, full: bool) -> Self {
        Self { queue, full }
    }

    /// Sets whether the instance is at capacity.
    pub(super) fn set(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.queue.count_full(full);
        }
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    type Answer = oneshot::Receiver<Result<Response<WasiBody>, wasmtime::Error>>;

    fn job(path: &str) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        let body = Empty::<Bytes>::new()
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = Request::builder().uri(path).body(body).unwrap();
        let permits = Arc::new(Semaphore::new(1));
        (
            Job {
                request,
                reply,
                since: Instant::now(),
                permit: permits.try_acquire_owned().unwrap(),
            },
            answer,
        )
    }

    fn push(queue: &Queue, path: &str, most: usize) -> (bool, Answer) {
        let (job, answer) = job(path);
        (queue.push(job, most), answer)
    }

    fn take(queue: &Queue, most: usize) -> Vec<String> {
        let mut jobs = VecDeque::new();
        queue.take(most, &mut jobs);
        jobs.iter()
            .map(|job| job.request.uri().path().to_owned())
            .collect()
    }

    #[test]
    fn workers_are_started_when_those_there_are_busy() {
        let queue = Queue::default();
        let (first, _a) = push(&queue, "/1", 2);
        assert!(first);
        assert_eq!(take(&queue, 9), ["/1"]);
        let (second, _b) = push(&queue, "/2", 2);
        assert!(!second, "the first worker has nothing waiting");
        let (third, _c) = push(&queue, "/3", 2);
        assert!(third, "the first worker did not take the last one");
        let (fourth, _d) = push(&queue, "/4", 2);
        assert!(!fourth, "two are the most");
        assert_eq!(take(&queue, 9), ["/2", "/3"], "a half of three");
        assert_eq!(take(&queue, 9), ["/4"]);
    }

    #[test]
    fn workers_are_started_when_those_there_are_full() {
        let queue = Queue::default();
        let (_, _a) = push(&queue, "/1", 2);
        queue.first(true).unwrap();
        let mut full = Full::new(&queue, true);
        let (second, _b) = push(&queue, "/2", 2);
        assert!(second, "there is no room for it");
        full.set(false);
        assert_eq!(take(&queue, 1), ["/2"]);
        drop(full);
        let queue = Queue::default();
        let (_, _c) = push(&queue, "/1", 2);
        queue.first(false).unwrap();
        let (second, _d) = push(&queue, "/2", 2);
        assert!(!second, "there is room for it");
    }

    #[test]
    fn nobody_takes_more_than_it_can_nor_what_nobody_wants() {
        let queue = Queue::default();
        let answers: Vec<_> = (0..5)
            .map(|i| push(&queue, &format!("/{i}"), 1).1)
            .collect();
        assert_eq!(take(&queue, 2), ["/0", "/1"]);
        drop(answers);
        assert_eq!(take(&queue, 2), [""; 0]);
    }

    #[test]
    fn what_is_given_back_is_taken_first() {
        let queue = Queue::default();
        let _answers: Vec<_> = (0..3)
            .map(|i| push(&queue, &format!("/{i}"), 1).1)
            .collect();
        let mut jobs = VecDeque::new();
        queue.take(2, &mut jobs);
        queue.give_back(&mut jobs);
        assert!(jobs.is_empty());
        assert_eq!(take(&queue, 9), ["/0", "/1", "/2"]);
    }

    /// No worker takes requests meanwhile, as when the only instance is blocked.
    #[test]
    fn requests_that_went_away_do_not_pile_up() {
        let queue = Queue::default();
        let (_, _stays) = push(&queue, "/stays", 1);
        for _ in 0..100_000 {
            drop(push(&queue, "/leaves", 1));
            queue.abandon();
            assert!(queue.lock().waiting.len() <= 2 * SWEEP);
        }
        assert_eq!(take(&queue, 9), ["/stays"]);
    }

    #[test]
    fn the_last_worker_stays_while_somebody_waits() {
        let queue = Queue::default();
        let (_, _a) = push(&queue, "/1", 1);
        assert!(!queue.leave());
        take(&queue, 1);
        assert!(queue.leave());
        assert!(push(&queue, "/2", 1).0, "a new worker");
    }
}
