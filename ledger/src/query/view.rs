//! The database at one moment.

use super::{Events, Found, MAX_BYTES, MAX_NOTES, MAX_PAGE, Neighbour, Why};
use crate::Error;
use crate::event::Event;
use crate::key::{self, from_end, signed, unsigned};
use crate::store::{Files, Record, Stored, UNUSED};
use fjall::{Readable, Snapshot};
use prost::Message;

/// The database at one moment.
pub(super) struct View<'a> {
    files: &'a Files,
    snapshot: Snapshot,
}

/// An entry of the index: the integers from `first` to `last` of the record with the event `number`.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) number: u64,
}

/// Integers that nobody gets, and the number of the event that says so.
#[derive(Clone, Copy)]
pub(super) struct Unused {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) step: i64,
    pub(super) number: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(files: &'a Files) -> Self {
        Self {
            files,
            snapshot: files.database.snapshot(),
        }
    }

    pub(super) fn record(&self, name: &str) -> Result<Record, Error> {
        match self.snapshot.get(&self.files.keys, key::prefix(name))? {
            Some(bytes) => Record::read(&bytes),
            None => Ok(Record::default()),
        }
    }

    /// The event that an entry has for one of its integers.
    fn event(&self, name: &str, step: i64, entry: &Entry, integer: i64) -> Result<Event, Error> {
        let missing = || Error::Unavailable("an event is missing".into());
        let range = key::with(name, &[entry.number])..=key::with(name, &[u64::MAX]);
        let record = self.snapshot.range(&self.files.events, range).next();
        let value = record.ok_or_else(missing)?.value()?;
        let event = Stored::read(&value)?.with(name, step, integer)?;
        event.ok_or_else(missing)
    }

    /// The first entry of a lattice whose last integer is `from` or greater.
    pub(super) fn at_or_above(
        &self,
        name: &str,
        step: i64,
        residue: i64,
        from: i64,
    ) -> Result<Option<Entry>, Error> {
        self.entries(name, step, residue, from).next().transpose()
    }

    pub(super) fn entries(
        &self,
        name: &str,
        step: i64,
        residue: i64,
        from: i64,
    ) -> impl Iterator<Item = Result<Entry, Error>> + use<> {
        let place = |last: i64| key::with(name, &[step, residue, last].map(unsigned));
        self.snapshot
            .range(&self.files.spans, place(from)..=place(i64::MAX))
            .map(|entry| {
                let (key, value) = entry.into_inner()?;
                Ok(entry_of(&key, &value))
            })
    }

    /// The last entry of a lattice whose last integer is below `to`.
    pub(super) fn below(
        &self,
        name: &str,
        step: i64,
        residue: i64,
        to: i64,
    ) -> Result<Option<Entry>, Error> {
        let place = |last: i64| key::with(name, &[step, residue, last].map(unsigned));
        match self
            .snapshot
            .range(&self.files.spans, place(0)..place(to))
            .next_back()
        {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.into_inner()?;
                Ok(Some(entry_of(&key, &value)))
            }
        }
    }

    pub(super) fn find(&self, name: &str, integer: i64) -> Result<Found, Error> {
        let record = self.record(name)?;
        if record.greatest() == 0 {
            if let Some(number) = self.nobody(name, integer)? {
                return Ok(Found::Unused(number));
            }
            return match self.lost(name, integer, integer)? {
                Some(number) => Ok(Found::Unknown(Why::Lost(number))),
                None => Ok(Found::Unknown(Why::NoMints)),
            };
        }
        let (mut below, mut above) = (None::<Near>, None::<Near>);
        for class in record.lattices.iter().filter(|class| class.greatest > 0) {
            let (step, residue) = (class.step, class.residue);
            let near = self.at_or_above(name, step, residue, integer)?;
            let at = |integer, entry| Near {
                integer,
                step,
                entry,
            };
            if let Some(entry) = near
                && entry.first <= integer
            {
                let beyond = (integer - entry.first) % step;
                if beyond == 0 {
                    return Ok(Found::Minted {
                        event: Box::new(self.event(name, step, &entry, integer)?),
                        doubles: self.doubles(name, integer)?,
                    });
                }
                nearest(&mut below, at(integer - beyond, entry), true);
                // It is at most the entry's last integer.
                nearest(&mut above, at(integer - beyond + step, entry), false);
                continue;
            }
            if let Some(entry) = near {
                nearest(&mut above, at(entry.first, entry), false);
            }
            if let Some(entry) = self.below(name, step, residue, integer)? {
                nearest(&mut below, at(entry.last, entry), true);
            }
        }
        if let Some(number) = self.nobody(name, integer)? {
            return Ok(Found::Unused(number));
        }
        if let Some(number) = self.lost(name, integer, integer)? {
            return Ok(Found::Unknown(Why::Lost(number)));
        }
        let why = match (below, above) {
            _ if integer.max(1) <= record.forgotten => Why::Forgotten,
            (Some(below), Some(above)) => {
                let neighbour = |near: Near| {
                    let event = self.event(name, near.step, &near.entry, near.integer)?;
                    Ok::<_, Error>(Neighbour {
                        integer: near.integer,
                        number: event.number,
                    })
                };
                return Ok(Found::Skipped {
                    below: neighbour(below)?,
                    above: neighbour(above)?,
                });
            }
            (_, None) => Why::After,
            // What was between it and the integers that are kept is not known.
            (None, Some(_)) if record.forgotten > 0 => Why::Forgotten,
            (None, Some(_)) => Why::Before,
        };
        Ok(Found::Unknown(why))
    }

    /// The numbers of further events with this integer.
    pub(super) fn doubles(&self, name: &str, integer: i64) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        let from = key::with(name, &[unsigned(integer)]);
        let to = key::with(name, &[u64::MAX, u64::MAX]);
        for entry in self
            .snapshot
            .range(&self.files.doubles, from..=to)
            .take(MAX_NOTES)
        {
            let (key, value) = entry.into_inner()?;
            let (first, step) = (signed(from_end(&value, 1)), signed(from_end(&value, 0)));
            if first <= integer && (integer - first) % step.max(1) == 0 {
                numbers.push(from_end(&key, 0));
            }
        }
        Ok(numbers)
    }

    /// The number of an event that lost all of these integers.
    pub(super) fn lost(&self, name: &str, first: i64, last: i64) -> Result<Option<u64>, Error> {
        let from = key::with(name, &[unsigned(last)]);
        let to = key::with(name, &[u64::MAX, u64::MAX]);
        for entry in self
            .snapshot
            .range(&self.files.notes, from..=to)
            .take(MAX_NOTES)
        {
            let (key, value) = entry.into_inner()?;
            if (1..=unsigned(first)).contains(&from_end(&value, 0)) {
                return Ok(Some(from_end(&key, 0)));
            }
        }
        Ok(None)
    }

    /// The integers that nobody gets, as events say, in ascending order: those whose last one is `from` or greater.
    pub(super) fn unused(
        &self,
        name: &str,
        from: i64,
    ) -> impl Iterator<Item = Result<Unused, Error>> + use<> {
        let from = key::with(name, &[unsigned(from)]);
        let to = key::with(name, &[u64::MAX, u64::MAX]);
        let notes = self.snapshot.range(&self.files.notes, from..=to);
        notes.take(MAX_NOTES).filter_map(|entry| {
            let (key, value) = match entry.into_inner() {
                Ok(both) => both,
                Err(error) => return Some(Err(error.into())),
            };
            (from_end(&value, 0) == UNUSED).then(|| {
                Ok(Unused {
                    first: signed(from_end(&value, 1)),
                    last: signed(from_end(&key, 1)),
                    step: signed(from_end(&value, 2)).max(1),
                    number: from_end(&key, 0),
                })
            })
        })
    }

    /// The number of an event that says that nobody gets this integer.
    fn nobody(&self, name: &str, integer: i64) -> Result<Option<u64>, Error> {
        for unused in self.unused(name, integer) {
            let unused = unused?;
            if unused.first <= integer && (integer - unused.first) % unused.step == 0 {
                return Ok(Some(unused.number));
            }
        }
        Ok(None)
    }

    /// The number of a raise to one of these integers, or to the one before them.
    pub(super) fn raised(&self, name: &str, first: i64, last: i64) -> Result<Option<u64>, Error> {
        let from = key::with(name, &[unsigned(first.saturating_sub(1))]);
        let to = key::with(name, &[unsigned(last), u64::MAX]);
        for entry in self
            .snapshot
            .range(&self.files.notes, from..=to)
            .take(MAX_NOTES)
        {
            let (key, value) = entry.into_inner()?;
            if from_end(&value, 0) == 0 {
                return Ok(Some(from_end(&key, 0)));
            }
        }
        Ok(None)
    }

    pub(super) fn events(&self, name: &str, from: u64, most: usize) -> Result<Events, Error> {
        let record = self.record(name)?;
        let mut found = Events {
            last: record.number,
            first: record.first.max(1),
            events: Vec::new(),
        };
        let range = key::with(name, &[from])..=key::with(name, &[u64::MAX]);
        let most = most.min(MAX_PAGE);
        let (mut bytes, mut more) = (0, most > 0);
        for entry in self.snapshot.range(&self.files.events, range) {
            if !more {
                break;
            }
            let value = entry.value()?;
            Stored::read(&value)?.events(name, from, |event| {
                bytes += event.encoded_len();
                found.events.push(event);
                more = found.events.len() < most && bytes <= MAX_BYTES;
                more
            })?;
        }
        Ok(found)
    }
}

/// An integer that was handed out, and the entry that has it.
#[derive(Clone, Copy)]
struct Near {
    integer: i64,
    step: i64,
    entry: Entry,
}

fn entry_of(key: &[u8], value: &[u8]) -> Entry {
    Entry {
        first: signed(from_end(value, 1)),
        last: signed(from_end(key, 0)),
        number: from_end(value, 0),
    }
}

fn nearest(best: &mut Option<Near>, near: Near, greatest: bool) {
    let better = match best {
        None => true,
        Some(best) if greatest => near.integer > best.integer,
        Some(best) => near.integer < best.integer,
    };
    if better {
        *best = Some(near);
    }
}
