//! Many mints as columns: what a publisher sends of them, and what the store keeps of a run of them. The message
//! `Mints` of `proto/ledger.proto` describes the fields.
//!
//! `Columns` writes it without a value in between, and [`Mints`] reads it where it lies: neither allocates for a mint.

mod column;
mod writer;

pub(crate) use writer::Columns;

use crate::event::{Event, Mint, Payload, Unfit, check_text};
use crate::frame::MAX_EVENTS;
use artisanal_core::{Span, limits};
use column::{Column, take, unzigzag};
use prost::encoding::{WireType, decode_key, decode_varint};

/// The numbers of the fields.
pub(crate) mod field {
    pub(crate) const NUMBER: u32 = 1;
    pub(crate) const COUNT: u32 = 2;
    pub(crate) const BEFORE: u32 = 3;
    pub(crate) const NAMES: u32 = 4;
    pub(crate) const KEYS: u32 = 5;
    pub(crate) const BY: u32 = 6;
    pub(crate) const AT: u32 = 7;
    pub(crate) const FIRST: u32 = 8;
    pub(crate) const STEP: u32 = 9;
    pub(crate) const COUNTS: u32 = 10;
    pub(crate) const LENGTHS: u32 = 11;
    pub(crate) const REQUESTS: u32 = 12;
}

/// How many different keys and clients a message names at most.
const MAX_NAMES: usize = 2 * MAX_EVENTS;

/// One mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key; empty in the store, where the place of a run says it.
    pub key: &'a str,
    /// When it happened, in microseconds since 1970.
    pub at: i64,
    /// Who asked.
    pub by: &'a str,
    /// The client's request id, or empty.
    pub request: &'a str,
    /// The integers.
    pub span: Span,
}

impl Row<'_> {
    /// The mint as an event of a key.
    pub(crate) fn event(&self, key: &str, number: u64) -> Event {
        Event {
            key: key.to_owned(),
            number,
            at: self.at,
            by: self.by.to_owned(),
            request: self.request.to_owned(),
            payload: Some(Payload::Mint(Mint::from(self.span))),
            ..Event::default()
        }
    }
}

/// A message, whose columns are read as they are passed over.
#[derive(Clone, Debug)]
pub struct Mints<'a> {
    /// The number of the first mint, in the store.
    pub(crate) number: u64,
    count: usize,
    before: usize,
    names: Vec<&'a str>,
    keys: Column<'a>,
    by: Column<'a>,
    at: Column<'a>,
    first: Column<'a>,
    step: Column<'a>,
    counts: Column<'a>,
    lengths: Column<'a>,
    requests: &'a str,
}

impl<'a> Mints<'a> {
    /// Finds the columns. What is in them is checked by [`Rows`], when it is passed over.
    ///
    /// # Errors
    /// [`Unfit`] for what is no such message, and for too many mints or names.
    pub fn read(mut bytes: &'a [u8]) -> Result<Self, Unfit> {
        let mut mints = Self {
            number: 0,
            count: 0,
            before: 0,
            names: Vec::new(),
            keys: Column::default(),
            by: Column::default(),
            at: Column::default(),
            first: Column::default(),
            step: Column::default(),
            counts: Column::default(),
            lengths: Column::default(),
            requests: "",
        };
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).map_err(malformed)?;
            match wire {
                WireType::Varint => {
                    let value = decode_varint(&mut bytes).map_err(malformed)?;
                    match tag {
                        field::NUMBER => mints.number = value,
                        field::COUNT => mints.count = bounded(value)?,
                        field::BEFORE => mints.before = bounded(value)?,
                        _ => return Err(unknown()),
                    }
                }
                WireType::LengthDelimited => {
                    let part = take(&mut bytes).ok_or_else(cut)?;
                    mints.part(tag, part)?;
                }
                _ => return Err(unknown()),
            }
        }
        if mints.count == 0 {
            return Err(Unfit("a message without mints".into()));
        }
        Ok(mints)
    }

    fn part(&mut self, tag: u32, part: &'a [u8]) -> Result<(), Unfit> {
        let text = || std::str::from_utf8(part).map_err(|_| Unfit("a text is no UTF-8".into()));
        let column = match tag {
            field::NAMES if self.names.len() >= MAX_NAMES => {
                return Err(Unfit(format!("more than {MAX_NAMES} names")));
            }
            field::NAMES => {
                self.names.push(text()?);
                return Ok(());
            }
            field::REQUESTS => {
                self.requests = text()?;
                return Ok(());
            }
            field::KEYS => &mut self.keys,
            field::BY => &mut self.by,
            field::AT => &mut self.at,
            field::FIRST => &mut self.first,
            field::STEP => &mut self.step,
            field::COUNTS => &mut self.counts,
            field::LENGTHS => &mut self.lengths,
            _ => return Err(unknown()),
        };
        *column = Column::new(part);
        Ok(())
    }

    /// How many mints there are, one or more.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of a batch's other events come before them.
    pub(crate) fn before(&self) -> usize {
        self.before
    }

    /// The number of the last mint, in the store.
    pub(crate) fn last(&self) -> u64 {
        self.number.saturating_add(self.count as u64 - 1)
    }

    /// All mints in order. After an error there are no more.
    pub fn rows(&self) -> Rows<'_, 'a> {
        Rows {
            all: self,
            left: self.count,
            keys: self.keys.values(),
            by: self.by.values(),
            at: self.at.values(),
            first: self.first.values(),
            step: self.step.values(),
            counts: self.counts.values(),
            lengths: self.lengths.values(),
            requests: self.requests,
            before: (0, 0),
        }
    }

    /// Checks every mint of a publisher, as [`Event::check`] does.
    ///
    /// # Errors
    /// [`Unfit`], and the place of the first mint that is wrong.
    pub fn check(&self) -> Result<(), (usize, Unfit)> {
        // Each name is checked once for what it is used as; most are used often.
        let mut keys = vec![false; self.names.len()];
        let mut clients = keys.clone();
        let mut rows = self.rows();
        let mut place = 0;
        while let Some(row) = rows.next_placed() {
            let checked = row.and_then(|(row, [key, by])| {
                if let Some(known) = keys.get_mut(key)
                    && !std::mem::replace(known, true)
                {
                    limits::check_key(row.key).map_err(|error| Unfit(error.to_string()))?;
                }
                if let Some(known) = clients.get_mut(by)
                    && !std::mem::replace(known, true)
                {
                    check_text("by", row.by)?;
                }
                if !row.request.is_empty() {
                    check_text("request", row.request)?;
                }
                Ok(())
            });
            checked.map_err(|unfit| (place, unfit))?;
            place += 1;
        }
        if !rows.is_spent() {
            return Err((place, Unfit("a column is longer than the others".into())));
        }
        Ok(())
    }
}

