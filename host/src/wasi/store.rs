//! The embedded store: one file of a `redb` database, one table per bucket.
//!
//! Every change is on disk before it is acknowledged. Changes that arrive during a commit share the next
//! commit. Only one process at a time may have the file open.
//!
//! After an I/O error (a full disk, for example) `redb` refuses every later transaction. The store
//! then reopens its file at the next use: see its module `file`.

mod error;
mod file;
mod inbox;
mod writer;

pub use error::StoreError;
pub(crate) use file::RESERVED as RESERVED_NAMES;
use file::StoreFile;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;
use writer::Writer;

/// The name of the database file in the data directory.
pub const FILE: &str = "integers.redb";

/// An open store. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    file: Arc<StoreFile>,
    writer: Arc<Writer>,
    gate: Arc<RwLock<()>>,
}

/// The table of a bucket, as of the last commit.
type Bucket = ReadOnlyTable<&'static str, &'static [u8]>;

/// The table of a bucket, inside a transaction.
type Entries<'a> = Table<'a, &'static str, &'static [u8]>;

impl Store {
    /// Opens the store in `directory`. Creates the directory and the file if they are missing. After each commit its
    /// thread polls for the next change for the time `busy_poll`, while that mostly pays off.
    ///
    /// # Errors
    /// When another process has the store open, or the directory or the file cannot be used.
    pub fn open(directory: &Path, busy_poll: Duration) -> Result<Self, StoreError> {
        let file = Arc::new(StoreFile::open(directory)?);
        Ok(Self {
            writer: Arc::new(Writer::start(Arc::clone(&file), busy_poll)?),
            file,
            gate: Arc::default(),
        })
    }

    /// The lock that every writer holds: shared for ordinary changes, exclusive to keep others out.
    ///
    /// Changes are correct without it. It lets one caller block all other writers for a moment: a
    /// compare-and-swap reads before it writes, and would fail forever if others write continuously.
    pub(crate) fn gate(&self) -> Arc<RwLock<()>> {
        Arc::clone(&self.gate)
    }

    /// The value of a key; None if the key does not exist.
    ///
    /// The pages of keys in use are in memory, so this reads on the caller's thread: every mint begins with a
    /// read, and waking a blocking thread takes longer than the read itself.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.file.try_read(|database| value(database, bucket, key)) {
            return Ok(value);
        }
        // The read failed, or the file is being opened anew or has to be, which takes long.
        let key = key.to_owned();
        let bucket = bucket.to_owned();
        self.on_blocking_thread(move |database| value(database, &bucket, &key))
            .await
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn keys(&self, bucket: &str) -> Result<Vec<String>, StoreError> {
        let bucket = bucket.to_owned();
        self.on_blocking_thread(move |database| {
            let Some(table) = bucket_table(database, &bucket)? else {
                return Ok(Vec::new());
            };
            table
                .iter()?
                .map(|entry| Ok(entry?.0.value().to_owned()))
                .collect()
        })
        .await
    }

    /// Runs `work` on a blocking thread, which may first have to open the file anew.
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || file.with(work))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// Makes one change, in a commit with other waiting changes, and returns once it is on disk.
    ///
    /// # Errors
    /// The error of `change`; or another one, after which the change may or may not be stored.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        bucket: &str,
        change: impl FnOnce(&mut Entries<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.change(bucket.to_owned(), change).await
    }

    /// Stores values and removes the keys whose value is None, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn set(
        &self,
        bucket: &str,
        values: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        self.change(bucket, move |table| {
            for (key, value) in values {
                match value {
                    Some(value) => drop(table.insert(&*key, &*value)?),
                    None => drop(table.remove(&*key)?),
                }
            }
            Ok(())
        })
        .await
    }

    /// Compare-and-swap: stores `value` if the key has the value `expected`, and returns whether it had.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn swap(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.change(bucket, move |table| {
            let holds = table.get(&*key)?.map(|found| found.value().to_vec()) == expected;
            if holds {
                table.insert(&*key, &*value)?;
            }
            Ok(holds)
        })
        .await
    }

    /// Adds `delta` to the integer under a key, or to 0 if the key does not exist, and returns the sum.
    ///
    /// # Errors
    /// [`StoreError::NotAnInteger`] and [`StoreError::Overflow`], after which nothing has changed; or when the
    /// file cannot be written.
    pub async fn increment(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, StoreError> {
        let key = key.to_owned();
        self.change(bucket, move |table| {
            let found = match table.get(&*key)? {
                None => 0,
                Some(value) => {
                    decode(value.value()).ok_or_else(|| StoreError::NotAnInteger(key.clone()))?
                }
            };
            let sum = found
                .checked_add(delta)
                .ok_or_else(|| StoreError::Overflow(key.clone()))?;
            table.insert(&*key, encode(sum).as_slice())?;
            Ok(sum)
        })
        .await
    }
}

/// What a bucket contains; None if nothing was ever stored in it.
fn bucket_table(database: &Database, bucket: &str) -> Result<Option<Bucket>, StoreError> {
    match database.begin_read()?.open_table(table(bucket)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn value(database: &Database, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(table) = bucket_table(database, bucket)? else {
        return Ok(None);
    };
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

fn table(bucket: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(bucket)
}

/// Encodes an integer as Spin's default store does, as eight little-endian bytes, so that an engine can
/// read both.
fn encode(value: i64) -> [u8; 8] {
    value.to_le_bytes()
}

fn decode(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests;
