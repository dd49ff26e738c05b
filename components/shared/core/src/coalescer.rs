//! Many waiting requests served by one call.
//!
//! While one call is in flight, requests gather; when it returns, one call for the sum of their
//! counts serves them all, in the order they came. No integer is minted before it was asked for,
//! so a request always gets greater integers than every request that was answered before it began.
//!
//! A backend that waits for its disk or for other nodes can take the next call meanwhile. So a
//! upstream may have several *slots*, with a call in flight on each. A further call begins when as
//! many requests wait as the calls in flight have on average: requests then wait for little more than
//! one round trip, and calls stay about as large as they can be. The backend orders the calls; what
//! they bring is checked against each other.
//!
//! A request that finds nobody else around makes its call itself. Where calls are dear, it first
//! lets everything else that is ready run once: on a busy server others come in that moment. As
//! soon as there is a queue, a [`Driver`] works it off in a task of its own, so that no request
//! depends on the fate of another one; it ends when the queue is empty.
//!
//! Requests for the last integer, and those to raise the sequence, gather in the same way, each kind
//! by itself and with one call in flight: mints never wait in one line with them.
//!
//! A call that has begun goes on to its end when those who wait for it went away, and occupies its
//! place until then. So there are never more calls than places, however many requests come and go.

mod calls;
mod driver;
mod gathering;
mod line;
mod queue;
mod rounds;

pub use driver::Driver;

use crate::limits::{check_count, check_last};
use crate::{Error, Span};
use driver::Abandoned;
use gathering::Gathering;
use line::{Answer, Leave};
use queue::{Entry, Queue};
use rounds::{Kind, Raises, Reads, Rounds};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The backend of a coalescer.
pub trait Upstream: Sized + 'static {
    /// A call under way. It goes on also when the request that it was made for went away.
    type Call<T: Send + 'static>: Future<Output = Result<T, Error>> + Unpin + 'static;

    /// Mints `count` integers, 1 to [`MAX_COUNT`](crate::MAX_COUNT). `slot` is one of [`Upstream::slots`], from 0.
    ///
    /// There is never more than one such call in flight on a slot, unless a driver was stopped
    /// half-way: what its call would have brought is lost, and the upstream stays usable.
    fn next(&self, slot: usize, count: u32) -> Self::Call<Span>;

    /// The greatest integer taken before this call ends, and no less than what was taken before it
    /// began; None before the first one. There is never more than one such call in flight.
    fn last(&self) -> Self::Call<Option<i64>>;

    /// Raises the sequence to `value`, 0 or more, or fails with [`Error::TooSmall`] when it is past that.
    /// There is never more than one such call in flight.
    fn set_last(&self, value: i64) -> Self::Call<()>;

    /// How many calls may be in flight at a time. A call must get greater integers than each that
    /// was answered before it began, on whichever slot. Asked once.
    fn slots(&self) -> usize {
        1
    }

    /// Whether a call costs more than it costs to give everything else that is ready a turn. Then
    /// a lone request sees whether others come before it calls.
    fn is_dear(&self) -> bool {
        true
    }

    /// How long a driver may let further requests gather before a call, as long as there are more with
    /// each turn. Some hosts let in one request a turn, so where calls take long this decides how many
    /// share one. Default: no longer than requests come in numbers.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// A moment in which the host lets in further requests, so that the call which comes next serves them
    /// too; None, the default, when the call is to begin at once. Some hosts give an instance no
    /// request while a call of its blocks, and start another instance for it: then the calls of many
    /// instances wait for each other, with a single request in each.
    fn pause(&self) -> Option<Self::Call<()>> {
        None
    }

    /// Starts a task that runs [`Driver::run`] to its end.
    ///
    /// May be called while a future is being dropped, so it must not panic: where that needs a
    /// handle to a runtime, keep one in the upstream and get at it with [`Driver::upstream`].
    fn spawn(driver: Driver<Self>);
}

