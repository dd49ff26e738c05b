//! Who waits, in the order they came.

use crate::{Error, MAX_COUNT, Span};
use futures::channel::oneshot;
use std::collections::VecDeque;

type Reply = oneshot::Sender<Result<Span, Error>>;

/// Forgotten requests are swept out of the queue once there are this many of them, and as many
/// as there are others.
const SWEEP: usize = 64;

#[derive(Default)]
pub(super) struct Queue {
    /// By ascending ticket.
    places: VecDeque<Place>,
    /// How many of the places belong to requests that went away.
    gone: usize,
    next_ticket: u64,
    /// Whether a call is in flight or a driver exists.
    busy: bool,
    /// How many requests the call in flight serves.
    in_flight: usize,
    /// Whether the latest batch had several requests. Then the next one probably will, and it
    /// pays to let them gather first.
    crowded: bool,
}

struct Place {
    ticket: u64,
    count: u32,
    /// None once the request went away.
    reply: Option<Reply>,
}

/// What a request does after it came.
pub(super) enum Entry {
    /// See whether others come, and else make the call itself.
    Leader(u64),
    /// Start a driver and wait.
    First(u64, oneshot::Receiver<Result<Span, Error>>),
    /// Wait.
    Queued(u64, oneshot::Receiver<Result<Span, Error>>),
    /// Go away.
    Full,
}

/// A request that a driver serves.
pub(super) struct Waiter {
    pub(super) count: u32,
    pub(super) reply: Reply,
}

impl Queue {
    pub(super) fn enter(&mut self, count: u32, limit: usize) -> Entry {
        if !self.busy {
            self.busy = true;
            if self.crowded {
                let (ticket, reply) = self.push(count);
                Entry::First(ticket, reply)
            } else {
                self.in_flight = 1;
                Entry::Leader(self.ticket())
            }
        } else if self.waiting() < limit {
            let (ticket, reply) = self.push(count);
            Entry::Queued(ticket, reply)
        } else {
            Entry::Full
        }
    }

    fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    fn push(&mut self, count: u32) -> (u64, oneshot::Receiver<Result<Span, Error>>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.ticket();
        self.places.push_back(Place {
            ticket,
            count,
            reply: Some(sender),
        });
        (ticket, receiver)
    }

    /// Puts the leader in front of those who came after it, if anybody did.
    pub(super) fn join(
        &mut self,
        ticket: u64,
        count: u32,
    ) -> Option<oneshot::Receiver<Result<Span, Error>>> {
        if self.waiting() == 0 {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.in_flight = 0;
        self.places.push_front(Place {
            ticket,
            count,
            reply: Some(sender),
        });
        Some(receiver)
    }

    /// Ends what the leader began. True when others wait now, who need a driver.
    pub(super) fn leave(&mut self) -> bool {
        self.in_flight = 0;
        self.busy = self.waiting() > 0;
        self.busy
    }

    /// Takes back the request of somebody who does not wait any longer; nothing happens when it
    /// is in flight already. What is returned is to be dropped.
    pub(super) fn abandon(&mut self, ticket: u64) -> Option<Reply> {
        let index = self
            .places
            .binary_search_by_key(&ticket, |place| place.ticket)
            .ok()?;
        let reply = self.places.get_mut(index)?.reply.take()?;
        self.gone += 1;
        if self.gone >= SWEEP && self.gone * 2 >= self.places.len() {
            self.places.retain(|place| place.reply.is_some());
            self.gone = 0;
        }
        Some(reply)
    }

    /// Moves the longest-waiting requests to `batch`, as many as one call can serve, and returns
    /// the sum of their counts. When nobody waits that is 0, and the driver's work is over.
    pub(super) fn gather(&mut self, batch: &mut VecDeque<Waiter>) -> u32 {
        let mut sum = 0;
        while let Some(place) = self.places.front() {
            if place.reply.is_some() && sum + place.count > MAX_COUNT {
                break;
            }
            match self.places.pop_front() {
                Some(Place {
                    count,
                    reply: Some(reply),
                    ..
                }) => {
                    sum += count;
                    batch.push_back(Waiter { count, reply });
                }
                _ => self.gone -= 1,
            }
        }
        self.in_flight = batch.len();
        if batch.is_empty() {
            self.busy = false;
        } else {
            self.crowded = batch.len() > 1;
        }
        sum
    }

    /// Ends the call in flight.
    pub(super) fn landed(&mut self) {
        self.in_flight = 0;
    }

    /// Empties the queue after its driver was stopped.
    pub(super) fn give_up(&mut self) -> Vec<Reply> {
        self.busy = false;
        self.in_flight = 0;
        self.gone = 0;
        self.places
            .drain(..)
            .filter_map(|place| place.reply)
            .collect()
    }

    /// Whether the next request finds nobody, not even a driver.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        !self.busy
    }

    /// How many requests wait for a call.
    pub(super) fn waiting(&self) -> usize {
        self.places.len() - self.gone
    }

    /// How many requests wait for a call or for its end.
    pub(super) fn pending(&self) -> usize {
        self.waiting() + self.in_flight
    }
}