/// The mints of a message.
pub struct Rows<'m, 'a> {
    all: &'m Mints<'a>,
    left: usize,
    keys: column::Values<'a>,
    by: column::Values<'a>,
    at: column::Values<'a>,
    first: column::Values<'a>,
    step: column::Values<'a>,
    counts: column::Values<'a>,
    lengths: column::Values<'a>,
    /// The request ids of the mints that are left.
    requests: &'a str,
    /// `at` and `first` of the mint before.
    before: (i64, i64),
}

/// A mint, and the places of its key and client among the names.
type Placed<'a> = (Row<'a>, [usize; 2]);

impl<'a> Rows<'_, 'a> {
    /// The next mint, and the places of its key and client among the names.
    pub(crate) fn next_placed(&mut self) -> Option<Result<Placed<'a>, Unfit>> {
        self.left = self.left.checked_sub(1)?;
        let row = self.row();
        if row.is_err() {
            self.left = 0;
        }
        Some(row)
    }

    fn row(&mut self) -> Result<Placed<'a>, Unfit> {
        let short = || Unfit("a column is shorter than the others".into());
        let names = &self.all.names;
        // In the store there are none: all rows have the key of the record.
        let key = if self.all.keys.is_empty() {
            names.len()
        } else {
            self.keys.place().ok_or_else(short)?
        };
        let by = self.by.place().ok_or_else(short)?;
        let name = |place: usize| names.get(place).copied();
        let absent = || Unfit("the number of a name is out of range".into());
        let at = unzigzag(self.at.next().ok_or_else(short)?);
        let first = unzigzag(self.first.next().ok_or_else(short)?);
        let (at, first) = (
            self.before.0.checked_add(at),
            self.before.1.checked_add(first),
        );
        let (Some(at @ 0..), Some(first)) = (at, first) else {
            return Err(Unfit("a difference is out of range".into()));
        };
        self.before = (at, first);
        let step = i64::try_from(self.step.next().ok_or_else(short)?).unwrap_or(0);
        let count = u32::try_from(self.counts.next().ok_or_else(short)?).unwrap_or(0);
        let span = Mint { first, step, count }.span();
        let request = if self.all.lengths.is_empty() {
            ""
        } else {
            let length = self.lengths.place().ok_or_else(short)?;
            let parts = self.requests.split_at_checked(length);
            let (request, rest) =
                parts.ok_or_else(|| Unfit("the length of a request id is wrong".into()))?;
            self.requests = rest;
            request
        };
        let row = Row {
            key: if self.all.keys.is_empty() {
                ""
            } else {
                name(key).ok_or_else(absent)?
            },
            at,
            by: name(by).ok_or_else(absent)?,
            request,
            span: span.ok_or_else(|| Unfit("a mint is no span of positive integers".into()))?,
        };
        Ok((row, [key, by]))
    }

    /// Whether no column has more than there are mints.
    fn is_spent(&self) -> bool {
        let columns = [
            &self.keys,
            &self.by,
            &self.at,
            &self.first,
            &self.step,
            &self.counts,
            &self.lengths,
        ];
        self.requests.is_empty() && columns.iter().all(|column| column.is_spent())
    }
}

impl<'a> Iterator for Rows<'_, 'a> {
    type Item = Result<Row<'a>, Unfit>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_placed().map(|row| row.map(|(row, _)| row))
    }
}

fn bounded(value: u64) -> Result<usize, Unfit> {
    usize::try_from(value)
        .ok()
        .filter(|value| *value <= MAX_EVENTS)
        .ok_or_else(|| Unfit(format!("more than {MAX_EVENTS} mints")))
}

fn malformed(error: prost::DecodeError) -> Unfit {
    Unfit(error.to_string())
}

fn unknown() -> Unfit {
    Unfit("an unknown field".into())
}

fn cut() -> Unfit {
    Unfit("it ends too early".into())
}

#[cfg(test)]
mod tests;
