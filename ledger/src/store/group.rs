//! The changes of one group of batches, which become durable together.

mod events;
mod keys;

use super::claims::{self, Claim, Sweep};
use super::files::Files;
use super::partitions::{Applying, Parts};
use super::pending::Pending;
use super::received::Received;
use super::record::Record;
use super::{Added, Options};
use crate::Error;
use crate::columns::Mints;
use crate::event::Event;
use crate::frame::Batch;
use crate::key;
use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// How many keys and publishers are kept in memory between groups.
const KEPT: usize = 1 << 16;

/// How many runs keep their memory while no key needs them.
const IDLE: usize = 64;

/// What was read of keys and publishers, with the changes of the current group.
#[derive(Default)]
pub(crate) struct Cache {
    /// The place of each key in `keys`.
    places: HashMap<Box<str>, usize>,
    keys: Vec<Key>,
    publishers: HashMap<u64, Publisher>,
    /// One for each partition, or only that of partition 0 without a stream.
    sweeps: HashMap<u16, Sweep>,
    pub(super) parts: Parts,
    /// Runs that no key needs at the moment.
    #[expect(clippy::vec_box, reason = "they move between here and keys")]
    idle: Vec<Box<Pending>>,
}

/// A key in the cache.
#[derive(Default)]
pub(super) struct Key {
    name: Box<str>,
    pub(super) record: Record,
    changed: bool,
    /// The entries that this group adds to `spans`, for each class by the last integer: first, number.
    pub(super) added: Vec<BTreeMap<i64, (i64, u64)>>,
    /// The last mints, which are not in the group's changes yet.
    run: Option<Box<Pending>>,
}

/// The columns of a batch, which were looked at, with the place of each of their keys.
pub(super) struct Checked<'b> {
    blocks: Vec<(Mints<'b>, Vec<Option<usize>>)>,
    /// How many events the batch has.
    pub(super) count: usize,
}

/// A publisher in the cache.
#[derive(Default)]
struct Publisher {
    received: Received,
    changed: bool,
}

/// A group that is being made.
pub(crate) struct Group<'a> {
    pub(super) files: &'a Files,
    pub(super) cache: &'a mut Cache,
    pub(super) batch: OwnedWriteBatch,
    /// The keys and publishers that this group changes.
    touched: (Vec<usize>, Vec<u64>),
    /// The claims that this group adds.
    pub(super) claims: HashMap<Vec<u8>, Claim>,
    pub(super) options: Options,
    /// When the group began; with a stream, when the message was stored there that is being applied. In
    /// microseconds since 1970.
    pub(super) moment: u64,
    /// What it applies of a stream.
    pub(super) applying: Applying,
    /// The keys that got an increment and offset from the batch that is being checked, once for each.
    new_lattices: Vec<usize>,
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
}

impl<'a> Group<'a> {
    pub(crate) fn new(files: &'a Files, cache: &'a mut Cache, options: Options) -> Self {
        if cache.keys.len() > KEPT {
            cache.keys.clear();
            cache.places.clear();
        }
        if cache.publishers.len() > KEPT {
            cache.publishers.clear();
        }
        Self {
            batch: files.database.batch(),
            files,
            cache,
            touched: (Vec::new(), Vec::new()),
            claims: HashMap::new(),
            options,
            moment: claims::moment(),
            applying: Applying::default(),
            new_lattices: Vec::new(),
            events: 0,
            duplicates: 0,
        }
    }

    /// Adds the events of a batch that are not stored yet, and returns how many are stored already, and those that lost
    /// against an earlier one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing of it can be stored, ever. The group is still good after that error alone.
    pub(crate) fn add(&mut self, batch: Batch) -> Result<Added, Error> {
        let (id, first) = (batch.publisher, batch.first);
        let checked = self.check(&batch.events, &batch.mints)?;
        let last = first.saturating_add((checked.count as u64).saturating_sub(1));
        let publisher = self.publisher(id)?;
        let before = publisher.received.clone();
        publisher.received.add(first, last)?;
        if !std::mem::replace(&mut publisher.changed, true) {
            self.touched.1.push(id);
        }
        let stored = |index: usize| before.contains(first.saturating_add(index as u64));
        if before.touches(first, last) {
            self.take(batch.events, &checked, Some(&stored))
        } else {
            self.take(batch.events, &checked, None)
        }
    }

