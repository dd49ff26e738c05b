//! Questions about integers and events.

use crate::Error;
use crate::event::{Event, Payload};
use crate::key::{self, from_end, signed, unsigned};
use crate::store::{Files, Record, Store};
use fjall::{Readable, Snapshot};
use prost::Message;

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

/// The database at one moment.
struct View<'a> {
    files: &'a Files,
    snapshot: Snapshot,
}

/// An entry of the index: the integers from `first` to `last` of the event `number`.
#[derive(Clone, Copy)]
struct Entry {
    first: i64,
    last: i64,
    number: u64,
}

impl<'a> View<'a> {
    fn new(files: &'a Files) -> Self {
        Self {
            files,
            snapshot: files.database.snapshot(),
        }
    }

    fn record(&self, name: &str) -> Result<Record, Error> {
        match self.snapshot.get(&self.files.keys, key::prefix(name))? {
            Some(bytes) => Record::read(&bytes),
            None => Ok(Record::default()),
        }
    }

    fn event(&self, name: &str, number: u64) -> Result<Event, Error> {
        let place = key::with(name, &[number]);
        let bytes = self.snapshot.get(&self.files.events, place)?;
        let bytes = bytes.ok_or_else(|| Error::Unavailable("an event is missing".into()))?;
        decode(&bytes)
    }

    /// The first entry of a lattice whose last integer is `from` or greater.
    fn at_or_above(
        &self,
        name: &str,
        step: i64,
        residue: i64,
        from: i64,
    ) -> Result<Option<Entry>, Error> {
        self.entries(name, step, residue, from).next().transpose()
    }

