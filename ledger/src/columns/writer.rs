//! Writing mints as columns.

use super::column::{Growing, put, put_number, zigzag};
use super::{Row, field};
use std::collections::HashMap;

/// Mints that become one message.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    count: usize,
    /// The number of each name.
    places: HashMap<Box<str>, u64>,
    /// The fields of the names.
    names: Vec<u8>,
    keys: Growing,
    by: Growing,
    at: Growing,
    first: Growing,
    step: Growing,
    counts: Growing,
    lengths: Growing,
    requests: String,
    before: (i64, i64),
    last_key: Option<(Box<str>, u64)>,
}

impl Columns {
    /// How many mints there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a mint with its key.
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let key = match &self.last_key {
            Some((name, place)) if **name == *row.key => *place,
            _ => {
                let place = self.name(row.key);
                self.last_key = Some((row.key.into(), place));
                place
            }
        };
        self.keys.push(key);
        self.push_without_key(row);
    }

    /// Adds a mint of the key that all have.
    pub(crate) fn push_without_key(&mut self, row: &Row<'_>) {
        let by = self.name(row.by);
        self.by.push(by);
        let (at, first) = (row.at, row.span.first());
        self.at.push(zigzag(at.wrapping_sub(self.before.0)));
        self.first.push(zigzag(first.wrapping_sub(self.before.1)));
        self.before = (at, first);
        self.step.push(row.span.step().unsigned_abs());
        self.counts.push(row.span.count().into());
        self.lengths.push(row.request.len() as u64);
        self.requests.push_str(row.request);
        self.count += 1;
    }

    fn name(&mut self, name: &str) -> u64 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.places.len() as u64;
        self.places.insert(name.into(), place);
        // An empty name has a field as well.
        if name.is_empty() {
            prost::encoding::encode_key(
                field::NAMES,
                prost::encoding::WireType::LengthDelimited,
                &mut self.names,
            );
            self.names.push(0);
        } else {
            put(field::NAMES, name.as_bytes(), &mut self.names)
        }
        place
    }

    /// Appends the message, and is empty again. `number` is that of the first mint, and `before` how many other events
    /// of the batch come before it; each is 0 where it has no meaning.
    pub(crate) fn finish(&mut self, number: u64, before: usize, out: &mut Vec<u8>) {
        put_number(field::NUMBER, number, out);
        put_number(field::COUNT, self.count as u64, out);
        put_number(field::BEFORE, before as u64, out);
        out.extend_from_slice(&self.names);
        self.keys.finish(field::KEYS, out);
        self.by.finish(field::BY, out);
        self.at.finish(field::AT, out);
        self.first.finish(field::FIRST, out);
        self.step.finish(field::STEP, out);
        self.counts.finish(field::COUNTS, out);
        // One length of 0 says that no mint has a request id.
        self.lengths.finish(field::LENGTHS, out);
        put(field::REQUESTS, self.requests.as_bytes(), out);
        self.count = 0;
        self.places.clear();
        self.names.clear();
        self.requests.clear();
        self.before = (0, 0);
        self.last_key = None;
    }
}
