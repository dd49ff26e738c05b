//! Serves many waiting requests with one upstream call.
//!
//! Requests queue while a call is in flight. When it returns, one call for the sum of their counts
//! serves all of them, in arrival order. No integer is minted before it was requested, so a request
//! always gets greater integers than every request that was answered before it began.
//!
//! A backend that waits for its disk or for other nodes can accept further calls meanwhile. An
//! upstream may therefore have several *slots*, each with one call in flight. A further call begins
//! when as many requests wait as the calls in flight serve on average: requests then wait for little
//! more than one round trip, and batches stay about as large as they can be. The backend orders the
//! calls; their results are checked against each other.
//!
//! A request that finds the coalescer idle makes its own call. If calls are expensive, it first
//! yields once to all tasks that are ready: on a busy server, other requests arrive then. As soon as
//! there is a queue, a [`Driver`] serves it in a separate task, so that no request depends on the
//! fate of another; the driver ends when the queue is empty.
//!
//! Requests for the last integer and requests to raise the sequence are coalesced in the same way,
//! each kind separately and with one call in flight, so mints never queue behind them.
//!
//! A call that has begun runs to its end even if all its requests are cancelled, and occupies its
//! slot until then. So there are never more calls than slots, however many requests come and go.

mod calls;
mod driver;
mod gathering;
mod queue;
mod rounds;
mod wait_queue;

pub use driver::Driver;

use crate::limits::{check_count, check_last};
use crate::{Error, Span};
use driver::Abandoned;
use gathering::Gathering;
use queue::{Entry, Queue};
use rounds::{Kind, Raises, Reads, Rounds};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use wait_queue::{Answer, Leave};

/// The backend of a coalescer.
pub trait Upstream: Sized + 'static {
    /// A call in flight. It continues even if the request that it was made for is cancelled.
    type Call<T: Send + 'static>: Future<Output = Result<T, Error>> + Unpin + 'static;

    /// Mints `count` integers, 1 to [`MAX_COUNT`](crate::MAX_COUNT), on a slot: 0 to
    /// [`Upstream::slots`] − 1.
    ///
    /// At most one such call is in flight on a slot, except after a driver was stopped before it
    /// finished: the result of its call is lost, and the upstream stays usable.
    fn next(&self, slot: usize, count: u32) -> Self::Call<Span>;

    /// The greatest integer taken before this call ends, and at least the greatest that was taken
    /// before it began; None before the first one. At most one such call is in flight.
    fn last(&self) -> Self::Call<Option<i64>>;

    /// Raises the sequence to `value`, 0 or more, or fails with [`Error::TooSmall`] if the sequence is
    /// past it. At most one such call is in flight.
    fn set_last(&self, value: i64) -> Self::Call<()>;

    /// How many calls may be in flight at a time. A call must get greater integers than every call
    /// that was answered before it began, on any slot. Read once.
    fn slots(&self) -> usize {
        1
    }

    /// Whether a call costs more than yielding to all tasks that are ready. If so, a lone request
    /// yields before its call, so that others can join it.
    fn is_costly(&self) -> bool {
        true
    }

    /// The longest time for which a driver may let further requests gather before a call, as long as
    /// each yield brings more or there are [pauses](Upstream::pause). Some hosts admit one request per
    /// yield, so where calls take long this decides how many requests share a call. Default: zero, so a
    /// driver waits only while the queue grows fast.
    fn batch_window(&self) -> Duration {
        Duration::ZERO
    }

    /// A short pause in which the host admits further requests; None, the default, to begin the call when
    /// yields bring no more. A request that finds the coalescer idle pauses at least once before its call;
    /// both it and a driver then pause until the batch window is over.
    ///
    /// Some hosts admit no request to an instance while one of its calls blocks, and start another
    /// instance for it. Without pauses, the calls of many instances then wait for each other, each for a
    /// single request.
    fn pause(&self) -> Option<Self::Call<()>> {
        None
    }

    /// Starts a task that runs [`Driver::run`] to completion.
    ///
    /// May be called while a future is being dropped, so it must not panic: if that needs a runtime
    /// handle, keep one in the upstream and get it with [`Driver::upstream`].
    fn spawn(driver: Driver<Self>);
}

