//! The folder of the store: opening it, replacing its database, and recovering it after an I/O error.
//!
//! The folder has one database, the current generation, in a folder with its number. A new generation is a copy of
//! the current one, and becomes the current one when the file `current` is replaced, atomically.
//!
//! After a failed write or fsync it is unknown which pages reached the disk: the kernel may return pages
//! from its cache that were never written, and does not write them again. So opening the database again is not
//! enough: its content is copied to a new generation, and only then is the store usable again. A count of commits
//! shows whether all acknowledged changes are there.

use super::changes::Changes;
use super::current::{self, Lock};
use super::error::StoreError;
use super::generation::{Entry, Generation};
use super::legacy::{Found, Legacy};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// The name of the folder in the data directory.
const FOLDER: &str = "integers";

/// The pause after a failed attempt to open the store again, so that a full disk is not written to in a loop.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The folder of a store, which this process has locked.
pub(super) struct Folder {
    path: PathBuf,
    /// Closed before the lock is given up.
    state: RwLock<State>,
    lock: Lock,
    /// How many commits were acknowledged.
    answered: AtomicU64,
}

struct State {
    open: Result<Open, Failure>,
    /// How often the database was replaced. Distinguishes a failure of the current database from one of an
    /// earlier database.
    opened: u64,
}

/// The current generation.
struct Open {
    number: u64,
    generation: Generation,
}

struct Failure {
    why: StoreError,
    /// The time of the last attempt to open the store again; None before the first one.
    tried: Option<Instant>,
}

impl Folder {
    /// Opens the store of a data directory, or makes a new one.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FOLDER);
        std::fs::create_dir_all(&path)
            .map_err(|e| StoreError::Directory(directory.to_owned(), e.into()))?;
        let lock = Lock::try_take(&path)
            .map_err(|e| StoreError::open(&path, e))?
            .ok_or_else(|| StoreError::InUse(directory.to_owned()))?;
        let legacy = Legacy::within(directory);
        let open = match (current::read(&path)?, legacy.find()?) {
            (Some(_), Found::Store) => {
                return Err(StoreError::Twice(directory.to_owned()));
            }
            (Some(number), _) => Open::existing(&path, number),
            // A new store would restart every sequence.
            (None, Found::Note) if !legacy.is_set_aside()? => Err(io::Error::other(
                "the file `current` is missing, and only a part of the data directory was removed or copied; restore the \
                 rest, or remove `integers.redb` too, which begins every sequence anew",
            )
            .into()),
            (None, _) => {
                // Version 0.1 must not mint from the file after it was read.
                let (entries, _locked) = legacy.entries(directory)?;
                Open::first(&path, entries, &legacy)
            }
        };
        let open = open.map_err(|e| StoreError::open(&path, e))?;
        legacy
            .replace()
            .map_err(|e| StoreError::open(directory, e))?;
        open.remove_others(&path);
        let answered = open.generation.commits()?;
        let folder = Self {
            path,
            lock,
            state: RwLock::new(State {
                open: Ok(open),
                opened: 0,
            }),
            answered: AtomicU64::new(answered),
        };
        folder.replace_if_full();
        Ok(folder)
    }

    /// Runs `work` on the database, which is first opened again if it has failed.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Generation) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = self.usable()?;
        let Ok(open) = &state.open else {
            return Err(StoreError::Closed);
        };
        let opened = state.opened;
        let result = work(&open.generation);
        drop(state);
        if let Err(error) = &result
            && error.ends_database()
        {
            self.fail(opened, error);
        }
        result
    }

    /// The result of `read` if the database is open and the read succeeds; never waits for the database to be
    /// opened or replaced.
    pub(super) fn try_read<T>(
        &self,
        read: impl FnOnce(&Generation) -> Result<T, StoreError>,
    ) -> Option<T> {
        // A poisoned lock is left to `with`.
        let state = self.state.try_read().ok()?;
        let open = state.open.as_ref().ok()?;
        read(&open.generation).ok()
    }

    /// Makes the changes of `work` in one commit and returns once it is on disk.
    ///
    /// Only one thread at a time may call this, since otherwise the count of acknowledged commits could go back.
    pub(super) fn commit(
        &self,
        work: impl FnOnce(&mut Changes<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let commits = self.with(|generation| {
            let mut changes = Changes::to(generation);
            work(&mut changes)?;
            if changes.is_empty() {
                return Ok(None);
            }
            generation.commit(changes.into_pending()).map(Some)
        })?;
        if let Some(commits) = commits {
            self.answered.store(commits, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the database is open, and not being replaced or opened again.
    pub(super) fn is_open(&self) -> bool {
        self.try_read(|_| Ok(())).is_some()
    }

    /// Whether the current generation is to be replaced by a copy.
    pub(super) fn is_full(&self) -> bool {
        self.try_read(|generation| Ok(generation.is_full())) == Some(true)
    }

    /// Replaces the current generation by a copy if it is full. Only the thread whose turn it is to commit may call this.
    pub(super) fn replace_if_full(&self) {
        if !self.is_full() {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.lock.check() {
            // Another process may mint from the folder that took the place of this one.
            let why = StoreError::open(&self.path, error);
            state.open = Err(Failure { why, tried: None });
            return;
        }
        let Ok(open) = &state.open else { return };
        let next = match open.copy(&self.path) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "cannot copy the embedded store to a new database; it goes on with the old one");
                open.generation.delay_replacement();
                return;
            }
        };
        state.open = match next.become_current(&self.path) {
            Ok(()) => Ok(next),
            // Either of the two may be the current one now: nothing may be written before that is known.
            Err(why) => Err(Failure { why, tried: None }),
        };
        state.opened += 1;
        if let Ok(open) = &state.open {
            open.remove_others(&self.path);
        }
    }

    /// The state, with an open database in it unless that fails again at the same time.
    fn usable(&self) -> Result<RwLockReadGuard<'_, State>, StoreError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.open.is_ok() {
            return Ok(state);
        }
        drop(state);
        self.reopen()?;
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fail(&self, opened: u64, why: &StoreError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.opened == opened && state.open.is_ok() {
            tracing::error!(error = %why, "the embedded store failed; it will be opened again");
            state.open = Err(Failure {
                why: why.clone(),
                tried: None,
            });
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Err(failure) = &state.open else {
            return Ok(());
        };
        if failure.tried.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return Err(failure.why.clone());
        }
        match self.renew() {
            Ok(open) => {
                tracing::info!("the embedded store was opened again");
                open.remove_others(&self.path);
                state.open = Ok(open);
                state.opened += 1;
                Ok(())
            }
            Err(why) => {
                state.open = Err(Failure {
                    why: why.clone(),
                    tried: Some(Instant::now()),
                });
                Err(why)
            }
        }
    }

    /// Opens the current generation, checks that nothing is missing, and replaces it by a copy.
    fn renew(&self) -> Result<Open, StoreError> {
        let path = &self.path;
        let failed = |error| StoreError::open(path, error);
        self.lock.check().map_err(|e| failed(e.into()))?;
        let missing = || io::Error::other("the file `current` has disappeared");
        let number = current::read(path)?.ok_or_else(|| failed(missing().into()))?;
        let old = Open::existing(path, number).map_err(failed)?;
        let answered = self.answered.load(Ordering::Relaxed);
        let found = old.generation.commits().map_err(failed)?;
        if found < answered {
            return Err(StoreError::Behind {
                folder: path.clone(),
                found,
                answered,
            });
        }
        let new = old.copy(path).map_err(failed)?;
        new.become_current(path).map_err(failed)?;
        Ok(new)
    }
}