    /// Looks at everything that may be wrong with the events of a batch, before something is changed.
    ///
    /// # Errors
    /// [`Error::Invalid`], after which the group is as it was.
    pub(super) fn check<'b>(
        &mut self,
        events: &[Event],
        mints: &'b [Bytes],
    ) -> Result<Checked<'b>, Error> {
        self.new_lattices.clear();
        let checked = self.check_all(events, mints);
        if checked.is_err() {
            // What a group refuses must not depend on what was refused before.
            for place in std::mem::take(&mut self.new_lattices) {
                if let Some(key) = self.cache.keys.get_mut(place) {
                    key.record.lattices.pop();
                    key.added.pop();
                }
            }
        }
        checked
    }

    fn check_all<'b>(
        &mut self,
        events: &[Event],
        mints: &'b [Bytes],
    ) -> Result<Checked<'b>, Error> {
        let blocks: Result<Vec<_>, _> = mints.iter().map(|bytes| Mints::read(bytes)).collect();
        let blocks = blocks.map_err(|unfit| Error::Invalid(unfit.0))?;
        self.check_lattices(events)?;
        let mut places = Vec::new();
        for block in &blocks {
            places.push(self.check_block(block)?);
        }
        let count = events.len() + blocks.iter().map(Mints::count).sum::<usize>();
        Ok(Checked {
            blocks: blocks.into_iter().zip(places).collect(),
            count,
        })
    }

    /// Adds those events of a batch that are not `stored`, by their places in it.
    pub(super) fn take(
        &mut self,
        events: Vec<Event>,
        checked: &Checked<'_>,
        stored: Option<&dyn Fn(usize) -> bool>,
    ) -> Result<Added, Error> {
        let is_stored = |index| stored.is_some_and(|stored| stored(index));
        let mut added = Added::default();
        let mut events = events.into_iter();
        let mut index = 0;
        let mut passed = 0;
        for (block, places) in &checked.blocks {
            while passed < block.before()
                && let Some(event) = events.next()
            {
                self.add_event(event, index, is_stored(index), &mut added)?;
                passed += 1;
                index += 1;
            }
            let mut rows = block.rows();
            while let Some(row) = rows.next_placed() {
                let (row, [key, _]) = row.map_err(|unfit| Error::Invalid(unfit.0))?;
                if is_stored(index) {
                    added.duplicates += 1;
                } else if let Some(Some(place)) = places.get(key) {
                    self.mint(*place, &row)?;
                }
                index += 1;
            }
        }
        for event in events {
            self.add_event(event, index, is_stored(index), &mut added)?;
            index += 1;
        }
        self.duplicates += added.duplicates as u64;
        Ok(added)
    }

    /// Adds the event at this place of a batch, unless it is stored already.
    fn add_event(
        &mut self,
        event: Event,
        index: usize,
        stored: bool,
        added: &mut Added,
    ) -> Result<(), Error> {
        added.duplicates += usize::from(stored);
        match claims::of(&event) {
            // An event that was stored already may have lost as well, and its publisher did not get the answer.
            Some((place, mint)) => {
                let earlier = match self.claim(&place)? {
                    Some(claim) if claim.mint != mint => Some(claim),
                    _ => None,
                };
                added
                    .earlier
                    .extend(earlier.map(|claim| claim.earlier(index)));
                if !stored {
                    self.arbitrate(event, place, earlier)?;
                }
            }
            None if stored => {}
            None => drop(self.event(event)?),
        }
        Ok(())
    }

    /// Adds one event and returns it with its number.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key is not at event `expected`.
    pub(crate) fn append(&mut self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        let place = self.place(&event.key)?;
        let current = self.key(place)?.record.number;
        match expected {
            Some(expected) if expected != current => Err(Error::Conflict { current }),
            _ => self.event(event),
        }
    }

    pub(crate) fn snapshot(&mut self, key: Vec<u8>, state: Vec<u8>) {
        self.batch.insert(&self.files.snapshots, key, state);
    }

    /// Makes everything durable. After an error nobody knows what is stored, so the database has to be opened anew.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        self.commit_applied();
        let life = self.options.repeatable;
        let swept = match &self.files.stream {
            None => vec![(0, self.moment)],
            Some(_) => self.applying.moments(&self.cache.parts),
        };
        for (partition, moment) in swept {
            let sweep = self.cache.sweeps.entry(partition).or_default();
            let prefix = self.files.claim_prefix(partition);
            sweep.run(
                (self.files, &prefix),
                &mut self.batch,
                &self.claims,
                moment,
                life,
            )?;
        }
        for place in std::mem::take(&mut self.touched.0) {
            self.flush(place)?;
            if let Some(key) = self.cache.keys.get_mut(place) {
                key.changed = false;
                let record = key.record.encode_to_vec();
                self.batch
                    .insert(&self.files.keys, key::prefix(&key.name), record);
                key.added.iter_mut().for_each(BTreeMap::clear);
            }
        }
        for id in &self.touched.1 {
            if let Some(publisher) = self.cache.publishers.get_mut(id) {
                publisher.changed = false;
                let key = id.to_be_bytes();
                let bytes = publisher.received.bytes();
                self.batch.insert(&self.files.publishers, key, bytes);
            }
        }
        let batch = self.batch.durability(Some(PersistMode::SyncAll));
        Ok(batch.commit()?)
    }

    fn publisher(&mut self, id: u64) -> Result<&mut Publisher, Error> {
        if !self.cache.publishers.contains_key(&id) {
            let stored = self.files.publishers.get(id.to_be_bytes())?;
            let publisher = Publisher {
                received: stored.map_or_else(Received::default, |bytes| Received::read(&bytes)),
                changed: false,
            };
            self.cache.publishers.insert(id, publisher);
        }
        Ok(self.cache.publishers.entry(id).or_default())
    }
}
