//! What of a stream is applied.
//!
//! What a message leads to depends only on the messages of the same partition before it, so that all ledgers
//! come to the same result, whatever other partitions they have, and however often they start again. In particular the
//! time is that of the stream.

use super::files::{Files, PROGRESS};
use super::group::{Cache, Group};
use super::{Added, Store};
use crate::Error;
use crate::event::Event;
use crate::key::{from_end, numbers};
use crate::partition::{PARTITIONS, Share};
use crate::stream::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many publishers of partitions are kept in memory.
const KEPT: usize = 1 << 16;

/// A message of the stream.
pub(crate) struct Message {
    pub(crate) partition: u16,
    pub(crate) sequence: u64,
    /// When the stream stored it, in microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) entry: Entry,
}

impl Message {
    /// About how many events it has.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.entry.last - self.entry.first).unwrap_or(0) + 1
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was applied before.
    Before,
    /// Its events are stored.
    Added(Added),
    /// The event that a client appended is stored, and has a number.
    Appended(Box<Event>),
    /// Nothing is stored.
    Refused(Error),
}

/// Up to which message all messages of some partitions are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) sequence: u64,
    /// When the stream stored that message, in microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) share: Arc<Share>,
}

impl Progress {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = numbers([self.sequence, self.at]);
        let mut bits = vec![0; usize::from(PARTITIONS).div_ceil(8)];
        for partition in self.share.iter() {
            if let Some(byte) = bits.get_mut(usize::from(partition / 8)) {
                *byte |= 1 << (partition % 8);
            }
        }
        bytes.extend_from_slice(&bits);
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        let (two, bits) = bytes.split_at_checked(16).unwrap_or_default();
        let has = |partition: &u16| {
            let byte = bits.get(usize::from(partition / 8)).copied().unwrap_or(0);
            byte & (1 << (partition % 8)) != 0
        };
        Self {
            sequence: from_end(two, 1),
            at: from_end(two, 0),
            share: Arc::new((0..PARTITIONS).filter(has).collect()),
        }
    }
}

/// What was read of partitions.
#[derive(Default)]
pub(super) struct Parts {
    parts: HashMap<u16, Part>,
    /// The range with the greatest numbers of each publisher in each partition.
    newest: HashMap<(u16, u64), (u64, u64)>,
}

/// What is applied of a partition.
#[derive(Clone, Copy, Default)]
struct Part {
    /// That of the last message.
    sequence: u64,
    /// The time of the partition, in microseconds since 1970. It never goes back.
    moment: u64,
}

/// The changes of a group.
#[derive(Default)]
pub(super) struct Applying {
    /// The partition of the message that is being applied.
    pub(super) partition: u16,
    touched: BTreeSet<u16>,
    /// Partition, publisher, first: last.
    numbers: BTreeMap<(u16, u64, u64), u64>,
    progress: Option<Progress>,
}

impl Applying {
    /// The time of each partition that the group changes.
    pub(super) fn moments(&self, parts: &Parts) -> Vec<(u16, u64)> {
        let moment = |partition: &u16| {
            let part = parts.parts.get(partition);
            (*partition, part.map_or(0, |part| part.moment))
        };
        self.touched.iter().map(moment).collect()
    }
}

/// Ranges of numbers.
type Ranges = Vec<(u64, u64)>;

