//! The database file: opening it, and recovering it after an I/O error.
//!
//! After a failed write or fsync it is unknown which pages reached the disk: the kernel may return pages
//! from its cache that were never written, and does not write them again. So reopening the file is not
//! enough. Its content is copied to a new file, which is synced and then renamed over the old one; only
//! then is the store usable again. A count of commits, kept in the file, shows whether all acknowledged
//! changes are there.

use super::error::StoreError;
use super::{FILE, table};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle, WriteTransaction,
};
use same_file::Handle;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// The first character of reserved names, which no bucket can have.
pub(crate) const RESERVED: char = '\0';

/// The table with the count of commits to the file.
const COMMITS: TableDefinition<'_, (), u64> = TableDefinition::new("\0commits");

/// The name of the new file while it is being written.
const NEW_FILE: &str = "integers.redb.new";

/// The pause after a failed attempt to reopen the file, so that a full disk is not written to in a loop.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The database file of a store.
pub(super) struct StoreFile {
    directory: PathBuf,
    state: RwLock<State>,
    /// How many commits were acknowledged.
    answered: AtomicU64,
}

struct State {
    database: Result<Database, Failure>,
    /// How often the file was reopened. Distinguishes a failure of the current database from one of an
    /// earlier database.
    opened: u64,
}

struct Failure {
    why: StoreError,
    /// The time of the last attempt to reopen the file; None before the first one.
    tried: Option<Instant>,
}

impl StoreFile {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|e| StoreError::Directory(directory.to_owned(), Arc::new(e)))?;
        let database = open(directory)?;
        // A process that was killed while it renewed the file leaves this behind.
        if let Err(error) = remove(&directory.join(NEW_FILE)) {
            tracing::warn!(%error, "cannot remove the unfinished copy {NEW_FILE}");
        }
        let answered = commits(&database.begin_read()?)?;
        Ok(Self {
            directory: directory.to_owned(),
            state: RwLock::new(State {
                database: Ok(database),
                opened: 0,
            }),
            answered: AtomicU64::new(answered),
        })
    }

    /// Runs `work` on the database, which is first reopened if it has failed.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = self.usable()?;
        let Ok(database) = &state.database else {
            return Err(StoreError::Closed);
        };
        let opened = state.opened;
        let result = work(database);
        drop(state);
        if let Err(error) = &result
            && error.ends_database()
        {
            self.fail(opened, error);
        }
        result
    }

    /// The result of `read` if the database is open and the read succeeds; never waits for the database to be
    /// reopened.
    pub(super) fn try_read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Option<T> {
        // A poisoned lock is left to `with`.
        let state = self.state.try_read().ok()?;
        let database = state.database.as_ref().ok()?;
        read(database).ok()
    }

    /// Runs `work` in one transaction and returns once it is on disk.
    ///
    /// Only one thread may call this, since otherwise the count of acknowledged commits could go back.
    pub(super) fn commit(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let commits = self.with(|database| {
            let write = database.begin_write()?;
            work(&write)?;
            let commits = {
                let mut table = write.open_table(COMMITS)?;
                let commits = table.get(())?.map_or(0, |count| count.value()) + 1;
                table.insert((), commits)?;
                commits
            };
            write.commit()?;
            Ok(commits)
        })?;
        self.answered.store(commits, Ordering::Relaxed);
        Ok(())
    }

    /// The state, with an open database in it unless that fails again at the same time.
    fn usable(&self) -> Result<RwLockReadGuard<'_, State>, StoreError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.database.is_ok() {
            return Ok(state);
        }
        drop(state);
        self.reopen()?;
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fail(&self, opened: u64, why: &StoreError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.opened == opened && state.database.is_ok() {
            tracing::error!(error = %why, "the embedded store failed; its file will be opened anew");
            state.database = Err(Failure {
                why: why.clone(),
                tried: None,
            });
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Err(failure) = &state.database else {
            return Ok(());
        };
        if failure.tried.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return Err(failure.why.clone());
        }
        match renew(&self.directory, self.answered.load(Ordering::Relaxed)) {
            Ok(database) => {
                tracing::info!("the file of the embedded store was opened anew");
                state.database = Ok(database);
                state.opened += 1;
                Ok(())
            }
            Err(why) => {
                state.database = Err(Failure {
                    why: why.clone(),
                    tried: Some(Instant::now()),
                });
                Err(why)
            }
        }
    }
}

/// Opens the file, and creates it if it is missing.
fn open(directory: &Path) -> Result<Database, StoreError> {
    let path = directory.join(FILE);
    let failed = |error: io::Error| StoreError::open(path.clone(), error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    let opened = Handle::from_file(file.try_clone().map_err(failed)?).map_err(failed)?;
    let database = Database::builder()
        .create_file(file)
        .map_err(|e| StoreError::database(directory.to_owned(), path.clone(), e))?;
    // Another process may have replaced the file between opening and locking. Then this lock is on
    // the old file, which has no name any more.
    if Handle::from_path(&path).map_err(failed)? != opened {
        return Err(StoreError::InUse(directory.to_owned()));
    }
    Ok(database)
}

/// Opens the file and replaces it with a copy of its content.
///
/// Both files are locked until the rename is done, so no other process can mint from either meanwhile.
fn renew(directory: &Path, answered: u64) -> Result<Database, StoreError> {
    let path = directory.join(FILE);
    if !path.exists() {
        // A new, empty file would restart every sequence.
        return Err(StoreError::open(
            path,
            io::Error::from(io::ErrorKind::NotFound),
        ));
    }
    let old = open(directory)?;
    let read = old.begin_read()?;
    let found = commits(&read)?;
    if found < answered {
        return Err(StoreError::Behind {
            file: path,
            found,
            answered,
        });
    }
    let new_path = directory.join(NEW_FILE);
    let failed = |error: io::Error| StoreError::open(new_path.clone(), error);
    remove(&new_path).map_err(failed)?;
    let new = Database::create(&new_path)
        .map_err(|e| StoreError::database(directory.to_owned(), new_path.clone(), e))?;
    let write = new.begin_write()?;
    copy(&read, &write)?;
    write.commit()?;
    let permissions = std::fs::metadata(&path).map_err(failed)?.permissions();
    std::fs::set_permissions(&new_path, permissions).map_err(failed)?;
    std::fs::rename(&new_path, &path).map_err(failed)?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    Ok(new)
}

/// Removes a file that may be missing.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StoreError> {
    to.open_table(COMMITS)?.insert((), commits(from)?)?;
    for handle in from.list_tables()? {
        if handle.name().starts_with(RESERVED) {
            continue;
        }
        let mut copy = to.open_table(table(handle.name()))?;
        for entry in from.open_table(table(handle.name()))?.iter()? {
            let (key, value) = entry?;
            copy.insert(key.value(), value.value())?;
        }
    }
    Ok(())
}

/// How many commits the file contains; 0 for a file of a version that did not count them.
fn commits(read: &ReadTransaction) -> Result<u64, StoreError> {
    match read.open_table(COMMITS) {
        Ok(table) => Ok(table.get(())?.map_or(0, |count| count.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
impl StoreFile {
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Locks the database until the result is dropped.
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.state.write().unwrap()
    }

    /// Fails the database as an I/O error does.
    pub(super) fn break_off(&self) {
        let opened = self.state.read().unwrap().opened;
        self.fail(opened, &StoreError::from(redb::Error::PreviousIo));
    }
}
