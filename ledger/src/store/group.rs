//! The changes of one group of batches, which become durable together.

use super::claims::{self, Claim, Sweep};
use super::files::{Files, UNUSED};
use super::received::Received;
use super::record::{Class, MAX_LATTICES, Record};
use super::{Added, Options};
use crate::Error;
use crate::event::{Event, Payload};
use crate::frame::Batch;
use crate::key::{self, from_end, signed, unsigned};
use fjall::{OwnedWriteBatch, PersistMode};
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// How many keys and publishers are kept in memory between groups.
const KEPT: usize = 1 << 16;

/// What was read of keys and publishers, with the changes of the current group.
#[derive(Default)]
pub(crate) struct Cache {
    keys: HashMap<String, Key>,
    publishers: HashMap<u64, Publisher>,
    sweep: Sweep,
}

#[derive(Default)]
struct Key {
    record: Record,
    changed: bool,
    /// The entries that this group adds to `spans`, for each class by the last integer: first, number.
    added: Vec<BTreeMap<i64, (i64, u64)>>,
}

#[derive(Default)]
struct Publisher {
    received: Received,
    changed: bool,
}

/// A group that is being made.
pub(crate) struct Group<'a> {
    pub(super) files: &'a Files,
    cache: &'a mut Cache,
    pub(super) batch: OwnedWriteBatch,
    /// The keys and publishers that this group changes.
    touched: (Vec<String>, Vec<u64>),
    /// The claims that this group adds.
    pub(super) claims: HashMap<Vec<u8>, Claim>,
    pub(super) options: Options,
    /// When the group began.
    pub(super) moment: u64,
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
}

