//! The embedded store: one file of a `redb` database, one table per bucket.
//!
//! Every change is committed with an fsync before it is answered. One process at a time may have
//! the file open.

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The name of the database file in the data directory.
pub const FILE: &str = "integers.redb";

/// Why the store could not be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the file.
    #[error(
        "the data directory {0} is in use by another process; stop that one, mint through it \
         (int-host serve), or choose another with --data DIR"
    )]
    InUse(PathBuf),
    /// The directory could not be made.
    #[error("cannot create the data directory {0}: {1}; choose another with --data DIR")]
    Directory(PathBuf, #[source] std::io::Error),
    /// The file is not a database, or is damaged, or the disk fails.
    #[error("cannot open the store {0}: {1}")]
    Open(PathBuf, #[source] DatabaseError),
    /// A transaction failed; nothing of it was stored.
    #[error("the embedded store failed: {0}")]
    Transaction(#[source] redb::Error),
    /// The value of a counter is not what `increment` writes.
    #[error("the value stored under {0:?} is not an integer of eight bytes")]
    NotAnInteger(String),
    /// The sum does not fit; the value is as it was.
    #[error("overflow: the value stored under {0:?} is too close to the greatest 64-bit integer")]
    Overflow(String),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Transaction(error.into())
    }
}

/// An open store. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    turn: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the store in `directory`, making both when they are missing.
    ///
    /// # Errors
    /// When another process has it open, or the directory or the file cannot be used.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|e| StoreError::Directory(directory.to_owned(), e))?;
        let file = directory.join(FILE);
        match Database::create(&file) {
            Ok(database) => Ok(Self {
                database: Arc::new(database),
                turn: Arc::default(),
            }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::InUse(directory.to_owned())),
            Err(error) => Err(StoreError::Open(file, error)),
        }
    }

    /// Waits for a turn among those who write, which come in the order they asked.
    ///
    /// Transactions need none to be right. The database's own lock is not fair, though: whoever has
    /// to read before it writes would rarely be the next one while others write all the time.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The value of a key; None when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.database.begin_read()?.open_table(table(bucket)) {
            Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>, StoreError> {
        match self.database.begin_read()?.open_table(table(bucket)) {
            Ok(table) => table
                .iter()?
                .map(|entry| Ok(entry?.0.value().to_owned()))
                .collect::<Result<_, StoreError>>(),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a value, or removes it when it is None.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub fn set(&self, bucket: &str, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.swap_if(bucket, key, value, |_| Ok(true)).map(drop)
    }

    /// Stores `value` if the key still has the value `expected`, and says whether it had.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub fn swap(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        self.swap_if(bucket, key, Some(value), |found| Ok(found == expected))
    }

    fn swap_if(
        &self,
        bucket: &str,
        key: &str,
        value: Option<&[u8]>,
        condition: impl FnOnce(Option<&[u8]>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let write = self.database.begin_write()?;
        let holds = {
            let mut table = write.open_table(table(bucket))?;
            let holds = condition(table.get(key)?.as_ref().map(|v| v.value()))?;
            if holds {
                match value {
                    Some(value) => drop(table.insert(key, value)?),
                    None => drop(table.remove(key)?),
                }
            }
            holds
        };
        if holds {
            write.commit()?
        } else {
            write.abort()?
        }
        Ok(holds)
    }

    /// Adds to the integer under a key, a missing one counting as 0, and returns the sum.
    ///
    /// # Errors
    /// [`StoreError::NotAnInteger`] and [`StoreError::Overflow`], or when the database fails;
    /// nothing is changed then.
    pub fn increment(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, StoreError> {
        let write = self.database.begin_write()?;
        let sum = {
            let mut table = write.open_table(table(bucket))?;
            let found = table
                .get(key)?
                .map(|value| decode(value.value()))
                .unwrap_or(Some(0));
            let sum = found
                .ok_or_else(|| StoreError::NotAnInteger(key.to_owned()))?
                .checked_add(delta)
                .ok_or_else(|| StoreError::Overflow(key.to_owned()))?;
            table.insert(key, encode(sum).as_slice())?;
            sum
        };
        write.commit()?;
        Ok(sum)
    }
}

fn table(bucket: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(bucket)
}

/// Integers are stored as Spin's default store stores them, eight bytes with the lowest first, so
/// that an engine can read them back alike.
fn encode(value: i64) -> [u8; 8] {
    value.to_le_bytes()
}

fn decode(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn increments_are_kept_across_restarts() {
        let (directory, store) = store();
        assert_eq!(store.increment("b", "k", 2).unwrap(), 2);
        assert_eq!(store.increment("b", "k", 2).unwrap(), 4);
        assert_eq!(store.increment("other", "k", 1).unwrap(), 1);
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.increment("b", "k", 2).unwrap(), 6);
        assert_eq!(store.keys("b").unwrap(), ["k"]);
    }

    #[test]
    fn an_overflow_changes_nothing() {
        let (_directory, store) = store();
        store.increment("b", "k", i64::MAX - 1).unwrap();
        assert!(matches!(
            store.increment("b", "k", 2),
            Err(StoreError::Overflow(_))
        ));
        assert_eq!(store.increment("b", "k", 1).unwrap(), i64::MAX);
    }

    #[test]
    fn garbage_is_refused_and_kept() {
        let (_directory, store) = store();
        store.set("b", "k", Some(b"12x")).unwrap();
        assert!(matches!(
            store.increment("b", "k", 2),
            Err(StoreError::NotAnInteger(_))
        ));
        assert_eq!(store.get("b", "k").unwrap().as_deref(), Some(&b"12x"[..]));
    }

    #[test]
    fn swaps_need_the_expected_value() {
        let (_directory, store) = store();
        assert!(store.swap("b", "k", None, b"1").unwrap());
        assert!(!store.swap("b", "k", None, b"2").unwrap());
        assert!(store.swap("b", "k", Some(b"1"), b"3").unwrap());
        assert_eq!(store.get("b", "k").unwrap().as_deref(), Some(&b"3"[..]));
        store.set("b", "k", None).unwrap();
        assert_eq!(store.get("b", "k").unwrap(), None);
    }

    #[test]
    fn a_second_opener_is_told_so() {
        let (directory, _store) = store();
        let error = Store::open(directory.path()).err().unwrap();
        assert!(matches!(error, StoreError::InUse(_)), "{error}");
    }
}
