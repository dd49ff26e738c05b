//! The embedded store: a folder with the values of all buckets, in an LSM database (`fjall`) with a journal.
//!
//! Every change is on disk before it is acknowledged. Changes that arrive during a commit share the next
//! commit. Only one process at a time may have the folder open.
//!
//! After an I/O error (a full disk, for example) the database refuses every later change. The store
//! then replaces it at the next use: see its module `folder`.

mod changes;
mod current;
mod error;
mod folder;
mod generation;
mod legacy;
mod queue;
mod writer;

use changes::Entries;
pub use error::{Cause, StoreError};
use folder::Folder;
use generation::Generation;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::RwLock;
use writer::Writer;

/// An open store. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    folder: Arc<Folder>,
    writer: Arc<Writer>,
    gate: Arc<RwLock<()>>,
}

impl Store {
    /// Opens the store in `directory`. Creates the directory and the store if they are missing.
    ///
    /// # Errors
    /// When another process has the store open, or the directory or the store cannot be used.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let folder = Arc::new(Folder::open(directory)?);
        Ok(Self {
            writer: Arc::new(Writer::start(Arc::clone(&folder))?),
            folder,
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
    /// The values in use are in memory, so this reads on the caller's thread: every mint begins with a
    /// read, and waking a blocking thread takes longer than the read itself.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = generation::key(bucket, key)?;
        if let Some(value) = self.folder.try_read(|generation| generation.get(&key)) {
            return Ok(value);
        }
        // The read failed, or the database is being replaced or has to be, which takes long.
        self.on_blocking_thread(move |generation| generation.get(&key))
            .await
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn keys(&self, bucket: &str) -> Result<Vec<String>, StoreError> {
        let bucket = bucket.to_owned();
        self.on_blocking_thread(move |generation| generation.keys(&bucket))
            .await
    }

    /// Runs `work` on a blocking thread, which may first have to open the store again.
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Generation) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || folder.with(work))
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
        change: impl FnOnce(&mut Entries<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.change(bucket.to_owned(), change).await
    }

    /// Stores values and removes the keys whose value is None, atomically.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set(
        &self,
        bucket: &str,
        values: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        for (key, _) in &values {
            generation::key(bucket, key)?;
        }
        self.change(bucket, move |entries| {
            values
                .into_iter()
                .try_for_each(|(key, value)| entries.put(&key, value))
        })
        .await
    }

    /// Compare-and-swap: stores `value` if the key has the value `expected`, and returns whether it had.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn swap(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.change(bucket, move |entries| {
            let holds = entries.get(&key)? == expected;
            if holds {
                entries.put(&key, Some(value))?;
            }
            Ok(holds)
        })
        .await
    }

    /// Adds `delta` to the integer under a key, or to 0 if the key does not exist, and returns the sum.
    ///
    /// # Errors
    /// [`StoreError::NotAnInteger`] and [`StoreError::Overflow`], after which nothing has changed; or when the
    /// store cannot be written.
    pub async fn increment(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, StoreError> {
        let key = key.to_owned();
        self.change(bucket, move |entries| {
            let found = match entries.get(&key)? {
                None => 0,
                Some(value) => {
                    decode(&value).ok_or_else(|| StoreError::NotAnInteger(key.clone()))?
                }
            };
            let sum = found
                .checked_add(delta)
                .ok_or_else(|| StoreError::Overflow(key.clone()))?;
            entries.put(&key, Some(encode(sum).to_vec()))?;
            Ok(sum)
        })
        .await
    }
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
