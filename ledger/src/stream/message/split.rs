//! The messages that a batch becomes.

use super::{Entry, Outgoing, VERSION};
use crate::columns::{Mints, Row};
use crate::event::{Event, Unfit};
use crate::frame::{Batch, Writer};
use crate::partition;
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// What one event needs at most, in bytes, apart from the texts in it.
const EVENT: usize = 64;

/// The messages that a batch becomes: one for each partition, or more if it would be much longer than `most`.
///
/// # Errors
/// [`Unfit`] if the batch was not read.
pub(crate) fn split(batch: &Batch, most: usize) -> Result<Vec<Outgoing>, Unfit> {
    let mut splitting = Splitting {
        batch,
        most,
        parts: BTreeMap::new(),
        ready: Vec::new(),
    };
    let mut partitions = HashMap::<String, u16>::new();
    let mut partition_of = |key: &str| match partitions.get(key) {
        Some(partition) => *partition,
        None => {
            let partition = partition::of(key);
            partitions.insert(key.to_owned(), partition);
            partition
        }
    };
    let mut events = batch.events.iter();
    let (mut place, mut passed) = (0_u32, 0);
    for bytes in &batch.mints {
        let mints = Mints::read(bytes)?;
        while passed < mints.before()
            && let Some(event) = events.next()
        {
            splitting.event(partition_of(&event.key), place, event);
            passed += 1;
            place += 1;
        }
        for row in mints.rows() {
            let row = row?;
            splitting.mint(partition_of(row.key), place, &row);
            place += 1;
        }
    }
    for event in events {
        splitting.event(partition_of(&event.key), place, event);
        place += 1;
    }
    let last = place.saturating_sub(1);
    for (partition, part) in std::mem::take(&mut splitting.parts) {
        splitting.finish(partition, part, last);
    }
    Ok(splitting.ready)
}

/// The events of a batch that are not in columns, each with its place among all.
///
/// # Errors
/// [`Unfit`] if the batch was not read.
pub(crate) fn placed(batch: &Batch) -> Result<Vec<(usize, &Event)>, Unfit> {
    let mut all = Vec::with_capacity(batch.events.len());
    let mut events = batch.events.iter().enumerate();
    let mut mints = 0;
    for bytes in &batch.mints {
        let block = Mints::read(bytes)?;
        let before = block.before().saturating_sub(all.len());
        let others = events.by_ref().take(before);
        all.extend(others.map(|(at, event)| (at + mints, event)));
        mints += block.count();
    }
    all.extend(events.map(|(at, event)| (at + mints, event)));
    Ok(all)
}

/// A batch that becomes messages.
struct Splitting<'a> {
    batch: &'a Batch,
    /// The length beyond which a message is finished, in bytes.
    most: usize,
    /// What the next message of each partition has so far.
    parts: BTreeMap<u16, Part>,
    ready: Vec<Outgoing>,
}

/// The events of a partition that become the next message.
#[derive(Default)]
struct Part {
    writer: Writer,
    /// Where the part of the batch begins.
    from: u32,
    /// The places of its events in the batch.
    places: Vec<u32>,
    /// About how many bytes they have.
    bytes: usize,
    /// Whether somebody has to know what becomes of them.
    answered: bool,
}

impl Splitting<'_> {
    fn event(&mut self, partition: u16, place: u32, event: &Event) {
        let part = self.parts.entry(partition).or_default();
        part.writer.event(event);
        part.answered |= !event.idempotency.is_empty();
        self.added(partition, place, event.encoded_len());
    }

    fn mint(&mut self, partition: u16, place: u32, row: &Row<'_>) {
        let part = self.parts.entry(partition).or_default();
        part.writer.mint(row);
        let texts = row.key.len() + row.by.len() + row.request.len();
        self.added(partition, place, texts);
    }

    /// Counts what was added, and finishes a message that is long enough.
    fn added(&mut self, partition: u16, place: u32, bytes: usize) {
        let Some(part) = self.parts.get_mut(&partition) else {
            return;
        };
        part.places.push(place);
        part.bytes += bytes + EVENT;
        if part.bytes < self.most {
            return;
        }
        let next = Part {
            from: place + 1,
            ..Part::default()
        };
        let full = std::mem::replace(part, next);
        self.finish(partition, full, place);
    }

    /// Makes a message of a part that ends at this place of the batch.
    fn finish(&mut self, partition: u16, mut part: Part, last: u32) {
        let events = part.places.len();
        if events == 0 {
            return;
        }
        let all = events as u64 == u64::from(last - part.from) + 1;
        let from = part.from;
        let entry = Entry {
            version: VERSION,
            publisher: self.batch.publisher,
            first: self.batch.first + u64::from(from),
            last: self.batch.first + u64::from(last),
            places: if all {
                Vec::new()
            } else {
                part.places.iter().map(|place| place - from).collect()
            },
            ..Entry::default()
        };
        let parts = part.writer.parts();
        let outgoing = Outgoing::new(&entry, partition, &parts, events, part.answered);
        self.ready.push(outgoing);
    }
}
