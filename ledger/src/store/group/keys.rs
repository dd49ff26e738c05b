//! The records of the keys that a group changes.

use super::{Group, Key};
use crate::Error;
use crate::columns::Mints;
use crate::event::Event;
use crate::key;
use crate::store::record::{Class, MAX_LATTICES, Record};
use artisanal_core::Span;
use std::collections::BTreeMap;

impl Group<'_> {
    /// The record of a key that the group changes.
    pub(in crate::store) fn change(&mut self, name: &str) -> Result<&mut Record, Error> {
        let place = self.place(name)?;
        self.touch(place)
    }

    pub(super) fn touch(&mut self, place: usize) -> Result<&mut Record, Error> {
        if !std::mem::replace(&mut self.key(place)?.changed, true) {
            self.touched.0.push(place);
        }
        Ok(&mut self.key(place)?.record)
    }

    /// The place of a key in the cache.
    pub(super) fn place(&mut self, name: &str) -> Result<usize, Error> {
        if let Some(place) = self.cache.places.get(name) {
            return Ok(*place);
        }
        let stored = self.files.keys.get(key::prefix(name))?;
        let record = match stored {
            Some(bytes) => Record::read(&bytes)?,
            None => Record::default(),
        };
        let place = self.cache.keys.len();
        self.cache.keys.push(Key {
            name: name.into(),
            added: vec![BTreeMap::new(); record.lattices.len()],
            record,
            ..Key::default()
        });
        self.cache.places.insert(name.into(), place);
        Ok(place)
    }

    pub(super) fn key(&mut self, place: usize) -> Result<&mut Key, Error> {
        let key = self.cache.keys.get_mut(place);
        key.ok_or_else(|| Error::Unavailable("a key is missing".into()))
    }

    /// Refuses a batch after which a key would have too many increments and offsets.
    pub(super) fn check_lattices(&mut self, events: &[Event]) -> Result<(), Error> {
        for event in events {
            if let Some(span) = event.span() {
                let place = self.place(&event.key)?;
                self.check_lattice(place, span)?;
            }
        }
        Ok(())
    }

    fn check_lattice(&mut self, place: usize, span: Span) -> Result<(), Error> {
        if self.key(place)?.check_lattice(span)? {
            self.new_lattices.push(place);
        }
        Ok(())
    }

    /// The same for mints in columns. Returns the place of each of their keys, by the number of its name.
    pub(super) fn check_block(&mut self, block: &Mints<'_>) -> Result<Vec<Option<usize>>, Error> {
        let mut places = Vec::new();
        let mut rows = block.rows();
        while let Some(row) = rows.next_placed() {
            let (row, [number, _]) = row.map_err(|unfit| Error::Invalid(unfit.0))?;
            if row.key.is_empty() {
                return Err(Error::Invalid("a mint without a key".into()));
            }
            if number >= places.len() {
                places.resize(number + 1, None);
            }
            let place = match places.get(number) {
                Some(Some(place)) => *place,
                _ => {
                    let place = self.place(row.key)?;
                    if let Some(known) = places.get_mut(number) {
                        *known = Some(place);
                    }
                    place
                }
            };
            self.check_lattice(place, row.span)?;
        }
        Ok(places)
    }
}

impl Key {
    /// Makes room for the increment and offset of a span. Returns whether they are new.
    fn check_lattice(&mut self, span: Span) -> Result<bool, Error> {
        let (step, residue) = (span.step(), span.first() % span.step());
        let lattices = &mut self.record.lattices;
        let known = |class: &Class| class.step == step && class.residue == residue;
        if lattices.iter().any(known) {
            return Ok(false);
        }
        if lattices.len() >= MAX_LATTICES {
            return Err(Error::Invalid(format!(
                "the mints of a key have more than {MAX_LATTICES} increments and offsets"
            )));
        }
        lattices.push(Class {
            step,
            residue,
            greatest: 0,
        });
        self.added.push(BTreeMap::new());
        Ok(true)
    }
}
