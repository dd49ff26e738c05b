//! The calls in flight, and the check whether their spans can be handed out.

use crate::{Error, Span};
use std::collections::VecDeque;

/// How many spans are remembered for comparison with calls that began before these spans arrived.
const MEMORY: usize = 1024;

/// The slots of one coalescer. Each has at most one call in flight.
#[derive(Debug)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    /// The greatest integer received so far.
    greatest: i64,
    /// How many spans were received so far.
    landings: u64,
    /// The latest spans, as far back as a call in flight may have to be compared with them.
    landed: VecDeque<Landed>,
    /// Spans with a number below this were discarded although a call in flight still needed them.
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Free,
    /// Taken by a driver or leader that gathers a batch and has this many requests of its own.
    Gathering {
        requests: usize,
    },
    /// A call in flight that serves this many requests.
    Flying {
        requests: usize,
        begun: Begun,
    },
}

/// The state at the beginning of a call.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    greatest: i64,
    landings: u64,
}

#[derive(Clone, Copy, Debug)]
struct Landed {
    number: u64,
    first: i64,
    last: i64,
}

impl Calls {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: vec![Slot::Free; slots.max(1)],
            greatest: 0,
            landings: 0,
            landed: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Takes a slot, if one is free, for this many requests that are not in the queue.
    pub(super) fn take_slot(&mut self, requests: usize) -> Option<usize> {
        let free = self
            .slots
            .iter()
            .position(|slot| matches!(slot, Slot::Free))?;
        self.set(free, Slot::Gathering { requests });
        Some(free)
    }

    /// Frees a slot.
    pub(super) fn leave_slot(&mut self, slot: usize) {
        self.set(slot, Slot::Free);
    }

