//! Who waits for integers, in the order they came.

use super::calls::Calls;
use super::line::{self, Answer, Leave, Line, Reply};
use crate::{MAX_COUNT, Span};
use std::collections::VecDeque;

/// A request for so many integers, on its way to be served.
pub(super) type Waiter = line::Waiter<u32, Span>;

pub(super) struct Queue {
    line: Line<u32, Span>,
    /// What is in flight. Where somebody waits, some slot is taken.
    pub(super) calls: Calls,
    /// Whether the latest batch had several requests. Then the next one probably will, and it
    /// pays to let them gather first.
    crowded: bool,
}

/// What a request does after it came.
pub(super) enum Entry {
    /// See whether others come, and else make the call itself, on this slot.
    Leader(u64, usize),
    /// Start a driver on this slot and wait.
    First(u64, usize, Answer<Span>),
    /// Wait.
    Queued(u64, Answer<Span>),
    /// Go away.
    Full,
}

impl Queue {
    /// A queue in front of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            line: Line::default(),
            calls: Calls::new(slots),
            crowded: false,
        }
    }

    pub(super) fn enter(&mut self, count: u32, limit: usize) -> Entry {
        if self.calls.are_none()
            && !self.crowded
            && let Some(slot) = self.calls.take_slot(1)
        {
            return Entry::Leader(self.line.ticket(), slot);
        }
        // Not as many again for each further call: a backend that stalls would fill them all.
        let full = self.waiting() >= limit || self.pending() >= limit.saturating_mul(2);
        if full && !self.calls.are_none() {
            return Entry::Full;
        }
        let (ticket, answer) = self.line.push(count);
        match self.further_slot() {
            Some(slot) => Entry::First(ticket, slot, answer),
            None => Entry::Queued(ticket, answer),
        }
    }

    /// Takes a slot for those who wait, if one is free and they are enough.
    pub(super) fn further_slot(&mut self) -> Option<usize> {
        let waiting = self.waiting();
        let share = self.calls.share()?;
        match waiting >= share {
            true => self.calls.take_slot(0),
            false => None,
        }
    }

    /// Puts the leader in front of those who came after it, if anybody did. Else its call begins.
    pub(super) fn join(&mut self, ticket: u64, slot: usize, count: u32) -> Option<Answer<Span>> {
        if self.waiting() == 0 {
            self.calls.begin(slot, 1);
            return None;
        }
        self.calls.end(slot);
        Some(self.line.push_front(ticket, count))
    }

    /// Ends what the leader began. The slot, when others wait who need a driver on it.
    pub(super) fn leave(&mut self, slot: usize) -> Option<usize> {
        self.calls.leave_slot(slot);
        match self.waiting() {
            0 => None,
            _ => self.further_slot(),
        }
    }

    /// Moves the longest-waiting requests to `batch`, as many as one call can serve, begins that
    /// call, and returns the sum of their counts. Where nobody waits, or too few do while other
    /// calls are in flight, that is 0, and the driver's work is over: its slot is free.
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
        while let Some(count) = self.line.front()
            && sum + count <= MAX_COUNT
        {
            sum += count;
            batch.extend(self.line.pop());
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
        self.line.take()
    }

    /// Whether the next request finds nobody, not even a driver.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.calls.are_none()
    }

    /// How many requests wait for a call.
    pub(super) fn waiting(&self) -> usize {
        self.line.waiting()
    }

    /// How many requests wait for a call or for its end.
    pub(super) fn pending(&self) -> usize {
        self.waiting() + self.calls.requests()
    }
}

impl Leave for Queue {
    type Answer = Span;

    fn abandon(&mut self, ticket: u64) -> Option<Reply<Span>> {
        self.line.abandon(ticket)
    }
}
