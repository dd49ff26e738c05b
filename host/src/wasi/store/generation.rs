//! One generation of the store: a database with all values. Each commit is appended to its journal.
//!
//! The database, an LSM tree, lets its journal grow to 64 MB, and reads all of it when it is opened. So a generation is
//! replaced after a few megabytes ([`Generation::is_full`]), which keeps the start of a process short.

use super::error::StoreError;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The size of the journal at which a generation is replaced, in bytes; more if it has many entries.
const FULL: u64 = 8 << 20;

/// The same for a generation that was opened again: its journal is no longer allocated in advance, so that each commit
/// takes longer.
const FULL_REOPENED: u64 = 64 << 10;

/// How many bytes the journal takes for an entry beside its key and value, approximately.
const ENTRY: u64 = 16;

/// How many entries are copied at a time.
const COPIED: usize = 1000;

/// The size of the cache for blocks of files, in bytes. Only stores with many entries have such files.
const CACHE: u64 = 4 << 20;

/// The key of the count of commits. Bucket names are shorter, see [`key`].
const COMMITS: &[u8] = &[u8::MAX; 2];

/// The maximum length of a bucket's name, in bytes.
const MOST_BUCKET: usize = 255;

/// The maximum length of a key, in bytes: that of the database is 65 535 with the name of the bucket.
const MOST_KEY: usize = 65_000;

/// An open database.
pub(super) struct Generation {
    database: Database,
    values: Keyspace,
    /// The size of the journal, in bytes, approximately.
    written: AtomicU64,
    /// The size of the journal at which it is full.
    limit: u64,
}

impl Generation {
    /// Makes a new database with these entries, all of which are on disk when this returns.
    pub(super) fn create(
        path: &Path,
        entries: impl Iterator<Item = Result<Entry, StoreError>>,
    ) -> Result<Self, StoreError> {
        let mut new = Self::at(path)?;
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let mut batch = new.database.batch().durability(None);
            for entry in entries.by_ref().take(COPIED) {
                let (key, value) = entry?;
                *new.written.get_mut() += size(&key, &value);
                batch.insert(&new.values, key, value);
            }
            batch.commit()?;
        }
        new.database.persist(PersistMode::SyncAll)?;
        new.limit = limit(FULL, *new.written.get_mut());
        Ok(new)
    }

    /// Opens a database that exists.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        // The library would make a new, empty one, which would restart every sequence.
        if !path.join("version").try_exists()? {
            let missing = format!("the database {} is missing", path.display());
            return Err(io::Error::other(missing).into());
        }
        let mut opened = Self::at(path)?;
        let mut bytes = 0;
        for entry in opened.entries() {
            let (key, value) = entry?;
            bytes += size(&key, &value);
        }
        opened.limit = limit(FULL_REOPENED, bytes);
        for file in std::fs::read_dir(path)? {
            let file = file?;
            if file.path().extension().is_some_and(|kind| kind == "jnl") {
                *opened.written.get_mut() += file.metadata()?.len();
            }
        }
        Ok(opened)
    }

    fn at(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .worker_threads(1)
            .cache_size(CACHE)
            .open()?;
        let values = database.keyspace("values", KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            values,
            written: AtomicU64::new(0),
            limit: FULL,
        })
    }

    /// The value of a key that [`key`] made; None if it does not exist.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values.get(key)?.map(|value| value.to_vec()))
    }

    /// The keys of a bucket, in order.
    pub(super) fn keys(&self, bucket: &str) -> Result<Vec<String>, StoreError> {
        let prefix = key(bucket, "")?;
        let entries = self.values.prefix(&prefix).map(|entry| {
            let found = entry.key()?;
            Ok(String::from_utf8_lossy(&found[prefix.len()..]).into_owned())
        });
        entries.collect()
    }

    /// All that is stored, to be copied.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> {
        self.values.iter().map(|entry| {
            let (key, value) = entry.into_inner()?;
            Ok((key.to_vec(), value.to_vec()))
        })
    }

    /// Stores changes and returns once they are on disk, with the count of commits.
    ///
    /// Only one thread at a time may call this, since otherwise the count could go back.
    pub(super) fn commit(
        &self,
        changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<u64, StoreError> {
        let commits = self.commits()? + 1;
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        let count = (COMMITS.to_vec(), Some(commits.to_be_bytes().to_vec()));
        let mut bytes = 0;
        for (key, value) in changes.chain([count]) {
            bytes += size(&key, value.as_deref().unwrap_or_default());
            match value {
                Some(value) => batch.insert(&self.values, key, value),
                None => batch.remove(&self.values, key),
            }
        }
        batch.commit()?;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(commits)
    }

    /// How many commits there were, in this generation and in all before it.
    pub(super) fn commits(&self) -> Result<u64, StoreError> {
        let Some(count) = self.get(COMMITS)? else {
            return Ok(0);
        };
        let count = count.try_into().map(u64::from_be_bytes);
        count.map_err(|_| io::Error::from(io::ErrorKind::InvalidData).into())
    }

    /// Whether it should be replaced by a copy.
    pub(super) fn is_full(&self) -> bool {
        self.written.load(Ordering::Relaxed) > self.limit
    }

    /// Delays its replacement, which has failed, until as much was written again.
    pub(super) fn delay_replacement(&self) {
        self.written.store(0, Ordering::Relaxed);
    }
}

/// A key that [`key`] made, and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// The key in the database: the length of the bucket's name in two bytes, big-endian, the name, and the key.
pub(super) fn key(bucket: &str, key: &str) -> Result<Vec<u8>, StoreError> {
    if bucket.len() > MOST_BUCKET {
        return Err(StoreError::TooLong("bucket names", MOST_BUCKET));
    }
    if key.len() > MOST_KEY {
        return Err(StoreError::TooLong("keys", MOST_KEY));
    }
    let length = u16::try_from(bucket.len()).unwrap_or(u16::MAX);
    Ok([&length.to_be_bytes(), bucket.as_bytes(), key.as_bytes()].concat())
}

/// The size of the journal at which a generation with entries of this size is full: most of the bytes written must be
/// changes, not copies.
fn limit(least: u64, entries: u64) -> u64 {
    least.max(entries.saturating_mul(3))
}

/// How many bytes of the journal an entry takes, approximately.
fn size(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX) + ENTRY
}