impl<'a> Group<'a> {
    pub(crate) fn new(files: &'a Files, cache: &'a mut Cache, options: Options) -> Self {
        if cache.keys.len() > KEPT {
            cache.keys.clear();
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
        let Batch {
            publisher: id,
            first,
            events,
            ..
        } = batch;
        let last = first.saturating_add((events.len() as u64).saturating_sub(1));
        let before = self.publisher(id)?.received.clone();
        self.check_lattices(&events)?;
        let publisher = self.publisher(id)?;
        publisher.received.add(first, last)?;
        if !std::mem::replace(&mut publisher.changed, true) {
            self.touched.1.push(id);
        }
        let mut added = Added::default();
        for (index, (number, event)) in (first..=last).zip(events).enumerate() {
            let stored = before.contains(number);
            added.duplicates += usize::from(stored);
            let claim = claims::of(&event);
            match claim {
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
        }
        self.duplicates += added.duplicates as u64;
        Ok(added)
    }

    /// Adds one event and returns it with its number.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key is not at event `expected`.
    pub(crate) fn append(&mut self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        let current = self.key(&event.key)?.record.number;
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
        let life = self.options.repeatable;
        self.cache
            .sweep
            .run(self.files, &mut self.batch, &self.claims, self.moment, life)?;
        for key in &self.touched.0 {
            if let Some(state) = self.cache.keys.get_mut(key) {
                state.changed = false;
                let record = state.record.encode_to_vec();
                self.batch
                    .insert(&self.files.keys, key::prefix(key), record);
                state.added.iter_mut().for_each(BTreeMap::clear);
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

    /// The record of a key that the group changes.
    pub(super) fn change(&mut self, name: &str) -> Result<&mut Record, Error> {
        let key = self.key(name)?;
        if !std::mem::replace(&mut key.changed, true) {
            self.touched.0.push(name.to_owned());
        }
        Ok(&mut self.key(name)?.record)
    }

    fn key(&mut self, key: &str) -> Result<&mut Key, Error> {
        if !self.cache.keys.contains_key(key) {
            let stored = self.files.keys.get(key::prefix(key))?;
            let record = match stored {
                Some(bytes) => Record::read(&bytes)?,
                None => Record::default(),
            };
            let state = Key {
                added: vec![BTreeMap::new(); record.lattices.len()],
                record,
                changed: false,
            };
            self.cache.keys.insert(key.to_owned(), state);
        }
        // The entry exists; its name is not allocated again.
        match self.cache.keys.get_mut(key) {
            Some(state) => Ok(state),
            None => Err(Error::Unavailable("a key is missing".into())),
        }
    }

    /// Refuses a batch after which a key would have too many increments and offsets.
    fn check_lattices(&mut self, events: &[Event]) -> Result<(), Error> {
        for event in events {
            let Some(Payload::Mint(mint)) = &event.payload else {
                continue;
            };
            let residue = mint.first % mint.step.max(1);
            let key = self.key(&event.key)?;
            let known = key
                .record
                .lattices
                .iter()
                .any(|class| class.step == mint.step && class.residue == residue);
            if known {
                continue;
            }
            if key.record.lattices.len() >= MAX_LATTICES {
                return Err(Error::Invalid(format!(
                    "the mints of a key have more than {MAX_LATTICES} increments and offsets"
                )));
            }
            // An entry without mints does no harm if another event of the batch is refused.
            key.record.lattices.push(Class {
                step: mint.step,
                residue,
                greatest: 0,
            });
            key.added.push(BTreeMap::new());
        }
        Ok(())
    }

    pub(super) fn event(&mut self, mut event: Event) -> Result<Event, Error> {
        let record = self.change(&event.key)?;
        record.number = record.number.saturating_add(1);
        let number = record.number;
        event.number = number;
        let files = self.files;
        match &event.payload {
            Some(Payload::Mint(mint)) => {
                if let Some(span) = mint.span() {
                    self.index(&event.key, span.first(), span.last(), span.step(), number)?;
                }
            }
            Some(Payload::Lost(lost)) => {
                let place = key::with(&event.key, &[unsigned(lost.last), number]);
                let first = key::numbers([unsigned(lost.first)]);
                self.batch.insert(&files.notes, place, first);
            }
            Some(Payload::Raise(raise)) => {
                let place = key::with(&event.key, &[unsigned(raise.last), number]);
                self.batch.insert(&files.notes, place, key::numbers([0]));
            }
            Some(Payload::Unused(unused)) => {
                if let Some(span) = unused.span() {
                    let place = key::with(&event.key, &[unsigned(span.last()), number]);
                    let value =
                        key::numbers([unsigned(span.step()), unsigned(span.first()), UNUSED]);
                    self.batch.insert(&files.notes, place, value);
                }
            }
            Some(Payload::Json(_)) | None => {}
        }
        let place = key::with(&event.key, &[number]);
        self.batch
            .insert(&files.events, place, event.encode_to_vec());
        self.events += 1;
        Ok(event)
    }

    /// Adds the integers of a mint to the index: those that no earlier event has as entries, the others as doubles.
    fn index(
        &mut self,
        name: &str,
        first: i64,
        last: i64,
        step: i64,
        number: u64,
    ) -> Result<(), Error> {
        let files = self.files;
        let key = match self.cache.keys.get_mut(name) {
            Some(key) => key,
            None => return Err(Error::Unavailable("a key is missing".into())),
        };
        let residue = first % step;
        let found = key
            .record
            .lattices
            .iter()
            .position(|class| class.step == step && class.residue == residue);
        let at = match found {
            Some(at) => at,
            None => {
                key.record.lattices.push(Class {
                    step,
                    residue,
                    greatest: 0,
                });
                key.added.push(BTreeMap::new());
                key.record.lattices.len() - 1
            }
        };
        if key.record.smallest == 0 || first < key.record.smallest {
            key.record.smallest = first;
        }
        let (Some(class), Some(added)) = (key.record.lattices.get_mut(at), key.added.get_mut(at))
        else {
            return Err(Error::Unavailable("a class is missing".into()));
        };
        let place = |last: i64| key::with(name, &[step, residue, last].map(unsigned));
        // Spans mostly arrive in ascending order, and then nothing has to be read.
        let mut others = Vec::new();
        if first <= class.greatest {
            let end = place(i64::MAX);
            for entry in files.spans.range(place(first)..=end) {
                let (key, value) = entry.into_inner()?;
                let other = (signed(from_end(&value, 1)), signed(from_end(&key, 0)));
                if other.0 > last {
                    break;
                }
                others.push(other);
            }
            for (end, (begin, _)) in added.range(first..) {
                if *begin > last {
                    break;
                }
                others.push((*begin, *end));
            }
            others.sort_unstable();
        }
        class.greatest = class.greatest.max(last);
        let mut rest = Some(first);
        let mut pieces = Vec::new();
        for (begin, end) in others {
            let Some(from) = rest else { break };
            if from < begin {
                pieces.push((from, begin - step));
            }
            let double = key::with(name, &[unsigned(end.min(last)), number]);
            let value = key::numbers([unsigned(from.max(begin)), unsigned(step)]);
            self.batch.insert(&files.doubles, double, value);
            rest = end.checked_add(step);
        }
        if let Some(from) = rest.filter(|from| *from <= last) {
            pieces.push((from, last));
        }
        for (from, to) in pieces {
            added.insert(to, (from, number));
            let value = key::numbers([unsigned(from), number]);
            self.batch.insert(&files.spans, place(to), value);
        }
        Ok(())
    }
}
