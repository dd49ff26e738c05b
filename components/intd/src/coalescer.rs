//! Many waiting requests served by one call.
//!
//! While one call is in flight, requests gather; when it returns, one call for the sum of their
//! counts serves them all, in the order they came. No integer is minted before it was asked for,
//! so a request always gets greater integers than every request that was answered before it began.
//!
//! A backend that waits for its disk or for other nodes can take the next call meanwhile. So a
//! source may have several *lanes*, with a call in flight on each. A further call begins when as
//! many requests wait as the calls in flight have on average: requests then wait for little more than
//! one round trip, and calls stay about as large as they can be. The backend orders the calls; what
//! they bring is checked against each other.
//!
//! A request that finds nobody else around makes its call itself. Where calls are dear, it first
//! lets everything else that is ready run once: on a busy server others come in that moment. As
//! soon as there is a queue, a [`Driver`] works it off in a task of its own, so that no request
//! depends on the fate of another one; it ends when the queue is empty.

mod calls;
mod driver;
mod queue;

pub use driver::Driver;

use crate::{Error, MAX_COUNT, Span};
use futures::channel::oneshot;
use queue::{Entry, Queue};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// Where a coalescer takes its integers from.
pub trait Source: Sized + 'static {
    /// Mints `count` integers, 1 to [`MAX_COUNT`]. `lane` is one of [`Source::lanes`], from 0.
    ///
    /// There is never more than one such call in flight on a lane, apart from calls whose future was
    /// dropped half-way: what those would have brought is lost, and the source stays usable.
    fn next(&self, lane: usize, count: u32) -> impl Future<Output = Result<Span, Error>>;

    /// How many calls may be in flight at a time. A call must get greater integers than each that
    /// was answered before it began, on whichever lane. Asked once.
    fn lanes(&self) -> usize {
        1
    }

    /// Whether a call costs more than it costs to give everything else that is ready a turn. Then
    /// a lone request sees whether others come before it calls.
    fn is_dear(&self) -> bool {
        true
    }

    /// Starts a task that runs [`Driver::run`] to its end.
    ///
    /// May be called while a future is being dropped, so it must not panic: where that needs a
    /// handle to a runtime, keep one in the source and get at it with [`Driver::source`].
    fn spawn(driver: Driver<Self>);
}

/// Shares one [`Source`] among many requests. Clones share it too.
pub struct Coalescer<S: Source> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    source: S,
    /// The most requests that wait while a call is in flight.
    limit: usize,
    queue: Mutex<Queue>,
}

impl<S: Source> Clone for Coalescer<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: Source> Coalescer<S> {
    /// A coalescer in which at most `queue_limit` requests wait while calls are in flight, which are
    /// for no more than as many again, however many lanes there are.
    pub fn new(source: S, queue_limit: usize) -> Self {
        let queue = Mutex::new(Queue::new(source.lanes()));
        Self {
            shared: Arc::new(Shared {
                source,
                limit: queue_limit,
                queue,
            }),
        }
    }

    /// Mints `count` integers, 1 to [`MAX_COUNT`], that nobody else gets.
    ///
    /// Dropping the future wastes these integers and no others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad count, and [`Error::Busy`] when the queue is full, both at
    /// once; [`Error::Broken`] when the source gave something else than was asked of it, or
    /// integers that are not greater than all it gave before; [`Error::Unavailable`] when the
    /// driver was stopped half-way; otherwise what the source says.
    pub async fn next(&self, count: u32) -> Result<Span, Error> {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(Error::Invalid(format!(
                "count is {count}; it must be 1 to {MAX_COUNT}"
            )));
        }
        // In a statement of its own, so that the lock is not held any longer.
        let entry = self.shared.lock().enter(count, self.shared.limit);
        match entry {
            Entry::Leader(ticket, lane) => self.lead(ticket, lane, count).await,
            Entry::First(ticket, lane, reply) => {
                let waiting = Waiting::new(&self.shared, ticket);
                S::spawn(Driver::new(Arc::clone(&self.shared), lane));
                waiting.wait(reply).await
            }
            Entry::Queued(ticket, reply) => Waiting::new(&self.shared, ticket).wait(reply).await,
            Entry::Full => Err(Error::Busy),
        }
    }

    /// Where the integers come from.
    pub fn source(&self) -> &S {
        &self.shared.source
    }

    /// How many requests were made and not answered yet.
    pub fn pending(&self) -> usize {
        self.shared.lock().pending()
    }

    /// What a request does that found nobody.
    async fn lead(&self, ticket: u64, lane: usize, count: u32) -> Result<Span, Error> {
        let leader = Leader(&self.shared, lane);
        if self.shared.source.is_dear() {
            yield_once().await;
        }
        let joined = self.shared.lock().join(ticket, lane, count);
        let Some(reply) = joined else {
            return self.shared.mint(lane, count).await;
        };
        // A driver takes over.
        std::mem::forget(leader);
        let waiting = Waiting::new(&self.shared, ticket);
        S::spawn(Driver::new(Arc::clone(&self.shared), lane));
        waiting.wait(reply).await
    }
}

impl<S: Source> Shared<S> {
    /// One call, which has begun on this lane, checked. What comes from a source can be anything.
    async fn mint(&self, lane: usize, count: u32) -> Result<Span, Error> {
        let given = self.source.next(lane, count).await?;
        let Some(span) =
            Span::checked(given.first, given.step, given.count).filter(|span| span.count == count)
        else {
            return Err(Error::Broken(format!(
                "the engine was asked for {count} integers and gave {given:?}"
            )));
        };
        self.lock().calls.check(lane, span)?;
        Ok(span)
    }
}

impl<S> Shared<S> {
    /// The queue is consistent between any two statements that could panic.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Present while a request makes its call itself, or is about to. However that ends, by an
/// answer, by a panic or because the future is dropped, those who came meanwhile are taken care of.
struct Leader<'a, S: Source>(&'a Arc<Shared<S>>, usize);

impl<S: Source> Drop for Leader<'_, S> {
    fn drop(&mut self) {
        let lane = self.0.lock().leave(self.1);
        if let Some(lane) = lane {
            S::spawn(Driver::new(Arc::clone(self.0), lane));
        }
    }
}

/// A request in the queue, or in the batch that a driver took from it.
struct Waiting<'a, S> {
    shared: &'a Shared<S>,
    ticket: u64,
    answered: bool,
}

impl<'a, S> Waiting<'a, S> {
    fn new(shared: &'a Shared<S>, ticket: u64) -> Self {
        Self {
            shared,
            ticket,
            answered: false,
        }
    }

    async fn wait(mut self, reply: oneshot::Receiver<Result<Span, Error>>) -> Result<Span, Error> {
        let result = reply.await;
        self.answered = true;
        result.unwrap_or_else(|_| Err(driver::stopped()))
    }
}

impl<S> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        if !self.answered {
            let gone = self.shared.lock().abandon(self.ticket);
            // Dropping it may run code of the executor: not under the lock.
            drop(gone);
        }
    }
}

/// Lets everything else that is ready run first. Works on any executor.
async fn yield_once() {
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
