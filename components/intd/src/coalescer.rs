//! Many waiting requests served by one call.
//!
//! While one call is in flight, requests gather; when it returns, one call for the sum of their
//! counts serves them all, in the order they came. No integer is minted before it was asked for,
//! so a request always gets greater integers than every request that was answered before it began.
//!
//! A request that finds nobody else around makes its call itself. Where calls are dear, it first
//! lets everything else that is ready run once: on a busy server others come in that moment. As
//! soon as there is a queue, a [`Driver`] works it off in a task of its own, so that no request
//! depends on the fate of another one; it ends when the queue is empty.

mod driver;
mod queue;

pub use driver::Driver;

use crate::{Error, MAX_COUNT, Span};
use futures::channel::oneshot;
use queue::{Entry, Queue};
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// Where a coalescer takes its integers from.
pub trait Source: Sized + 'static {
    /// Mints `count` integers, 1 to [`MAX_COUNT`].
    ///
    /// There is never more than one such call in flight, apart from calls whose future was
    /// dropped half-way: what those would have brought is lost, and the source stays usable.
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>>;

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
    /// The greatest integer that the source ever gave.
    greatest: AtomicI64,
}

impl<S: Source> Clone for Coalescer<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: Source> Coalescer<S> {
    /// A coalescer in which at most `queue_limit` requests wait while a call is in flight.
    pub fn new(source: S, queue_limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                limit: queue_limit,
                queue: Mutex::default(),
                greatest: AtomicI64::new(0),
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
            Entry::Leader(ticket) => self.lead(ticket, count).await,
            Entry::First(ticket, reply) => {
                let waiting = Waiting::new(&self.shared, ticket);
                S::spawn(Driver::new(Arc::clone(&self.shared)));
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
    async fn lead(&self, ticket: u64, count: u32) -> Result<Span, Error> {
        let leader = Leader(&self.shared);
        let joined = if self.shared.source.is_dear() {
            yield_once().await;
            self.shared.lock().join(ticket, count)
        } else {
            None
        };
        let Some(reply) = joined else {
            return self.shared.mint(count).await;
        };
        // A driver takes over.
        std::mem::forget(leader);
        let waiting = Waiting::new(&self.shared, ticket);
        S::spawn(Driver::new(Arc::clone(&self.shared)));
        waiting.wait(reply).await
    }
}

impl<S: Source> Shared<S> {
    /// One call, checked. What comes from a source can be anything.
    async fn mint(&self, count: u32) -> Result<Span, Error> {
        let given = self.source.next(count).await?;
        let Some(span) =
            Span::checked(given.first, given.step, given.count).filter(|span| span.count == count)
        else {
            return Err(Error::Broken(format!(
                "the engine was asked for {count} integers and gave {given:?}"
            )));
        };
        // Calls do not overlap, so nothing happens between the two.
        let greatest = self.greatest.load(Ordering::Acquire);
        if span.first <= greatest {
            return Err(Error::Broken(format!(
                "the engine gave {} after it had given {greatest}; was the sequence lowered or its \
                 backend restored from an old copy? Raise it to at least {greatest} to go on",
                span.first
            )));
        }
        self.greatest.store(span.last(), Ordering::Release);
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
struct Leader<'a, S: Source>(&'a Arc<Shared<S>>);

impl<S: Source> Drop for Leader<'_, S> {
    fn drop(&mut self) {
        let somebody_waits = self.0.lock().leave();
        if somebody_waits {
            S::spawn(Driver::new(Arc::clone(self.0)));
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
