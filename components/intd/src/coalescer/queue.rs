//! Who waits, in the order they came.

use super::calls::Calls;
use crate::{Error, MAX_COUNT, Span};
use futures::channel::oneshot;
use std::collections::VecDeque;

type Reply = oneshot::Sender<Result<Span, Error>>;

/// Forgotten requests are swept out of the queue once there are this many of them, and as many
/// as there are others.
const SWEEP: usize = 64;

pub(super) struct Queue {
    /// By ascending ticket.
    places: VecDeque<Place>,
    /// How many of the places belong to requests that went away.
    gone: usize,
    next_ticket: u64,
    /// What is in flight. Where somebody waits, some lane is taken.
    pub(super) calls: Calls,
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
    /// See whether others come, and else make the call itself, on this lane.
    Leader(u64, usize),
    /// Start a driver on this lane and wait.
    First(u64, usize, oneshot::Receiver<Result<Span, Error>>),
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
    /// A queue in front of so many lanes.
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            places: VecDeque::new(),
            gone: 0,
            next_ticket: 0,
            calls: Calls::new(lanes),
            crowded: false,
        }
    }

    pub(super) fn enter(&mut self, count: u32, limit: usize) -> Entry {
        if self.calls.are_none()
            && !self.crowded
            && let Some(lane) = self.calls.take_lane(1)
        {
            return Entry::Leader(self.ticket(), lane);
        }
        // Not as many again for each further call: a backend that stalls would fill them all.
        let full = self.waiting() >= limit || self.pending() >= limit.saturating_mul(2);
        if full && !self.calls.are_none() {
            return Entry::Full;
        }
        let (ticket, reply) = self.push(count);
        match self.further_lane() {
            Some(lane) => Entry::First(ticket, lane, reply),
            None => Entry::Queued(ticket, reply),
        }
    }

    /// Takes a lane for those who wait, if one is free and they are enough.
    pub(super) fn further_lane(&mut self) -> Option<usize> {
        let waiting = self.waiting();
        let share = self.calls.share()?;
        match waiting >= share {
            true => self.calls.take_lane(0),
            false => None,
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

    /// Puts the leader in front of those who came after it, if anybody did. Else its call begins.
    pub(super) fn join(
        &mut self,
        ticket: u64,
        lane: usize,
        count: u32,
    ) -> Option<oneshot::Receiver<Result<Span, Error>>> {
        if self.waiting() == 0 {
            self.calls.begin(lane, 1);
            return None;
        }
        self.calls.end(lane);
        let (sender, receiver) = oneshot::channel();
        self.places.push_front(Place {
            ticket,
            count,
            reply: Some(sender),
        });
        Some(receiver)
    }

    /// Ends what the leader began. The lane, when others wait who need a driver on it.
    pub(super) fn leave(&mut self, lane: usize) -> Option<usize> {
        self.calls.leave_lane(lane);
        match self.waiting() {
            0 => None,
            _ => self.further_lane(),
        }
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

    /// Moves the longest-waiting requests to `batch`, as many as one call can serve, begins that
    /// call, and returns the sum of their counts. Where nobody waits, or too few do while other
    /// calls are in flight, that is 0, and the driver's work is over: its lane is free.
    pub(super) fn gather(&mut self, lane: usize, batch: &mut VecDeque<Waiter>) -> u32 {
        self.calls.leave_lane(lane);
        if self
            .calls
            .share()
            .is_some_and(|share| self.waiting() < share)
        {
            return 0;
        }
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
        if !batch.is_empty() {
            self.calls.begin(lane, batch.len());
            self.crowded = batch.len() > 1;
        }
        sum
    }

    /// Empties the queue after a driver was stopped.
    pub(super) fn give_up(&mut self, lane: usize) -> Vec<Reply> {
        self.calls.leave_lane(lane);
        self.gone = 0;
        self.places
            .drain(..)
            .filter_map(|place| place.reply)
            .collect()
    }

    /// Whether the next request finds nobody, not even a driver.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.calls.are_none()
    }

    /// How many requests wait for a call.
    pub(super) fn waiting(&self) -> usize {
        self.places.len() - self.gone
    }

    /// How many requests wait for a call or for its end.
    pub(super) fn pending(&self) -> usize {
        self.waiting() + self.calls.requests()
    }
}
