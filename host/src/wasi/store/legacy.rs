//! The file of version 0.1, in which the store was before.
//!
//! Its content is copied once. Then a short text takes its place, in new data directories as well: version 0.1 cannot
//! open that, and without the file it would begin every sequence anew.

use super::error::StoreError;
use super::generation::{Entry, key};
use crate::files;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of version 0.1.
const FILE: &str = "integers.redb";

/// Its name once its content was copied, until it is removed.
const COPIED: &str = "integers.redb.copied";

/// What takes its place.
const NOTE: &str = "The sequences of this directory are in the folder `integers`.\n\
    This file keeps int-host 0.1 from starting here, which would repeat integers. Leave it in place.\n";

/// Tables that begin with this are not buckets.
const RESERVED: char = '\0';

/// What stands in the place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The text that keeps version 0.1 from starting.
    Note,
    /// A file of version 0.1.
    Store,
}

/// The place of the file in a data directory.
pub(super) struct Legacy {
    file: PathBuf,
    copied: PathBuf,
}

impl Legacy {
    pub(super) fn within(directory: &Path) -> Self {
        Self {
            file: directory.join(FILE),
            copied: directory.join(COPIED),
        }
    }

    /// What is in the place of the file.
    pub(super) fn find(&self) -> Result<Found, StoreError> {
        let failed = |error: io::Error| StoreError::open(&self.file, error);
        let file = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            file => file.map_err(failed)?,
        };
        let mut begin = Vec::new();
        let most = u64::try_from(NOTE.len()).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut begin).map_err(failed)?;
        Ok(match begin.as_slice() {
            // What version 0.1 leaves when it is killed as soon as it has made the file.
            [] => Found::Nothing,
            begin if begin == NOTE.as_bytes() => Found::Note,
            _ => Found::Store,
        })
    }

    /// Whether a process that was killed had begun to set the file aside.
    pub(super) fn is_set_aside(&self) -> Result<bool, StoreError> {
        let exists = self.copied.try_exists();
        exists.map_err(|error| StoreError::open(&self.copied, error))
    }

    /// All entries of the file, and the file itself, which no other process can open until it is dropped.
    pub(super) fn entries(
        &self,
        directory: &Path,
    ) -> Result<(Vec<Entry>, Option<redb::Database>), StoreError> {
        let path = match (self.find()? == Found::Store, self.is_set_aside()?) {
            (true, true) if !self.is_one()? => {
                return Err(StoreError::Twice(directory.to_owned()));
            }
            (_, true) => &self.copied,
            (true, false) => &self.file,
            (false, false) => return Ok((Vec::new(), None)),
        };
        let database = redb::Database::open(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(directory.to_owned()),
            error => StoreError::Open(path.clone(), Arc::new(error)),
        })?;
        let entries = read(&database).map_err(|error| StoreError::open(path, error))?;
        Ok((entries, Some(database)))
    }

    /// Whether both names are those of one file.
    fn is_one(&self) -> Result<bool, StoreError> {
        same_file::is_same_file(&self.file, &self.copied)
            .map_err(|error| StoreError::open(&self.file, error))
    }

    /// Gives the file, whose content was copied, another name, and puts the note in its place. There is always one of them,
    /// so version 0.1 never begins anew, provided that the file system has hard links.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        if !matches!(self.find(), Ok(Found::Store)) {
            return Ok(());
        }
        match std::fs::hard_link(&self.file, &self.copied) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                std::fs::rename(&self.file, &self.copied)?;
            }
            _ => {}
        }
        files::replace(&self.file, NOTE.as_bytes())
    }

    /// Puts the note where the file would be, and removes the file itself.
    pub(super) fn replace(&self) -> io::Result<()> {
        if !matches!(self.find(), Ok(Found::Note)) {
            files::replace(&self.file, NOTE.as_bytes())?;
        }
        super::folder::remove(std::fs::remove_file(&self.copied))
    }
}

