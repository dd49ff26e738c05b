//! Drivers: tasks that serve the queue.

use super::queue::Waiter;
use super::rounds::{Raises, Reads, Rounds};
use super::{Shared, Upstream, yield_once};
use crate::{Error, Span};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// After this many yields in a row without a new request, the driver stops waiting for more.
const MAX_EMPTY_YIELDS: u32 = 2;

/// Serves the requests of one kind of one coalescer, batch after batch, until none waits or the
/// other drivers are enough.
///
/// If it is dropped before that, or panics because its upstream does, all waiting requests get an
/// error, and the next request starts afresh.
pub struct Driver<S: Upstream>(Work<S>);

enum Work<S: Upstream> {
    Mint(Mints<S>, Option<Abandoned<S>>),
    Read(Rounds<S, Reads>),
    Raise(Rounds<S, Raises>),
}

/// A call that no request waits for any longer, and how many integers it mints.
pub(super) type Abandoned<S> = (<S as Upstream>::Call<Span>, u32);

impl<S: Upstream> Driver<S> {
    /// Serves mint requests on a slot that was taken for this driver. An abandoned call continues,
    /// so it keeps its slot until it ends.
    pub(super) fn mints(
        shared: Arc<Shared<S>>,
        slot: usize,
        abandoned: Option<Abandoned<S>>,
    ) -> Self {
        let work = Mints {
            shared,
            slot,
            batch: VecDeque::new(),
            done: false,
        };
        Self(Work::Mint(work, abandoned))
    }

    /// The upstream that mints the integers.
    pub fn upstream(&self) -> &S {
        match &self.0 {
            Work::Mint(work, _) => &work.shared.upstream,
            Work::Read(work) => work.upstream(),
            Work::Raise(work) => work.upstream(),
        }
    }

    /// Serves all waiting requests, and those that arrive meanwhile.
    pub async fn run(self) {
        match self.0 {
            Work::Mint(work, abandoned) => work.run(abandoned).await,
            Work::Read(work) => work.run().await,
            Work::Raise(work) => work.run().await,
        }
    }
}

impl<S: Upstream> From<Rounds<S, Reads>> for Driver<S> {
    fn from(work: Rounds<S, Reads>) -> Self {
        Self(Work::Read(work))
    }
}

impl<S: Upstream> From<Rounds<S, Raises>> for Driver<S> {
    fn from(work: Rounds<S, Raises>) -> Self {
        Self(Work::Raise(work))
    }
}

impl<S: Upstream> Shared<S> {
    /// Lets requests join that are ready: those of callers that the last batch woke, and new ones. If the
    /// upstream has pauses, requests join in these too, until the batch window is over.
    pub(super) async fn linger(&self) {
        let batch_window = self.upstream.batch_window();
        let end = (!batch_window.is_zero()).then(|| Instant::now() + batch_window);
        let is_over = || end.is_none_or(|end| Instant::now() >= end);
        loop {
            self.yield_while_requests_arrive(is_over).await;
            if is_over() {
                return;
            }
            match self.upstream.pause() {
                Some(pause) => drop(pause.await),
                None => return,
            }
        }
    }

    /// Some hosts admit a single request at a time, so this yields again as long as each yield lengthens
    /// the queue by more than a quarter; that ends soon, however many arrive. While the batch window is
    /// not over, a single further request is enough for another yield.
    async fn yield_while_requests_arrive(&self, is_over: impl Fn() -> bool) {
        let mut before = self.lock().waiting();
        let mut empty = 0;
        loop {
            yield_once().await;
            let after = self.lock().waiting();
            if after <= before + before / 4 {
                empty = if after > before { 0 } else { empty + 1 };
                if empty >= MAX_EMPTY_YIELDS || is_over() {
                    return;
                }
            }
            before = after;
        }
    }
}

/// Serves mint requests.
struct Mints<S: Upstream> {
    shared: Arc<Shared<S>>,
    /// The slot that its calls use.
    slot: usize,
    batch: VecDeque<Waiter>,
    done: bool,
}

impl<S: Upstream> Mints<S> {
    async fn run(mut self, abandoned: Option<Abandoned<S>>) {
        if let Some((call, count)) = abandoned {
            let given = call.await;
            // Its integers are lost. Later spans are still compared with them.
            let _ = self.shared.check(self.slot, count, given);
            self.shared.lock().calls.end(self.slot);
        }
        loop {
            self.shared.linger().await;
            let sum = self.shared.lock().gather(self.slot, &mut self.batch);
            if self.batch.is_empty() {
                self.done = true;
                return;
            }
            self.serve(sum).await;
        }
    }

    async fn serve(&mut self, sum: u32) {
        let result = self.shared.mint(self.slot, sum).await;
        if matches!(result, Err(Error::Exhausted(_))) && self.batch.len() > 1 {
            // A smaller span may still fit.
            self.one_by_one().await;
            self.shared.lock().calls.end(self.slot);
            return;
        }
        // Before the answers are sent: an answered request is not pending any longer.
        self.shared.lock().calls.end(self.slot);
        match result {
            Ok(span) => self.hand_out(span),
            Err(error) => self.refuse(&error),
        }
    }

    fn hand_out(&mut self, span: Span) {
        let mut left = Some(span);
        for waiter in self.batch.drain(..) {
            // `mint` checked that the span has as many integers as the batch needs.
            let answer = match left.map(|span| span.split(waiter.asked)) {
                Some((front, rest)) => {
                    left = rest;
                    Ok(front)
                }
                None => Err(stopped()),
            };
            // The receiver may be dropped: these integers are wasted.
            let _ = waiter.reply.send(answer);
        }
    }

    /// Mints for each request separately, since counts that do not fit together may fit one by one.
    /// Once a count was refused, so is every greater one: sequences do not go back.
    async fn one_by_one(&mut self) {
        let mut refused: Option<(u32, Error)> = None;
        while let Some(count) = self.batch.front().map(|waiter| waiter.asked) {
            let answer = match &refused {
                Some((least, error)) if count >= *least => Err(error.clone()),
                _ => self.again(count).await,
            };
            if let Err(error @ Error::Exhausted(_)) = &answer {
                refused = Some((count, error.clone()));
            }
            if let Some(waiter) = self.batch.pop_front() {
                let _ = waiter.reply.send(answer);
            }
        }
    }

    /// A further call for the rest of the batch.
    async fn again(&self, count: u32) -> Result<Span, Error> {
        self.shared.lock().calls.begin(self.slot, self.batch.len());
        self.shared.mint(self.slot, count).await
    }

    fn refuse(&mut self, error: &Error) {
        for waiter in self.batch.drain(..) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }
}

impl<S: Upstream> Drop for Mints<S> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let queued = self.shared.lock().give_up(self.slot);
        self.refuse(&stopped());
        for waiter in queued {
            let _ = waiter.reply.send(Err(stopped()));
        }
    }
}

pub(super) fn stopped() -> Error {
    Error::Unavailable(
        "the server stopped before it had an answer; integers may have been skipped, but none was \
         handed out twice"
            .into(),
    )
}
