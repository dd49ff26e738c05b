//! The sequences whose keys match a pattern. Each is opened when it is first needed.

use artisanal_core::Error;
use futures::lock::Mutex as AsyncMutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The opening of one sequence.
pub type Opening<S> = Pin<Box<dyn Future<Output = Result<S, Error>> + Send>>;

type Open<S> = Box<dyn Fn(&str) -> Opening<S> + Send + Sync>;

/// How many sequences may be read at a time that nobody has minted from or raised since they were opened.
/// They are closed after the read, so that reading fills no memory.
const READERS: usize = 64;

/// Open sequences, by key.
///
/// A sequence is *kept* once somebody has minted from it or raised it, and counts against the maximum. One that
/// is only read, or whose first mint failed, is closed as soon as nobody uses it any more.
pub(crate) struct Opened<S> {
    open: Open<S>,
    /// Whether a sequence may be closed and opened again. Not if it lives in the memory of its component.
    reopens: bool,
    most: usize,
    table: Mutex<Table<S>>,
}

/// Why a sequence cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many sequences are in use at the same time.
    Busy,
    /// There are as many sequences as there may be, and none of them may be closed.
    Full,
}

struct Table<S> {
    entries: BTreeMap<Arc<str>, Entry<S>>,
    /// Those that nobody uses, in the order since when.
    idle: BTreeMap<u64, Arc<str>>,
    /// How many entries are kept or about to be.
    kept: usize,
    releases: u64,
}

struct Entry<S> {
    slot: Arc<Slot<S>>,
    users: usize,
    /// Its place among the idle ones.
    idle: Option<u64>,
    /// Whether it counts against the maximum.
    counts: bool,
    /// Whether it was minted from or raised with success.
    changed: bool,
}

struct Slot<S> {
    /// Locked while the sequence is being opened.
    opening: AsyncMutex<()>,
    sequence: OnceLock<S>,
}

impl<S> Opened<S> {
    pub(crate) fn new(open: Open<S>, reopens: bool, most: usize) -> Self {
        Self {
            open,
            reopens,
            most,
            table: Mutex::new(Table {
                entries: BTreeMap::new(),
                idle: BTreeMap::new(),
                kept: 0,
                releases: 0,
            }),
        }
    }

    /// Takes the sequence of a key into use, to mint from it or raise it if `changes`, otherwise to read it.
    ///
    /// # Errors
    /// [`Refusal`] if there are too many sequences.
    pub(crate) fn take(&self, key: &str, changes: bool) -> Result<Use<'_, S>, Refusal> {
        let mut table = self.table();
        let counts = table.entries.get(key).is_some_and(|entry| entry.counts);
        if changes && !counts {
            table.make_room(self.most, self.reopens)?;
        }
        if !changes
            && !table.entries.contains_key(key)
            && table.entries.len() - table.kept >= READERS
        {
            return Err(Refusal::Busy);
        }
        let table = &mut *table;
        let key: Arc<str> = match table.entries.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => key.into(),
        };
        let entry = table.entries.entry(Arc::clone(&key)).or_default();
        if let Some(since) = entry.idle.take() {
            table.idle.remove(&since);
        }
        if changes && !entry.counts {
            entry.counts = true;
            table.kept += 1;
        }
        entry.users += 1;
        let slot = Arc::clone(&entry.slot);
        Ok(Use {
            opened: self,
            key,
            slot,
        })
    }

    /// The keys of the sequences that are kept: up to `most` of those that are `shown`, in order, after this
    /// one.
    pub(crate) fn keys(
        &self,
        after: &str,
        most: usize,
        shown: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        self.table()
            .entries
            .range::<str, _>((Bound::Excluded(after), Bound::Unbounded))
            .filter(|(key, entry)| entry.changed && shown(key))
            .take(most)
            .map(|(key, _)| key.to_string())
            .collect()
    }

    /// Ignores poisoning: the table is consistent at every point that could panic.
    fn table(&self) -> MutexGuard<'_, Table<S>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Table<S> {
    /// Closes the sequence that was not used for the longest time, if there are too many.
    fn make_room(&mut self, most: usize, reopens: bool) -> Result<(), Refusal> {
        if self.kept < most {
            return Ok(());
        }
        if !reopens {
            return Err(Refusal::Full);
        }
        let (_, key) = self.idle.pop_first().ok_or(Refusal::Busy)?;
        self.entries.remove(&key);
        self.kept -= 1;
        Ok(())
    }

    fn release(&mut self, key: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        if entry.changed {
            self.releases += 1;
            entry.idle = Some(self.releases);
            self.idle.insert(self.releases, Arc::clone(key));
            return;
        }
        if entry.counts {
            self.kept -= 1;
        }
        self.entries.remove(key);
    }
}

impl<S> Default for Entry<S> {
    fn default() -> Self {
        Self {
            slot: Arc::new(Slot {
                opening: AsyncMutex::new(()),
                sequence: OnceLock::new(),
            }),
            users: 0,
            idle: None,
            counts: false,
            changed: false,
        }
    }
}

/// A sequence in use. It is not closed before this is dropped.
pub(crate) struct Use<'a, S> {
    opened: &'a Opened<S>,
    key: Arc<str>,
    slot: Arc<Slot<S>>,
}

impl<S> Use<'_, S> {
    /// The sequence. All who use it at the same time share one opening; after a failure the next one tries
    /// again.
    pub(crate) async fn sequence(&self) -> Result<&S, Error> {
        if let Some(sequence) = self.slot.sequence.get() {
            return Ok(sequence);
        }
        let _turn = self.slot.opening.lock().await;
        if let Some(sequence) = self.slot.sequence.get() {
            return Ok(sequence);
        }
        let sequence = (self.opened.open)(&self.key).await?;
        Ok(self.slot.sequence.get_or_init(|| sequence))
    }

    /// Keeps the sequence open: it was minted from or raised.
    pub(crate) fn keep(&self) {
        if let Some(entry) = self.opened.table().entries.get_mut(&self.key) {
            entry.changed = true;
        }
    }
}

impl<S> Drop for Use<'_, S> {
    fn drop(&mut self) {
        self.opened.table().release(&self.key);
    }
}

#[cfg(test)]
mod tests;