fn read(database: &redb::Database) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let read = database.begin_read().map_err(failed)?;
    for table in read.list_tables().map_err(failed)? {
        let bucket = table.name().to_owned();
        if bucket.starts_with(RESERVED) {
            continue;
        }
        let definition = TableDefinition::<&str, &[u8]>::new(&bucket);
        let table = read.open_table(definition).map_err(failed)?;
        for entry in table.iter().map_err(failed)? {
            let (name, value) = entry.map_err(failed)?;
            entries.push((key(&bucket, name.value())?, value.value().to_vec()));
        }
    }
    Ok(entries)
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(Arc::new(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    const COUNTS: TableDefinition<'_, (), u64> = TableDefinition::new("\0commits");

    /// Makes a file as version 0.1 does.
    fn old_store(directory: &Path, mark: i64) -> redb::Database {
        let database = redb::Database::create(directory.join(FILE)).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(COUNTS).unwrap().insert((), 7).unwrap();
        for bucket in ["default", "other"] {
            let table = TableDefinition::<&str, &[u8]>::new(bucket);
            let mut table = write.open_table(table).unwrap();
            let value = mark.to_le_bytes();
            table.insert("integers", value.as_slice()).unwrap();
        }
        write.commit().unwrap();
        database
    }

    fn open(directory: &Path) -> Result<Store, StoreError> {
        Store::open(directory)
    }

    #[tokio::test]
    async fn sequences_of_version_0_1_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let old = old_store(directory.path(), 40);
        let in_use = open(directory.path()).err().unwrap();
        assert!(matches!(in_use, StoreError::InUse(_)), "{in_use}");
        drop(old);
        for sum in [42, 44] {
            let store = open(directory.path()).unwrap();
            let found = store.increment("default", "integers", 2).await.unwrap();
            assert_eq!(found, sum);
        }
        let store = open(directory.path()).unwrap();
        assert_eq!(store.increment("other", "integers", 1).await.unwrap(), 41);
        assert!(!directory.path().join(COPIED).exists());
    }

    #[test]
    fn version_0_1_cannot_start_where_this_one_was() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        assert!(redb::Database::create(directory.path().join(FILE)).is_err());
        drop(open(directory.path()).unwrap());
    }

    #[test]
    fn sequences_that_are_there_twice_are_not_minted_from() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        std::fs::remove_file(directory.path().join(FILE)).unwrap();
        drop(old_store(directory.path(), 40));
        let error = open(directory.path()).err().unwrap();
        assert!(matches!(error, StoreError::Twice(_)), "{error}");
    }

    #[tokio::test]
    async fn a_copy_that_was_interrupted_is_made_again() {
        let interrupted: [fn(&Path); 3] = [
            |_| {},
            |directory| std::fs::hard_link(directory.join(FILE), directory.join(COPIED)).unwrap(),
            |directory| Legacy::within(directory).set_aside().unwrap(),
        ];
        for interrupt in interrupted {
            let directory = tempfile::tempdir().unwrap();
            drop(old_store(directory.path(), 40));
            // Killed before the new store was ready, with its first generation half made.
            let half = directory.path().join("integers/1");
            std::fs::create_dir_all(&half).unwrap();
            std::fs::write(half.join("0.jnl"), b"half of it").unwrap();
            interrupt(directory.path());
            let store = open(directory.path()).unwrap();
            let sum = store.increment("default", "integers", 2).await.unwrap();
            assert_eq!(sum, 42);
            assert!(!directory.path().join(COPIED).exists());
        }
    }

    /// Version 0.1 would begin anew if it found no file.
    #[test]
    fn version_0_1_cannot_start_while_its_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let old = old_store(directory.path(), 40);
        let legacy = Legacy::within(directory.path());
        drop(old);
        let (_, locked) = legacy.entries(directory.path()).unwrap();
        let starts = || redb::Database::create(directory.path().join(FILE)).is_ok();
        assert!(!starts());
        legacy.set_aside().unwrap();
        assert!(!starts());
        drop(locked);
        assert!(!starts());
        // Its content is still there, and nowhere else.
        assert_eq!(legacy.entries(directory.path()).unwrap().0.len(), 2);
    }

    #[test]
    fn what_is_no_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), b"something else").unwrap();
        let error = open(directory.path()).err().unwrap();
        assert!(matches!(error, StoreError::Open(..)), "{error}");
    }
}