impl Group<'_> {
    /// Applies messages of a stream.
    ///
    /// # Errors
    /// [`Error::Unavailable`], after which the group must not be committed.
    pub(crate) fn apply_all(
        &mut self,
        messages: Vec<Message>,
        progress: Option<Progress>,
    ) -> Result<Vec<Applied>, Error> {
        let applied = messages.into_iter().map(|message| self.apply(message));
        let applied = applied.collect();
        if progress.is_some() {
            self.applying.progress = progress;
        }
        applied
    }

    fn apply(&mut self, message: Message) -> Result<Applied, Error> {
        let Message {
            partition,
            sequence,
            at,
            mut entry,
        } = message;
        let mut part = part(self.files, self.cache, partition)?;
        if sequence <= part.sequence {
            return Ok(Applied::Before);
        }
        part.sequence = sequence;
        // A new leader of the stream may have a clock that is behind.
        part.moment = part.moment.max(at);
        self.cache.parts.parts.insert(partition, part);
        self.applying.touched.insert(partition);
        self.applying.partition = partition;
        self.moment = part.moment;
        let before = self.receive(partition, entry.publisher, (entry.first, entry.last))?;
        let batch = entry.take();
        let checked = match self.check(&batch.events, &batch.mints) {
            Ok(checked) => checked,
            Err(invalid @ Error::Invalid(_)) => return Ok(Applied::Refused(invalid)),
            Err(other) => return Err(other),
        };
        if entry.appended {
            return self.apply_appended(batch.events.into_iter().next(), &entry, &before);
        }
        let stored = |index: usize| {
            let number = entry.number(index);
            let mut ranges = before.iter();
            ranges.any(|(first, last)| (first..=last).contains(&&number))
        };
        let added = if before.is_empty() {
            self.take(batch.events, &checked, None)
        } else {
            self.take(batch.events, &checked, Some(&stored))
        };
        Ok(Applied::Added(added?))
    }

    fn apply_appended(
        &mut self,
        event: Option<Event>,
        entry: &Entry,
        before: &Ranges,
    ) -> Result<Applied, Error> {
        let Some(event) = event.filter(|_| before.is_empty()) else {
            return Ok(Applied::Before);
        };
        match self.append(event, entry.expected) {
            Ok(event) => Ok(Applied::Appended(Box::new(event))),
            Err(conflict @ Error::Conflict { .. }) => Ok(Applied::Refused(conflict)),
            Err(other) => Err(other),
        }
    }

    /// Remembers numbers of a publisher. Returns those ranges of them and of their neighbours that were there before.
    fn receive(
        &mut self,
        partition: u16,
        publisher: u64,
        (first, last): (u64, u64),
    ) -> Result<Ranges, Error> {
        let newest = match self.cache.parts.newest.get(&(partition, publisher)) {
            Some(newest) => Some(*newest),
            None => self.ranges_to(partition, publisher, u64::MAX, 0)?.pop(),
        };
        if newest.is_none_or(|(_, end)| end < first) {
            let begin = match newest {
                Some((begin, end)) if end.saturating_add(1) == first => begin,
                _ => first,
            };
            self.remember(partition, publisher, (begin, last), true);
            return Ok(Vec::new());
        }
        // Those that end just before it or later, in order.
        let ranges = self.ranges_to(partition, publisher, last, first.saturating_sub(1))?;
        let mut begin = first;
        let mut previous: Option<(u64, u64)> = None;
        let beyond = (last.saturating_add(1), last.saturating_add(1));
        for (from, to) in ranges.iter().copied().chain([beyond]) {
            if from > begin {
                // Numbers without a range are added to the one that ends before them.
                let start = match previous {
                    Some((start, end)) if end.saturating_add(1) == begin => start,
                    _ => begin,
                };
                let is_newest = newest.is_some_and(|(_, end)| from > end);
                self.remember(partition, publisher, (start, from - 1), is_newest);
            }
            begin = begin.max(to.saturating_add(1));
            previous = Some((from, to));
        }
        let within = |(from, to): &(u64, u64)| *to >= first && *from <= last;
        Ok(ranges.into_iter().filter(within).collect())
    }

    fn remember(&mut self, partition: u16, publisher: u64, range: (u64, u64), newest: bool) {
        let place = (partition, publisher, range.0);
        self.applying.numbers.insert(place, range.1);
        if newest {
            let all = &mut self.cache.parts.newest;
            if all.len() > KEPT {
                all.clear();
            }
            all.insert((partition, publisher), range);
        }
    }

    /// The last ranges that begin at `to` or before and end at `from` or later, in order; only the last one if `to` is
    /// the greatest number.
    fn ranges_to(
        &self,
        partition: u16,
        publisher: u64,
        to: u64,
        from: u64,
    ) -> Result<Ranges, Error> {
        let mut ranges = BTreeMap::new();
        let wanted = |count: usize, end: u64| end >= from && (to < u64::MAX || count == 0);
        if let Some(stream) = &self.files.stream {
            let place = |first| place(partition, publisher, first);
            let stored = stream.numbers.range(place(0)..=place(to)).rev();
            for (count, entry) in stored.enumerate() {
                let (key, value) = entry.into_inner()?;
                let (first, last) = (from_end(&key, 0), from_end(&value, 0));
                if !wanted(count, last) {
                    break;
                }
                ranges.insert(first, last);
            }
        }
        // What this group has written goes before.
        let (low, high) = ((partition, publisher, 0), (partition, publisher, to));
        let written = self.applying.numbers.range(low..=high).rev();
        for (count, ((_, _, first), last)) in written.enumerate() {
            if !wanted(count, *last) {
                break;
            }
            ranges.insert(*first, *last);
        }
        Ok(ranges.into_iter().collect())
    }

    /// Adds what was applied to the group's changes.
    pub(super) fn commit_applied(&mut self) {
        let Some(stream) = &self.files.stream else {
            return;
        };
        for partition in &self.applying.touched {
            if let Some(part) = self.cache.parts.parts.get(partition) {
                let value = numbers([part.sequence, part.moment]);
                self.batch
                    .insert(&stream.partitions, partition.to_be_bytes(), value);
            }
        }
        for ((partition, publisher, first), last) in &self.applying.numbers {
            let place = place(*partition, *publisher, *first);
            self.batch.insert(&stream.numbers, place, numbers([*last]));
        }
        if let Some(progress) = &self.applying.progress {
            self.batch
                .insert(&stream.partitions, PROGRESS, progress.bytes());
        }
    }
}

fn place(partition: u16, publisher: u64, first: u64) -> Vec<u8> {
    let mut place = partition.to_be_bytes().to_vec();
    place.extend_from_slice(&numbers([publisher, first]));
    place
}

fn part(files: &Files, cache: &Cache, partition: u16) -> Result<Part, Error> {
    if let Some(part) = cache.parts.parts.get(&partition) {
        return Ok(*part);
    }
    let Some(stream) = &files.stream else {
        return Err(Error::Unavailable("this directory is of no stream".into()));
    };
    let stored = stream.partitions.get(partition.to_be_bytes())?;
    Ok(stored.map_or_else(Part::default, |bytes| Part {
        sequence: from_end(&bytes, 1),
        moment: from_end(&bytes, 0),
    }))
}

impl Store {
    /// The progress as it is stored.
    pub(crate) fn progress(&self) -> Result<Option<Progress>, Error> {
        self.read(|files| match &files.stream {
            None => Ok(None),
            Some(stream) => {
                let stored = stream.partitions.get(PROGRESS)?;
                Ok(stored.map(|bytes| Progress::read(&bytes)))
            }
        })
    }

    /// The sequence of the last message of a partition that was applied, or 0.
    pub(crate) fn applied(&self, partition: u16) -> Result<u64, Error> {
        self.read(|files| match &files.stream {
            None => Ok(0),
            Some(stream) => {
                let stored = stream.partitions.get(partition.to_be_bytes())?;
                Ok(stored.map_or(0, |bytes| from_end(&bytes, 1)))
            }
        })
    }
}
