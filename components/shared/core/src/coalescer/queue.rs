//! The queue of mint requests, in arrival order.

use super::calls::Calls;
use super::wait_queue::{self, Answer, Leave, Reply, WaitQueue};
use crate::{MAX_COUNT, Span};
use std::collections::VecDeque;

/// A mint request, with its count, that was taken from the queue to be served.
pub(super) type Waiter = wait_queue::Waiter<u32, Span>;

pub(super) struct Queue {
    queue: WaitQueue<u32, Span>,
    /// The calls in flight. While requests wait, at least one slot is taken.
    pub(super) calls: Calls,
    /// Whether the latest batch had several requests. If so, the next one probably will, and it
    /// pays to let requests gather first.
    crowded: bool,
}

/// What a new request has to do.
pub(super) enum Entry {
    /// Wait for others to join, or else make the call itself, on this slot.
    Leader(u64, usize),
    /// Start a driver on this slot and wait.
    First(u64, usize, Answer<Span>),
    /// Wait.
    Queued(u64, Answer<Span>),
    /// Fail: the queue is full.
    Full,
}

impl Queue {
    /// A queue for this many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            queue: WaitQueue::default(),
            calls: Calls::new(slots),
            crowded: false,
        }
    }

    pub(super) fn enter(&mut self, count: u32, limit: usize) -> Entry {
        if self.calls.are_none()
            && !self.crowded
            && let Some(slot) = self.calls.take_slot(1)
        {
            return Entry::Leader(self.queue.ticket(), slot);
        }
        // The limit does not grow with the number of slots: a backend that stalls would fill them all.
        let full = self.waiting() >= limit || self.pending() >= limit.saturating_mul(2);
        if full && !self.calls.are_none() {
            return Entry::Full;
        }
        let (ticket, answer) = self.queue.push(count);
        match self.further_slot() {
            Some(slot) => Entry::First(ticket, slot, answer),
            None => Entry::Queued(ticket, answer),
        }
    }

    /// Takes a slot for the waiting requests, if one is free and enough of them wait.
    pub(super) fn further_slot(&mut self) -> Option<usize> {
        let waiting = self.waiting();
        let share = self.calls.share()?;
        if waiting >= share {
            self.calls.take_slot(0)
        } else {
            None
        }
    }

    /// Puts the leader's request in front of those that arrived after it, if there are any. Otherwise
    /// marks its call as begun.
    pub(super) fn join(&mut self, ticket: u64, slot: usize, count: u32) -> Option<Answer<Span>> {
        if self.waiting() == 0 {
            self.calls.begin(slot, 1);
            return None;
        }
        self.calls.end(slot);
        Some(self.queue.push_front(ticket, count))
    }

    /// Ends the leader's work. Returns a slot if waiting requests need a driver on it.
    pub(super) fn leave(&mut self, slot: usize) -> Option<usize> {
        self.calls.leave_slot(slot);
        match self.waiting() {
            0 => None,
            _ => self.further_slot(),
        }
    }

    /// Moves the longest-waiting requests to `batch`, as many as one call can serve, begins that
    /// call, and returns the sum of their counts. Returns 0 when no request waits, or too few while
    /// other calls are in flight: the driver is then done, and its slot is free.
    pub(super) fn gather(&mut self, slot: usize, batch: &mut VecDeque<Waiter>) -> u32 {
        self.calls.leave_slot(slot);
        if self
            .calls
            .share()
            .is_some_and(|share| self.waiting() < share)
        {
            return 0;
        }
        let mut sum = 0;
        while let Some(count) = self.queue.front()
            && sum + count <= MAX_COUNT
        {
            sum += count;
            batch.extend(self.queue.pop());
        }
        if !batch.is_empty() {
            self.calls.begin(slot, batch.len());
            self.crowded = batch.len() > 1;
        }
        sum
    }

    /// Empties the queue after a driver was stopped.
    pub(super) fn give_up(&mut self, slot: usize) -> Vec<Waiter> {
        self.calls.leave_slot(slot);
        self.queue.take()
    }

    /// Whether the next request finds the coalescer idle, without even a driver.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.calls.are_none()
    }

    /// How many requests wait for a call.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// How many requests wait for a call or for its end.
    pub(super) fn pending(&self) -> usize {
        self.waiting() + self.calls.requests()
    }
}

impl Leave for Queue {
    type Answer = Span;

    fn abandon(&mut self, ticket: u64) -> Option<Reply<Span>> {
        self.queue.abandon(ticket)
    }
}