impl Open {
    /// The first generation, with the entries of version 0.1.
    fn first(path: &Path, entries: Vec<Entry>, legacy: &Legacy) -> Result<Self, StoreError> {
        let first = Self::new(path, 1, entries.into_iter().map(Ok))?;
        legacy.set_aside()?;
        first.become_current(path)?;
        Ok(first)
    }

    fn existing(path: &Path, number: u64) -> Result<Self, StoreError> {
        Ok(Self {
            number,
            generation: Generation::open(&path.join(number.to_string()))?,
        })
    }

    /// A copy, which has the next number.
    fn copy(&self, path: &Path) -> Result<Self, StoreError> {
        let number = self.number.checked_add(1).ok_or(StoreError::Closed)?;
        Self::new(path, number, self.generation.entries())
    }

    fn new(
        path: &Path,
        number: u64,
        entries: impl Iterator<Item = Result<Entry, StoreError>>,
    ) -> Result<Self, StoreError> {
        let folder = path.join(number.to_string());
        // A process that was killed while it made this generation leaves it behind.
        remove(std::fs::remove_dir_all(&folder))?;
        Ok(Self {
            number,
            generation: Generation::create(&folder, entries)?,
        })
    }

    fn become_current(&self, path: &Path) -> Result<(), StoreError> {
        Ok(current::write(path, self.number)?)
    }

    /// Removes all other generations. What cannot be removed is in nobody's way.
    fn remove_others(&self, path: &Path) {
        let Ok(files) = std::fs::read_dir(path) else {
            return;
        };
        for file in files.flatten() {
            let number = file.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_some_and(|number: u64| number != self.number)
                && let Err(error) = std::fs::remove_dir_all(file.path())
            {
                tracing::warn!(%error, "cannot remove an old database of the embedded store");
            }
        }
    }
}

/// The result of removing what may be missing.
pub(super) fn remove(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
impl Folder {
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
        self.fail(opened, &StoreError::from(io::Error::other("a test")));
    }
}
