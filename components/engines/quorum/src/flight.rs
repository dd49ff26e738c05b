//! Requests that are under way, at most one at each node.
//!
//! They go on when the operation that sent them has ended: nobody waits for a node that is slower than the others, and
//! its connection is kept.

use crate::round::Vote;
use engine_http_client::spawn;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{AbortHandle, Abortable};
use futures::stream::StreamExt;
use std::time::Instant;

/// The requests of one sequence.
pub(crate) struct Flights {
    /// The request that is under way at each node.
    nodes: Vec<Option<Flight>>,
    /// The number of the latest request.
    latest: u64,
    sender: UnboundedSender<(u64, Vote)>,
    /// Bounded by the number of nodes, apart from votes that came just before their requests were replaced.
    votes: UnboundedReceiver<(u64, Vote)>,
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

impl Flights {
    /// For this many nodes, without a request yet.
    pub(crate) fn new(nodes: usize) -> Self {
        let (sender, votes) = unbounded();
        Self {
            nodes: (0..nodes).map(|_| None).collect(),
            latest: 0,
            sender,
            votes,
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
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        self.latest += 1;
        let number = self.latest;
        let (request, registration) = AbortHandle::new_pair();
        let flight = Flight {
            number,
            attempt,
            end,
            request,
        };
        if let Some(stuck) = node.replace(flight) {
            stuck.request.abort();
        }
        let sender = self.sender.clone();
        spawn(async move {
            if let Ok(vote) = Abortable::new(vote, registration).await {
                // Nobody listens once the sequence is closed.
                let _ = sender.unbounded_send((number, vote));
            }
        });
    }

    /// The next vote, also for an earlier attempt. Never resolves if nothing is under way.
    pub(crate) async fn next(&mut self) -> Option<Vote> {
        let (number, vote) = self.votes.next().await?;
        if let Some(node) = self.nodes.get_mut(vote.index)
            && node.as_ref().is_some_and(|flight| flight.number == number)
        {
            *node = None;
        }
        Some(vote)
    }
}
