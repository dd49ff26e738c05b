//! Which events are kept: as many of the last ones as have room.

use crate::reducer::Reducers;
use crate::store::{Files, Store};
use crate::{Error, key};
use fjall::{Keyspace, KeyspaceCreateOptions};

/// How many events are looked at to find out how old those are that are removed.
const SAMPLES: u64 = 4096;

/// What is left after a removal, in percent of the limit: not every new event brings the next one.
const LEFT: u64 = 90;

impl Store {
    /// How many bytes the tables of the database have on the disk. What was written last is not in them yet, but in a
    /// journal.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.read(|files| Ok(keyspaces(files)?.iter().map(Keyspace::disk_space).sum()))
    }

    /// Removes the oldest events of all keys if the tables have more than `most` bytes. Stores the states of a key before,
    /// and waits for the disk, for as long as it takes to write the tables anew. Returns how many events it removed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn trim_to(&self, most: u64, reducers: &Reducers) -> Result<u64, Error> {
        if self.disk_bytes()? <= most {
            return Ok(0);
        }
        // What was removed or replaced before must not count, or more would be removed than has to be.
        self.compact()?;
        let bytes = self.disk_bytes()?;
        if bytes <= most {
            return Ok(0);
        }
        let left = u128::from(most) * u128::from(LEFT) / 100;
        let Some(cutoff) = self.oldest(u128::from(bytes) - left, bytes.into())? else {
            return Ok(0);
        };
        let removed = self.trim(cutoff, reducers)?;
        self.compact()?;
        Ok(removed)
    }

    /// Writes the tables anew, without what was removed.
    pub(crate) fn compact(&self) -> Result<(), Error> {
        self.read(|files| {
            for keyspace in keyspaces(files)? {
                keyspace.rotate_memtable_and_wait()?;
                keyspace.major_compact()?;
            }
            Ok(())
        })
    }

    /// The time before which about `part` of `whole` of the events happened; None without events.
    fn oldest(&self, part: u128, whole: u128) -> Result<Option<i64>, Error> {
        let mut count = 0;
        self.each_key(|_, first, last| {
            count += last + 1 - first;
            Ok(())
        })?;
        // The numbers of all keys are one row, of which every `step`th is looked at.
        let step = (count / SAMPLES).max(1);
        let (mut before, mut next) = (0, 0);
        let mut times = Vec::new();
        self.each_key(|name, first, last| {
            let end = before + (last + 1 - first);
            while next < end {
                let page = self.events(name, first + (next - before), 1)?;
                times.extend(page.events.first().map(|event| event.at));
                next += step;
            }
            before = end;
            Ok(())
        })?;
        times.sort_unstable();
        let place = u128::try_from(times.len()).unwrap_or(0) * part / whole.max(1);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let place = place.min(times.len().saturating_sub(1));
        // At least the oldest ones, of which many may have one time.
        let oldest = times.first().copied();
        Ok(times.get(place).copied().map(|time| match oldest {
            Some(oldest) if oldest == time => time.saturating_add(1),
            _ => time,
        }))
    }

    /// Visits the keys that have events, with the numbers of the first and the last one.
    fn each_key(
        &self,
        mut visit: impl FnMut(&str, u64, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut after = Vec::new();
        loop {
            let names = self.names(&after)?;
            let Some(last) = names.last() else {
                return Ok(());
            };
            after = key::prefix(last);
            for name in &names {
                let page = self.events(name, 1, 1)?;
                if let Some(first) = page.events.first() {
                    visit(name, first.number, page.last)?;
                }
            }
        }
    }
}

/// All parts of the database.
fn keyspaces(files: &Files) -> Result<Vec<Keyspace>, Error> {
    let names = files.database.list_keyspace_names();
    let open = |name: &str| {
        files
            .database
            .keyspace(name, KeyspaceCreateOptions::default)
    };
    let all: Result<_, _> = names.iter().map(|name| open(name)).collect();
    Ok(all?)
}
