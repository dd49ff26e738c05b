//! Requests that are under way, at most one at each node, and the timer of the operation that waits for them.
//!
//! They go on when the operation that sent them has ended: nobody waits for a node that is slower than the others, and
//! its connection is kept. While it lasts, an operation makes progress on its own requests itself: if each was a task of
//! its own, its end would have to wake the operation, and wit-bindgen answers such a wake-up with a detour through
//! the host.

use crate::companion::Companion;
use crate::mailbox::Mailbox;
use crate::round::Vote;
use engine_http_client::{sleep, spawn};
use futures::future::{AbortHandle, Abortable, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The requests of one sequence.
#[derive(Default)]
pub(crate) struct Flights {
    /// The request that is under way at each node.
    nodes: Vec<Option<Flight>>,
    /// The number of the latest request or timer.
    latest: u64,
    /// The requests of the current operation; None as the result of one that was given up.
    own: FuturesUnordered<LocalBoxFuture<'static, Option<Event>>>,
    companion: Option<Companion>,
    timer: Option<Timer>,
    /// What the requests of earlier operations, and the timer, have to say.
    mailbox: Rc<Mailbox<Event>>,
}

/// What was waited for, and its number.
enum Event {
    /// A request has ended.
    Vote(u64, Vote),
    /// The timer has fired.
    Fired(u64),
}

/// A request that is under way.
struct Flight {
    number: u64,
    /// The attempt that it belongs to.
    attempt: u64,
    /// When it is given up.
    end: Instant,
    request: AbortHandle,
}

/// The only timer. To make one and to cancel it takes several calls of the host, so one that fires too early stays, also
/// for later operations.
struct Timer {
    number: u64,
    /// When it fires.
    end: Instant,
    waiting: AbortHandle,
}

impl Flights {
    /// For this many nodes, without a request yet.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| None).collect(),
            ..Self::default()
        }
    }

    /// Begins an operation. If the last one was dropped before its end, its requests are given up: the task that would
    /// have made progress on them is gone. Returns the votes that came since the last one.
    pub(crate) fn begin_operation(&mut self) -> Vec<Vote> {
        let mut late = Vec::new();
        self.companion = Some(Companion::start());
        if !self.own.is_empty() {
            self.own.clear();
            self.nodes.fill_with(|| None);
        }
        while let Some(event) = self.mailbox.take() {
            self.end(&event);
            if let Event::Vote(_, vote) = event {
                late.push(vote);
            }
        }
        late
    }

    /// Ends the operation. Its requests go on beside later ones.
    pub(crate) fn end_operation(&mut self) {
        let companion = self.companion.take();
        for request in std::mem::take(&mut self.own) {
            let mailbox = Rc::clone(&self.mailbox);
            let companion = companion.clone();
            spawn(async move {
                if let Some(event) = request.await {
                    mailbox.put(event, false);
                }
                drop(companion);
            });
        }
    }

    /// Whether a request is under way at this node.
    pub(crate) fn is_busy(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(Option::is_some)
    }

    /// Whether any request of this attempt is under way.
    pub(crate) fn any_of(&self, attempt: u64) -> bool {
        let mut all = self.nodes.iter().flatten();
        all.any(|flight| flight.attempt == attempt)
    }

    /// Gives up the requests whose time is over, and returns at which nodes they were.
    pub(crate) fn end_late(&mut self, now: Instant) -> Vec<usize> {
        let mut late = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if let Some(flight) = node.take_if(|flight| flight.end <= now) {
                flight.request.abort();
                late.push(index);
            }
        }
        late
    }

    /// Sends a request to a node, and gives it up at `end`. One that is still under way there is given up at once.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        attempt: u64,
        end: Instant,
        vote: impl Future<Output = Vote> + 'static,
    ) {
        let number = self.number();
        let (request, registration) = AbortHandle::new_pair();
        self.own.push(Box::pin(async move {
            let vote = Abortable::new(vote, registration).await.ok()?;
            Some(Event::Vote(number, vote))
        }));
        let flight = Flight {
            number,
            attempt,
            end,
            request,
        };
        if let Some(node) = self.nodes.get_mut(index)
            && let Some(stuck) = node.replace(flight)
        {
            stuck.request.abort();
        }
    }

    /// The next vote; None if there is none until then. Votes on earlier operations wake the caller only if it is `eager`
    /// to know which nodes are idle, and come with the next event otherwise.
    pub(crate) async fn next(&mut self, until: Instant, eager: bool) -> Option<Vote> {
        loop {
            self.set_timer(until);
            let event = poll_fn(|context| self.poll(context, eager)).await;
            self.end(&event);
            match event {
                Event::Vote(_, vote) => return Some(vote),
                Event::Fired(_) if Instant::now() >= until => return None,
                Event::Fired(_) => {}
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, eager: bool) -> Poll<Event> {
        self.mailbox.wait(context, eager);
        while let Poll::Ready(Some(ended)) = self.own.poll_next_unpin(context) {
            if let Some(event) = ended {
                return Poll::Ready(event);
            }
        }
        self.mailbox.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Notes that a request or the timer has ended, unless another one has taken its place.
    fn end(&mut self, event: &Event) {
        match event {
            Event::Vote(number, vote) => {
                if let Some(node) = self.nodes.get_mut(vote.index) {
                    node.take_if(|flight| flight.number == *number);
                }
            }
            Event::Fired(number) => {
                self.timer.take_if(|timer| timer.number == *number);
            }
        }
    }

    /// Makes sure that a timer fires at this time or before.
    fn set_timer(&mut self, time: Instant) {
        if self.timer.as_ref().is_some_and(|timer| timer.end <= time) {
            return;
        }
        let number = self.number();
        let (waiting, registration) = AbortHandle::new_pair();
        let left = time.saturating_duration_since(Instant::now());
        let mailbox = Rc::clone(&self.mailbox);
        spawn(async move {
            if Abortable::new(sleep(left), registration).await.is_ok() {
                mailbox.put(Event::Fired(number), true);
            }
        });
        let timer = Timer {
            number,
            end: time,
            waiting,
        };
        if let Some(later) = self.timer.replace(timer) {
            later.waiting.abort();
        }
    }

    fn number(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }
}
