//! What the database keeps of events: a run of mints with consecutive numbers in one record, every other event in a
//! record of its own. The place of a record is the number of its last event.

use crate::Error;
use crate::columns::Mints;
use crate::event::{Event, Unfit};
use prost::Message;

/// The first byte of a run. No message of protobuf begins with it, so none of an event does.
pub(crate) const RUN: u8 = 0;

/// How many mints a run has at most: whoever asks for one of them reads all.
pub(crate) const MAX_RUN: usize = 512;

/// A record.
pub(crate) enum Stored<'a> {
    /// One event.
    One(Box<Event>),
    /// A run of mints.
    Run(Box<Mints<'a>>),
}

impl<'a> Stored<'a> {
    /// Reads a record.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            Some((&RUN, mints)) => {
                let mints = Mints::read(mints).map_err(broken)?;
                Ok(Self::Run(Box::new(mints)))
            }
            _ => {
                let event = Event::decode(bytes);
                let event = event.map_err(|error| broken(Unfit(error.to_string())))?;
                Ok(Self::One(Box::new(event)))
            }
        }
    }

    /// The number of its first event.
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::One(event) => event.number,
            Self::Run(mints) => mints.number,
        }
    }

    /// Passes its events from number `from` on to `take` until that is false.
    pub(crate) fn events(
        self,
        key: &str,
        from: u64,
        mut take: impl FnMut(Event) -> bool,
    ) -> Result<(), Error> {
        match self {
            Self::One(event) => {
                if event.number >= from {
                    take(*event);
                }
            }
            Self::Run(mints) => {
                for (number, row) in (mints.number..).zip(mints.rows()) {
                    let row = row.map_err(broken)?;
                    if number >= from && !take(row.event(key, number)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The first of its events with this integer in a span of this increment.
    pub(crate) fn with(self, key: &str, step: i64, integer: i64) -> Result<Option<Event>, Error> {
        let mints = match self {
            Self::One(event) => return Ok(Some(*event)),
            Self::Run(mints) => mints,
        };
        for (number, row) in (mints.number..).zip(mints.rows()) {
            let row = row.map_err(broken)?;
            let (first, last) = (row.span.first(), row.span.last());
            if row.span.step() == step
                && (first..=last).contains(&integer)
                && (integer - first) % step == 0
            {
                return Ok(Some(row.event(key, number)));
            }
        }
        Ok(None)
    }
}

/// The error for a record that cannot be read.
pub(crate) fn broken(unfit: Unfit) -> Error {
    Error::Unavailable(format!("an event: {unfit}"))
}