/// Shares one [`Upstream`] among many requests. Clones share the same upstream.
pub struct Coalescer<S: Upstream> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    upstream: S,
    /// The maximum number of requests of each kind that wait while a call is in flight.
    limit: usize,
    queue: Mutex<Queue>,
    reads: Mutex<Gathering<(), Option<i64>>>,
    raises: Mutex<Gathering<i64, ()>>,
}

impl<S: Upstream> Clone for Coalescer<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: Upstream> Coalescer<S> {
    /// A coalescer in which at most `queue_limit` requests of each kind wait while calls are in flight;
    /// all calls in flight together serve at most as many again, whatever the number of slots.
    /// Cancelled requests count until the call that serves them ends.
    pub fn new(upstream: S, queue_limit: usize) -> Self {
        let queue = Mutex::new(Queue::new(upstream.slots()));
        Self {
            shared: Arc::new(Shared {
                upstream,
                limit: queue_limit,
                queue,
                reads: Mutex::default(),
                raises: Mutex::default(),
            }),
        }
    }

    /// Mints `count` integers, 1 to [`MAX_COUNT`](crate::MAX_COUNT), that no other request gets.
    ///
    /// Dropping the future wastes these integers and no others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid count and [`Error::Busy`] when the queue is full, both without
    /// waiting; [`Error::Broken`] when the upstream returned a different number of integers than it was
    /// asked for, or integers that are not greater than all those it returned before;
    /// [`Error::Unavailable`] when the driver was stopped before it finished; otherwise the upstream's
    /// error.
    pub async fn next(&self, count: u32) -> Result<Span, Error> {
        let count = check_count(count)?;
        // A separate statement, so that the lock is released at its end.
        let entry = self.shared.lock().enter(count, self.shared.limit);
        match entry {
            Entry::Leader(ticket, slot) => self.lead(ticket, slot, count).await,
            Entry::First(ticket, slot, answer) => {
                let waiting = Waiting::new(&self.shared.queue, ticket);
                S::spawn(Driver::mints(Arc::clone(&self.shared), slot, None));
                waiting.wait(answer).await
            }
            Entry::Queued(ticket, answer) => {
                let waiting = Waiting::new(&self.shared.queue, ticket);
                waiting.wait(answer).await
            }
            Entry::Full => Err(Error::Busy),
        }
    }

    /// The greatest integer taken so far: at least every integer that was handed out before this
    /// request. None before the first one.
    ///
    /// # Errors
    /// [`Error::Busy`], without waiting, when too many requests wait; [`Error::Unavailable`] when the
    /// driver was stopped before it finished; otherwise the upstream's error.
    pub async fn last(&self) -> Result<Option<i64>, Error> {
        self.gathered::<Reads>(()).await
    }

    /// Raises the sequence so that every later integer is greater than `value`, 0 or more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value below 0; [`Error::TooSmall`] when the sequence is past that
    /// value, even if a concurrent request raised it there; otherwise as [`Coalescer::last`].
    pub async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.gathered::<Raises>(check_last(value)?).await
    }

    /// The upstream that mints the integers.
    pub fn upstream(&self) -> &S {
        &self.shared.upstream
    }

    /// How many requests are not answered yet, including cancelled ones whose call is still in flight.
    pub fn pending(&self) -> usize {
        let mints = self.shared.lock().pending();
        let reads = lock(&self.shared.reads).pending();
        mints + reads + lock(&self.shared.raises).pending()
    }

    /// Returns [`Coalescer::pending`] as long as there is a clone of this coalescer, and None after that.
    pub fn watch(&self) -> impl Fn() -> Option<usize> + use<S> {
        let shared = Arc::downgrade(&self.shared);
        move || shared.upgrade().map(|shared| Self { shared }.pending())
    }

    /// Serves a request that found the coalescer idle.
    async fn lead(&self, ticket: u64, slot: usize, count: u32) -> Result<Span, Error> {
        let mut leader = Leader {
            shared: &self.shared,
            slot,
            call: None,
        };
        match self.shared.upstream.pause() {
            Some(pause) => {
                // It only passes time: however it ends, the call comes next.
                drop(pause.await);
                self.shared.linger().await;
            }
            None if self.shared.upstream.is_costly() => yield_once().await,
            None => {}
        }
        let joined = self.shared.lock().join(ticket, slot, count);
        let Some(answer) = joined else {
            leader.call = Some((self.shared.upstream.next(slot, count), count));
            let given = poll_fn(|context| leader.poll(context)).await;
            return self.shared.check(slot, count, given);
        };
        // Others joined: a driver takes over.
        std::mem::forget(leader);
        let waiting = Waiting::new(&self.shared.queue, ticket);
        S::spawn(Driver::mints(Arc::clone(&self.shared), slot, None));
        waiting.wait(answer).await
    }

    /// Serves a request that shares its answer with others.
    async fn gathered<K: Kind>(&self, asked: K::Asked) -> Result<K::Answer, Error>
    where
        Driver<S>: From<Rounds<S, K>>,
    {
        let shared = &self.shared;
        let entry = lock(K::gathering(shared)).enter(asked, shared.limit);
        let (ticket, answer, first) = match entry {
            gathering::Entry::First(ticket, answer) => (ticket, answer, true),
            gathering::Entry::Queued(ticket, answer) => (ticket, answer, false),
            gathering::Entry::Full => return Err(Error::Busy),
        };
        let waiting = Waiting::new(K::gathering(shared), ticket);
        if first {
            S::spawn(Rounds::<S, K>::new(Arc::clone(shared)).into());
        }
        waiting.wait(answer).await
    }
}

