//! A queue of waiting requests, in arrival order.

use crate::Error;
use futures::channel::oneshot;
use std::collections::VecDeque;

/// The sender of the answer to one request.
pub(super) type Reply<A> = oneshot::Sender<Result<A, Error>>;

/// The receiver of the answer to one request.
pub(super) type Answer<A> = oneshot::Receiver<Result<A, Error>>;

/// Entries of cancelled requests are removed once there are this many of them and they are at least
/// half of all entries.
const SWEEP: usize = 64;

/// A queue whose requests can be cancelled.
pub(super) trait Leave {
    /// The answer to a request.
    type Answer;

    /// Removes the request of a caller that no longer waits; does nothing if it was taken already.
    /// The caller drops the returned value.
    fn abandon(&mut self, ticket: u64) -> Option<Reply<Self::Answer>>;
}

/// A queue of requests with an argument `Q` and an answer `A`.
pub(super) struct WaitQueue<Q, A> {
    /// In ascending order of tickets.
    entries: VecDeque<QueueEntry<Q, A>>,
    /// How many entries belong to cancelled requests.
    cancelled: usize,
    next_ticket: u64,
}

struct QueueEntry<Q, A> {
    ticket: u64,
    asked: Q,
    /// None once the request is cancelled.
    reply: Option<Reply<A>>,
}

/// A request that was taken from the queue to be served.
pub(super) struct Waiter<Q, A> {
    pub(super) asked: Q,
    pub(super) reply: Reply<A>,
}

impl<Q, A> Default for WaitQueue<Q, A> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            cancelled: 0,
            next_ticket: 0,
        }
    }
}

impl<Q, A> WaitQueue<Q, A> {
    /// Reserves a position in the queue for a request that may join later, ahead of all later ones.
    pub(super) fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Adds a request at the end.
    pub(super) fn push(&mut self, asked: Q) -> (u64, Answer<A>) {
        let (reply, answer) = oneshot::channel();
        let ticket = self.ticket();
        self.entries.push_back(QueueEntry {
            ticket,
            asked,
            reply: Some(reply),
        });
        (ticket, answer)
    }

    /// Adds a request at the front. Its ticket must be older than all others in the queue.
    pub(super) fn push_front(&mut self, ticket: u64, asked: Q) -> Answer<A> {
        let (reply, answer) = oneshot::channel();
        self.entries.push_front(QueueEntry {
            ticket,
            asked,
            reply: Some(reply),
        });
        answer
    }

    /// The argument of the first request.
    pub(super) fn front(&mut self) -> Option<&Q> {
        while let Some(place) = self.entries.front()
            && place.reply.is_none()
        {
            self.entries.pop_front();
            self.cancelled -= 1;
        }
        self.entries.front().map(|place| &place.asked)
    }

    /// Takes the first request.
    pub(super) fn pop(&mut self) -> Option<Waiter<Q, A>> {
        loop {
            let place = self.entries.pop_front()?;
            if let Some(reply) = place.reply {
                return Some(Waiter {
                    asked: place.asked,
                    reply,
                });
            }
            self.cancelled -= 1;
        }
    }

    /// Takes all requests.
    pub(super) fn take(&mut self) -> Vec<Waiter<Q, A>> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.cancelled
    }
}

impl<Q, A> Leave for WaitQueue<Q, A> {
    type Answer = A;

    fn abandon(&mut self, ticket: u64) -> Option<Reply<A>> {
        let index = self
            .entries
            .binary_search_by_key(&ticket, |place| place.ticket)
            .ok()?;
        let reply = self.entries.get_mut(index)?.reply.take()?;
        self.cancelled += 1;
        if self.cancelled >= SWEEP && self.cancelled * 2 >= self.entries.len() {
            self.entries.retain(|place| place.reply.is_some());
            self.cancelled = 0;
        }
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &mut WaitQueue<u32, ()>) -> Vec<u32> {
        queue
            .take()
            .into_iter()
            .map(|waiter| waiter.asked)
            .collect()
    }

    #[test]
    fn requests_leave_in_the_order_they_came() {
        let mut queue = WaitQueue::default();
        let early = queue.ticket();
        let _answers: Vec<_> = (1..4).map(|asked| queue.push(asked)).collect();
        let _front = queue.push_front(early, 0);
        assert_eq!(queue.front(), Some(&0));
        assert_eq!(queue.waiting(), 4);
        assert_eq!(queue.pop().map(|waiter| waiter.asked), Some(0));
        assert_eq!(take(&mut queue), [1, 2, 3]);
        assert_eq!(queue.front(), None);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn requests_that_went_away_are_not_there_any_more() {
        let mut queue: WaitQueue<u32, ()> = WaitQueue::default();
        let tickets: Vec<_> = (0..4).map(|asked| queue.push(asked).0).collect();
        assert!(queue.abandon(tickets[0]).is_some());
        assert!(queue.abandon(tickets[2]).is_some());
        assert!(queue.abandon(tickets[2]).is_none(), "it did so before");
        assert_eq!(queue.waiting(), 2);
        assert_eq!(queue.front(), Some(&1));
        assert_eq!(take(&mut queue), [1, 3]);
        assert!(queue.abandon(tickets[3]).is_none(), "it was taken");
        assert_eq!(
            (queue.waiting(), queue.cancelled, queue.entries.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn requests_that_went_away_take_no_memory() {
        let mut queue: WaitQueue<u32, ()> = WaitQueue::default();
        let _stays = queue.push(0);
        for asked in 1..100_000 {
            let (ticket, _) = queue.push(asked);
            queue.abandon(ticket);
            assert!(queue.entries.len() <= 2 * SWEEP);
        }
        assert_eq!(queue.waiting(), 1);
    }
}
