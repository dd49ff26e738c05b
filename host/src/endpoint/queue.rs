//! Requests that wait for an instance of a component.

use futures::channel::oneshot;
use http::{Request, Response};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wasmtime_wasi_http::WasiBody;

/// Where the answer of one request goes.
pub(super) type Reply = oneshot::Sender<Result<Response<WasiBody>, wasmtime::Error>>;

/// One request.
pub(super) struct Job {
    pub(super) request: Request<WasiBody>,
    pub(super) reply: Reply,
    pub(super) since: Instant,
    /// Of those for requests in flight. It goes where the request goes, until the component is done
    /// with it, however early its client went away.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Requests that went away are swept out of the queue once there are this many of them, and as many
/// as there are others.
const SWEEP: usize = 64;

/// What all instances of one component take their requests from.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    pushed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    workers: usize,
    /// How many workers cannot take more than they have.
    full: usize,
    /// How many requests went away since the last sweep, in the queue or after they were taken.
    gone: usize,
}

impl Queue {
    /// Adds a request. True when a worker has to be started for it, which counts as started then:
    /// there is none yet, or none of them has room, or they did not even take what came before.
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

    /// The request that an instance begins with. `full` says whether the instance has no room for
    /// a second one; a [`Full`] must be made for it then.
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

    /// Moves to `jobs` what one worker should take at a time: its share of those who still wait
    /// for an answer, and no more than `most`.
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
            // Several pushes may have been told as one.
            self.pushed.notify_one();
        }
    }

    /// Takes note that a request went away. When that is worth it, those that are still in the queue
    /// are dropped, with their permits: who takes them may be busy for a long time.
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
        // Not under the lock: bodies may run code of the connection when they are dropped.
        drop(gone);
    }

    /// Gives back what was taken and not begun, to be the first to be taken again.
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

    /// Resolves when requests were added that nobody was told of yet.
    pub(super) fn pushed(&self) -> Notified<'_> {
        self.pushed.notified()
    }

    /// Takes back that a worker was started: it could not be. Returns who waits for it, unless
    /// others take them.
    pub(super) fn not_started(&self) -> VecDeque<Job> {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
        match state.workers {
            0 => std::mem::take(&mut state.waiting),
            _ => VecDeque::new(),
        }
    }

    /// Ends a worker. False when requests wait that nobody else would take: then it must go on.
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
        state.full = match full {
            true => state.full.saturating_add(1),
            false => state.full.saturating_sub(1),
        };
    }

    /// Nothing is half done between any two statements that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an instance has room for further requests, for [`Queue::push`] to know.
pub(super) struct Full<'a> {
    queue: &'a Queue,
    full: bool,
}

impl<'a> Full<'a> {
    /// For an instance that begins with what [`Queue::first`] gave.
    pub(super) fn new(queue: &'a Queue, full: bool) -> Self {
        Self { queue, full }
    }

    /// Takes note of it.
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

    /// Nobody takes anything meanwhile, as when the only instance is held up.
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