impl<S: Upstream> Shared<S> {
    /// Makes a call on this slot, which is already marked as in flight, and checks its result.
    async fn mint(&self, slot: usize, count: u32) -> Result<Span, Error> {
        let given = self.upstream.next(slot, count).await;
        self.check(slot, count, given)
    }

    /// Checks the result of a call on this slot.
    fn check(&self, slot: usize, count: u32, given: Result<Span, Error>) -> Result<Span, Error> {
        let span = given?;
        if span.count() != count {
            return Err(Error::Broken(format!(
                "the engine was asked for {count} integers and returned {span:?}"
            )));
        }
        self.lock().calls.check(slot, span)?;
        Ok(span)
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

/// Ignores poisoning: the locked data is consistent between any two statements that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Guards a request that makes its own call, or is about to. However that ends (an answer, a panic,
/// a dropped future), the requests that arrived meanwhile are still served.
struct Leader<'a, S: Upstream> {
    shared: &'a Arc<Shared<S>>,
    slot: usize,
    /// The call in flight. If this is dropped before the call ends, a driver takes it over.
    call: Option<Abandoned<S>>,
}

impl<S: Upstream> Leader<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Span, Error>> {
        // Taken out, so that a call that panics is not polled again.
        let Some((mut call, count)) = self.call.take() else {
            return Poll::Pending;
        };
        let given = Pin::new(&mut call).poll(context);
        if given.is_pending() {
            self.call = Some((call, count));
        }
        given
    }
}

impl<S: Upstream> Drop for Leader<'_, S> {
    fn drop(&mut self) {
        let slot = match self.call {
            // The call continues and keeps its slot; otherwise others would call on that slot beside it.
            Some(_) => Some(self.slot),
            None => self.shared.lock().leave(self.slot),
        };
        if let Some(slot) = slot {
            let shared = Arc::clone(self.shared);
            S::spawn(Driver::mints(shared, slot, self.call.take()));
        }
    }
}

/// A request that is queued, or that a driver is serving.
struct Waiting<'a, L: Leave> {
    place: &'a Mutex<L>,
    ticket: u64,
    answered: bool,
}

impl<'a, L: Leave> Waiting<'a, L> {
    fn new(place: &'a Mutex<L>, ticket: u64) -> Self {
        Self {
            place,
            ticket,
            answered: false,
        }
    }

    async fn wait(mut self, answer: Answer<L::Answer>) -> Result<L::Answer, Error> {
        let result = answer.await;
        self.answered = true;
        result.unwrap_or_else(|_| Err(driver::stopped()))
    }
}

impl<L: Leave> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if !self.answered {
            let cancelled = lock(self.place).abandon(self.ticket);
            // Dropping it may run code of the executor, so not under the lock.
            drop(cancelled);
        }
    }
}

/// Yields once, so that all tasks that are ready run first. Works on any executor.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