    /// Whether all slots are free.
    pub(super) fn are_none(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Free))
    }

    /// How many requests were taken from the queue, or never entered it, and are not answered yet.
    pub(super) fn requests(&self) -> usize {
        let of = |slot: &Slot| match slot {
            Slot::Free => 0,
            Slot::Gathering { requests } | Slot::Flying { requests, .. } => *requests,
        };
        self.slots.iter().map(of).sum()
    }

    /// How many waiting requests justify a further call: as many as the calls in flight serve on
    /// average, so that calls follow each other evenly and each serves its share. None while a driver
    /// or leader is gathering a batch, which will include all of them.
    pub(super) fn share(&self) -> Option<usize> {
        if self
            .slots
            .iter()
            .any(|slot| matches!(slot, Slot::Gathering { .. }))
        {
            return None;
        }
        let taken = self.slots.iter().filter(|slot| !matches!(slot, Slot::Free));
        Some(self.requests().div_ceil(taken.count().max(1)).max(1))
    }

    /// Begins a call on a slot that the caller has taken.
    pub(super) fn begin(&mut self, slot: usize, requests: usize) {
        let begun = Begun {
            greatest: self.greatest,
            landings: self.landings,
        };
        self.set(slot, Slot::Flying { requests, begun });
    }

    /// Ends a call, successful or not. The caller keeps the slot.
    pub(super) fn end(&mut self, slot: usize) {
        self.set(slot, Slot::Gathering { requests: 0 });
    }

    /// Checks the span that a call returned. Overlapping calls may be answered in any order, but a span
    /// must be greater than all that arrived before its call began, and must not overlap another span.
    pub(super) fn check(&mut self, slot: usize, span: Span) -> Result<(), Error> {
        let begun = match self.slots.get(slot) {
            Some(Slot::Flying { begun, .. }) => *begun,
            _ => Begun::default(),
        };
        let (first, last) = (span.first(), span.last());
        if first <= begun.greatest {
            let greatest = begun.greatest;
            return Err(Error::Broken(format!(
                "the engine returned {first} after {greatest}; was the sequence lowered, or its \
                 backend restored from an old copy? Raise it to at least {greatest} to continue"
            )));
        }
        if begun.landings < self.forgotten {
            return Err(Error::Unavailable(
                "the answer arrived too late to be checked; integers were skipped, but none was \
                 handed out twice"
                    .into(),
            ));
        }
        if let Some(twice) = self
            .landed
            .iter()
            .filter(|landed| landed.number >= begun.landings)
            .find(|landed| first <= landed.last && landed.first <= last)
        {
            return Err(Error::Broken(format!(
                "the engine returned {first} to {last}, which overlaps {} to {} of another call at the \
                 same time; does it share its state among its instances?",
                twice.first, twice.last
            )));
        }
        self.note(slot, first, last);
        Ok(())
    }

    fn note(&mut self, slot: usize, first: i64, last: i64) {
        self.greatest = self.greatest.max(last);
        let others = self.slots.iter().enumerate().filter(|(at, _)| *at != slot);
        let oldest = others
            .filter_map(|(_, slot)| match slot {
                Slot::Flying { begun, .. } => Some(begun.landings),
                _ => None,
            })
            .min();
        let number = self.landings;
        self.landings += 1;
        match oldest {
            // Calls that begin from here on are compared with `greatest`.
            None => self.landed.clear(),
            Some(oldest) => {
                while self.landed.front().is_some_and(|old| old.number < oldest) {
                    self.landed.pop_front();
                }
                if self.landed.len() == MEMORY
                    && let Some(lost) = self.landed.pop_front()
                {
                    self.forgotten = lost.number + 1;
                }
                self.landed.push_back(Landed {
                    number,
                    first,
                    last,
                });
            }
        }
    }

    fn set(&mut self, slot: usize, state: Slot) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(first: i64, count: u32) -> Span {
        Span::checked(first, 1, count).unwrap()
    }

    /// Calls in flight on this many slots.
    fn flying(slots: usize) -> Calls {
        let mut calls = Calls::new(slots);
        for slot in 0..slots {
            assert_eq!(calls.take_slot(0), Some(slot));
            calls.begin(slot, 1);
        }
        assert_eq!(calls.take_slot(0), None);
        calls
    }

    fn again(calls: &mut Calls, slot: usize) {
        calls.end(slot);
        calls.begin(slot, 1);
    }

    #[test]
    fn calls_at_a_time_may_be_answered_in_any_order() {
        let mut calls = flying(3);
        assert_eq!(calls.check(1, span(11, 10)), Ok(()));
        assert_eq!(calls.check(0, span(1, 10)), Ok(()));
        again(&mut calls, 0);
        assert_eq!(calls.check(0, span(31, 10)), Ok(()));
        assert_eq!(calls.check(2, span(21, 10)), Ok(()));
    }

    #[test]
    fn nothing_is_taken_that_came_before_a_call_began() {
        let mut calls = flying(2);
        assert_eq!(calls.check(0, span(11, 10)), Ok(()));
        again(&mut calls, 0);
        assert!(matches!(calls.check(0, span(1, 5)), Err(Error::Broken(_))));
        assert!(matches!(calls.check(0, span(20, 5)), Err(Error::Broken(_))));
        // The other call began earlier.
        assert_eq!(calls.check(1, span(1, 5)), Ok(()));
    }

    #[test]
    fn no_two_calls_at_a_time_get_the_same() {
        for (first, count) in [(11, 10), (5, 7), (20, 1), (1, 100), (15, 2)] {
            let mut calls = flying(2);
            assert_eq!(calls.check(0, span(11, 10)), Ok(()));
            let twice = calls.check(1, span(first, count));
            assert!(matches!(twice, Err(Error::Broken(_))), "{first} {count}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused_and_what_can_is_not() {
        let mut calls = flying(2);
        let mark = i64::try_from(MEMORY).unwrap() + 2;
        for first in 2..=mark {
            assert_eq!(calls.check(0, span(first, 1)), Ok(()));
            again(&mut calls, 0);
        }
        assert!(calls.landed.len() <= MEMORY);
        assert!(matches!(
            calls.check(1, span(1, 1)),
            Err(Error::Unavailable(_))
        ));
        again(&mut calls, 1);
        assert_eq!(calls.check(1, span(mark + 1, 1)), Ok(()));
        again(&mut calls, 1);
        calls.end(0);
        assert_eq!(calls.check(1, span(mark + 2, 1)), Ok(()));
        assert!(calls.landed.is_empty(), "nothing is in flight any more");
    }

    #[test]
    fn a_share_is_what_calls_in_flight_have() {
        let mut calls = Calls::new(3);
        assert_eq!(calls.share(), Some(1));
        for (slot, requests) in [(0, 1), (1, 6)] {
            assert_eq!(calls.take_slot(0), Some(slot));
            assert_eq!(calls.share(), None, "somebody gathers");
            calls.begin(slot, requests);
        }
        assert_eq!((calls.share(), calls.requests()), (Some(4), 7));
        calls.end(1);
        calls.leave_slot(1);
        assert_eq!((calls.share(), calls.requests()), (Some(1), 1));
        calls.leave_slot(0);
        assert!(calls.are_none());
    }

    proptest! {
        /// Whatever the engine returns: an accepted integer never comes twice, and is greater than all
        /// that were accepted before its call began.
        #[test]
        fn nothing_is_accepted_twice(acts in prop::collection::vec((0..3usize, 1..60i64, 1..6u32), 1..200)) {
            let mut calls = flying(3);
            let mut accepted: Vec<Span> = Vec::new();
            let mut before = [0; 3];
            for (slot, first, count) in acts {
                let given = span(first, count);
                if calls.check(slot, given).is_ok() {
                    prop_assert!(first > before[slot]);
                    prop_assert!(accepted.iter().all(|other| given.last() < other.first() || other.last() < first));
                    accepted.push(given);
                }
                again(&mut calls, slot);
                before[slot] = accepted.iter().map(Span::last).max().unwrap_or(0);
            }
        }
    }
}