    fn entries(
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
    fn below(&self, name: &str, step: i64, residue: i64, to: i64) -> Result<Option<Entry>, Error> {
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

    fn find(&self, name: &str, integer: i64) -> Result<Found, Error> {
        let record = self.record(name)?;
        if record.greatest() == 0 {
            return match self.lost(name, integer, integer)? {
                Some(number) => Ok(Found::Unknown(Why::Lost(number))),
                None => Ok(Found::Unknown(Why::NoMints)),
            };
        }
        let (mut below, mut above) = (None::<Neighbour>, None::<Neighbour>);
        for class in record.lattices.iter().filter(|class| class.greatest > 0) {
            let (step, residue) = (class.step, class.residue);
            let near = self.at_or_above(name, step, residue, integer)?;
            if let Some(entry) = near
                && entry.first <= integer
            {
                let beyond = (integer - entry.first) % step;
                if beyond == 0 {
                    return Ok(Found::Minted {
                        event: Box::new(self.event(name, entry.number)?),
                        doubles: self.doubles(name, integer)?,
                    });
                }
                let number = entry.number;
                nearest(&mut below, integer - beyond, number, true);
                // It is at most the entry's last integer.
                nearest(&mut above, integer - beyond + step, number, false);
                continue;
            }
            if let Some(entry) = near {
                nearest(&mut above, entry.first, entry.number, false);
            }
            if let Some(entry) = self.below(name, step, residue, integer)? {
                nearest(&mut below, entry.last, entry.number, true);
            }
        }
        if let Some(number) = self.lost(name, integer, integer)? {
            return Ok(Found::Unknown(Why::Lost(number)));
        }
        Ok(match (below, above) {
            (Some(below), Some(above)) => Found::Skipped { below, above },
            (None, _) => Found::Unknown(Why::Before),
            (_, None) => Found::Unknown(Why::After),
        })
    }

    /// The numbers of further events with this integer.
    fn doubles(&self, name: &str, integer: i64) -> Result<Vec<u64>, Error> {
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
    fn lost(&self, name: &str, first: i64, last: i64) -> Result<Option<u64>, Error> {
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

    /// The number of a raise to one of these integers, or to the one before them.
    fn raised(&self, name: &str, first: i64, last: i64) -> Result<Option<u64>, Error> {
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

    fn gaps(&self, name: &str, from: i64, to: i64, most: usize) -> Result<Gaps, Error> {
        let record = self.record(name)?;
        let classes: Vec<_> = record.lattices.iter().filter(|c| c.greatest > 0).collect();
        let mut found = Gaps::default();
        // Every lattice is read up to the same bound; what lies beyond belongs to the next page.
        let mut bound = to;
        let each = (MAX_READ / classes.len().max(1)).max(2);
        for class in &classes {
            let (step, residue) = (class.step, class.residue);
            let mut before = self.below(name, step, residue, from)?.map(|e| e.last);
            for (read, entry) in self.entries(name, step, residue, from).enumerate() {
                let entry = entry?;
                if let Some(before) = before
                    && let Some(gap) = between(before, entry.first, step)
                    && let Some(gap) = within(gap, from, to)
                {
                    self.outside(name, gap, &classes, &mut found.gaps)?;
                }
                before = Some(entry.last);
                if entry.last >= bound {
                    break;
                }
                if read + 1 >= each || found.gaps.len() > 2 * most + MAX_NOTES {
                    bound = bound.min(entry.last);
                    break;
                }
            }
        }
        found.gaps.retain(|gap| gap.first <= bound);
        for gap in &mut found.gaps {
            // A gap that reaches beyond the bound goes on on the next page.
            *gap = within(*gap, from, bound).unwrap_or(*gap);
        }
        found.gaps.sort_unstable_by_key(|gap| (gap.first, gap.step));
        let greatest = record.greatest();
        found.next = (bound < to && bound < greatest).then(|| bound + 1);
        if found.gaps.len() > most {
            found.next = found.gaps.get(most).map(|gap| gap.first);
            found.gaps.truncate(most);
            // What overlaps the next page is cut there.
            if let Some(next) = found.next {
                found.gaps.retain(|gap| gap.first < next);
                for gap in &mut found.gaps {
                    *gap = within(*gap, from, next - 1).unwrap_or(*gap);
                }
            }
        }
        for gap in &mut found.gaps {
            gap.why = match self.lost(name, gap.first, gap.last)? {
                Some(number) => Some((number, "lost")),
                None => self
                    .raised(name, gap.first, gap.last)?
                    .map(|number| (number, "raise")),
            };
        }
        Ok(found)
    }

    /// Adds the parts of a gap that are outside of all spans with other increments.
    fn outside(
        &self,
        name: &str,
        gap: Gap,
        classes: &[&crate::store::Class],
        gaps: &mut Vec<Gap>,
    ) -> Result<(), Error> {
        let mut spans = Vec::new();
        for class in classes.iter().filter(|class| class.step != gap.step) {
            for entry in self
                .entries(name, class.step, class.residue, gap.first)
                .take(MAX_NOTES)
            {
                let entry = entry?;
                if entry.first > gap.last {
                    break;
                }
                spans.push((entry.first, entry.last));
            }
        }
        spans.sort_unstable();
        let mut rest = Some(gap);
        for (first, last) in spans {
            let Some(gap) = rest else { break };
            gaps.extend(within(gap, gap.first, first - 1));
            rest = last
                .checked_add(1)
                .and_then(|next| within(gap, next, gap.last));
        }
        gaps.extend(rest);
        Ok(())
    }

    fn events(&self, name: &str, from: u64, most: usize) -> Result<Events, Error> {
        let mut found = Events {
            last: self.record(name)?.number,
            events: Vec::new(),
        };
        let range = key::with(name, &[from])..=key::with(name, &[u64::MAX]);
        let mut bytes = 0;
        for entry in self
            .snapshot
            .range(&self.files.events, range)
            .take(most.min(MAX_PAGE))
        {
            let value = entry.value()?;
            bytes += value.len();
            found.events.push(decode(&value)?);
            if bytes > MAX_BYTES {
                break;
            }
        }
        Ok(found)
    }
}

fn decode(bytes: &[u8]) -> Result<Event, Error> {
    Event::decode(bytes).map_err(|error| Error::Unavailable(format!("an event: {error}")))
}

fn entry_of(key: &[u8], value: &[u8]) -> Entry {
    Entry {
        first: signed(from_end(value, 1)),
        last: signed(from_end(key, 0)),
        number: from_end(value, 0),
    }
}

fn nearest(best: &mut Option<Neighbour>, integer: i64, number: u64, greatest: bool) {
    let better = match best {
        None => true,
        Some(best) if greatest => integer > best.integer,
        Some(best) => integer < best.integer,
    };
    if better {
        *best = Some(Neighbour { integer, number });
    }
}

/// What is missing between two integers of a lattice.
fn between(before: i64, after: i64, step: i64) -> Option<Gap> {
    let first = before.checked_add(step)?;
    (first < after).then(|| Gap {
        first,
        last: after - step,
        step,
        why: None,
    })
}

/// The integers of a gap from `from` to `to`.
fn within(gap: Gap, from: i64, to: i64) -> Option<Gap> {
    let beyond = from.saturating_sub(gap.first).max(0);
    let steps = beyond / gap.step + i64::from(beyond % gap.step != 0);
    let first = steps
        .checked_mul(gap.step)
        .and_then(|more| gap.first.checked_add(more))?;
    let last = gap.last.min(to);
    if first > last {
        return None;
    }
    let last = first + (last - first) / gap.step * gap.step;
    Some(Gap { first, last, ..gap })
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
