//! Questions about integers and events.

mod gaps;
mod view;

use crate::Error;
use crate::event::{Event, Payload};
use crate::store::Store;
use view::View;

/// How many events one answer has at most.
pub const MAX_PAGE: usize = 1000;

/// How many bytes of events one answer has at most, apart from the last event.
const MAX_BYTES: usize = 256 << 10;

/// How many entries of the database one question about gaps reads at most.
const MAX_READ: usize = 20_000;

/// How many losses and doubles are read for one integer.
const MAX_NOTES: usize = 1000;

/// What the ledger knows of an integer.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It was handed out.
    Minted {
        /// The event.
        event: Box<Event>,
        /// The numbers of further events with the same integer, which no sequence that works has.
        doubles: Vec<u64>,
    },
    /// It was not handed out, although others below and above it were.
    Skipped {
        /// The nearest smaller integer that was handed out.
        below: Neighbour,
        /// The nearest greater one.
        above: Neighbour,
    },
    /// It was minted and nobody gets it, as the event with this number says.
    Unused(u64),
    /// The ledger does not know.
    Unknown(Why),
}

/// An integer, and the number of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The integer.
    pub integer: i64,
    /// The number of the event in which it was handed out.
    pub number: u64,
}

/// Why the ledger does not know an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is smaller than the first integer that the ledger has of the key.
    Before,
    /// It is not greater than those of events that the ledger keeps no longer.
    Forgotten,
    /// It is greater than the last one.
    After,
    /// It is among the integers of events that a publisher lost, whose number is this.
    Lost(u64),
    /// The key has no mints.
    NoMints,
}

/// Integers that were never handed out: `count` of them, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The smallest one.
    pub first: i64,
    /// The greatest one.
    pub last: i64,
    /// Their distance, which is the increment.
    pub step: i64,
    /// Why, if it is known: the number and the kind of an event.
    pub why: Option<(u64, &'static str)>,
}

/// Some gaps in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The gaps.
    pub gaps: Vec<Gap>,
    /// Where the next page begins; None after the last one.
    pub next: Option<i64>,
}

/// Some events of a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// The events in the order of their numbers.
    pub events: Vec<Event>,
    /// The number of the key's last event.
    pub last: u64,
    /// The number of the first event that is kept.
    pub first: u64,
}

impl Store {
    /// What the ledger knows of an integer. The cost grows with the logarithm of the number of events, and with the
    /// number of increments and offsets of the key's mints.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn find(&self, name: &str, integer: i64) -> Result<Found, Error> {
        self.read(|files| View::new(files).find(name, integer))
    }

    /// The integers from `from` to `to` that were never handed out, at most `most` ranges. Only ranges between
    /// integers of the same increment and offset count; what lies in a span with another increment is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn gaps(&self, name: &str, from: i64, to: i64, most: usize) -> Result<Gaps, Error> {
        self.read(|files| View::new(files).gaps(name, from, to, most))
    }

    /// The events of a key from number `from` on, at most `most`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn events(&self, name: &str, from: u64, most: usize) -> Result<Events, Error> {
        self.read(|files| View::new(files).events(name, from, most))
    }
}

impl Gap {
    /// How many integers.
    pub fn count(&self) -> i64 {
        (self.last - self.first) / self.step + 1
    }
}

impl Event {
    /// The span if it is a mint.
    pub fn span(&self) -> Option<artisanal_core::Span> {
        match &self.payload {
            Some(Payload::Mint(mint)) => mint.span(),
            _ => None,
        }
    }
}
