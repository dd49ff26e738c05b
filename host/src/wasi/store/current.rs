//! The files of the store's folder beside its generations: its lock, and the number of the current generation.

use super::error::StoreError;
use crate::files;
use same_file::Handle;
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The lock on a store's folder, for as long as this exists.
pub(super) struct Lock {
    path: PathBuf,
    held: Handle,
}

impl Lock {
    /// Locks the folder. None if another process has it locked.
    pub(super) fn try_take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                path,
                held: Handle::from_file(file)?,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Checks that the folder is still the one that was locked: another process may have replaced it, and a third one
    /// may have opened the new one.
    pub(super) fn check(&self) -> io::Result<()> {
        if Handle::from_path(&self.path)? == self.held {
            return Ok(());
        }
        Err(io::Error::other("the folder was replaced by another one"))
    }
}

/// The number of the current generation; None before there is one.
pub(super) fn read(folder: &Path) -> Result<Option<u64>, StoreError> {
    let path = folder.join("current");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::open(path, error)),
    };
    let number = text.trim_end().parse().map(Some);
    number.map_err(|_| StoreError::open(path, io::Error::from(io::ErrorKind::InvalidData)))
}

/// Makes a generation the current one, atomically. After an error, either may be.
pub(super) fn write(folder: &Path, number: u64) -> io::Result<()> {
    files::replace(&folder.join("current"), format!("{number}\n").as_bytes())
}