/// Shares one [`Upstream`] among many requests. Clones share it too.
pub struct Coalescer<S: Upstream> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    upstream: S,
    /// The most requests of each kind that wait while a call is in flight.
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
    /// A coalescer in which at most `queue_limit` requests of each kind wait while calls are in
    /// flight, which are for no more than as many again, however many slots there are. Requests that
    /// went away count until the call that serves them ends.
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

    /// Mints `count` integers, 1 to [`MAX_COUNT`](crate::MAX_COUNT), that nobody else gets.
    ///
    /// Dropping the future wastes these integers and no others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad count, and [`Error::Busy`] when the queue is full, both at
    /// once; [`Error::Broken`] when the upstream gave something else than was asked of it, or
    /// integers that are not greater than all it gave before; [`Error::Unavailable`] when the
    /// driver was stopped half-way; otherwise what the upstream says.
    pub async fn next(&self, count: u32) -> Result<Span, Error> {
        let count = check_count(count)?;
        // In a statement of its own, so that the lock is not held any longer.
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

    /// The greatest integer taken so far: no less than any that somebody had before this was asked.
    /// None before the first one.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when too many ask, [`Error::Unavailable`] when the driver was stopped
    /// half-way; otherwise what the upstream says.
    pub async fn last(&self) -> Result<Option<i64>, Error> {
        self.gathered::<Reads>(()).await
    }

    /// Raises the sequence so that every later integer is greater than `value`, 0 or more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value below 0; [`Error::TooSmall`] when the sequence is past that
    /// value, also when somebody raised it there at the same time; otherwise as [`Coalescer::last`].
    pub async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.gathered::<Raises>(check_last(value)?).await
    }

    /// Where the integers come from.
    pub fn upstream(&self) -> &S {
        &self.shared.upstream
    }

    /// How many requests were made and not answered yet, those included that went away while a call
    /// was under way for them.
    pub fn pending(&self) -> usize {
        let mints = self.shared.lock().pending();
        let reads = lock(&self.shared.reads).pending();
        mints + reads + lock(&self.shared.raises).pending()
    }

    /// What a request does that found nobody.
    async fn lead(&self, ticket: u64, slot: usize, count: u32) -> Result<Span, Error> {
        let mut leader = Leader {
            shared: &self.shared,
            slot,
            call: None,
        };
        match self.shared.upstream.pause() {
            // It only passes time: however it ends, the call comes next.
            Some(pause) => drop(pause.await),
            None if self.shared.upstream.is_dear() => yield_once().await,
            None => {}
        }
        let joined = self.shared.lock().join(ticket, slot, count);
        let Some(answer) = joined else {
            leader.call = Some((self.shared.upstream.next(slot, count), count));
            let given = poll_fn(|context| leader.poll(context)).await;
            return self.shared.check(slot, count, given);
        };
        // A driver takes over.
        std::mem::forget(leader);
        let waiting = Waiting::new(&self.shared.queue, ticket);
        S::spawn(Driver::mints(Arc::clone(&self.shared), slot, None));
        waiting.wait(answer).await
    }

    /// What a request does that shares its answer with others.
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
    /// One call, which has begun on this slot, checked.
    async fn mint(&self, slot: usize, count: u32) -> Result<Span, Error> {
        let given = self.upstream.next(slot, count).await;
        self.check(slot, count, given)
    }

    /// Checks what a call on this slot gave.
    fn check(&self, slot: usize, count: u32, given: Result<Span, Error>) -> Result<Span, Error> {
        let span = given?;
        if span.count() != count {
            return Err(Error::Broken(format!(
                "the engine was asked for {count} integers and gave {span:?}"
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

/// What is locked is consistent between any two statements that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Present while a request makes its call itself, or is about to. However that ends, by an
/// answer, by a panic or because the future is dropped, those who came meanwhile are taken care of.
struct Leader<'a, S: Upstream> {
    shared: &'a Arc<Shared<S>>,
    slot: usize,
    /// The call in flight, which is abandoned if this is dropped before it ends.
    call: Option<Abandoned<S>>,
}

impl<S: Upstream> Leader<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Span, Error>> {
        // Taken out: a call that panics is over.
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
            // It goes on, and others would make their own calls beside it.
            Some(_) => Some(self.slot),
            None => self.shared.lock().leave(self.slot),
        };
        if let Some(slot) = slot {
            let shared = Arc::clone(self.shared);
            S::spawn(Driver::mints(shared, slot, self.call.take()));
        }
    }
}

/// A request that waits, or that a driver took to serve it.
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
            let gone = lock(self.place).abandon(self.ticket);
            // Dropping it may run code of the executor: not under the lock.
            drop(gone);
        }
    }
}

/// Lets everything else that is ready run first. Works on any executor.
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
