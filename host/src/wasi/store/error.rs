//! The errors of the embedded store.

use redb::DatabaseError;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store could not be opened or used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the file.
    #[error(
        "the data directory {0} is in use by another process; stop that process, mint through it \
         (int-host serve), or choose another directory with --data DIR"
    )]
    InUse(PathBuf),
    /// The directory could not be created.
    #[error("cannot create the data directory {0}: {1}; choose another directory with --data DIR")]
    Directory(PathBuf, #[source] Arc<std::io::Error>),
    /// The file is not a database or is damaged, or the disk failed.
    #[error("cannot open the store {0}: {1}")]
    Open(PathBuf, #[source] Arc<redb::Error>),
    /// The file lacks changes that were already acknowledged: it was replaced, or the disk lost writes that
    /// it had confirmed.
    #[error(
        "the store {file} has lost changes that were already acknowledged (it contains {found} commits, \
         {answered} were acknowledged); minting from it would repeat integers. Stop this process, find out \
         what happened to the file, and raise the sequences (--set-last-int) before minting again"
    )]
    Behind {
        /// The database file.
        file: PathBuf,
        /// How many commits the file contains.
        found: u64,
        /// How many commits were acknowledged.
        answered: u64,
    },
    /// A transaction failed. Its changes were not acknowledged, but may have been stored.
    #[error("the embedded store failed: {0}")]
    Transaction(#[source] Arc<redb::Error>),
    /// The value under a counter's key is not in the form that `increment` writes.
    #[error("the value stored under {0:?} is not an integer of eight bytes")]
    NotAnInteger(String),
    /// The sum does not fit into 64 bits; the value is unchanged.
    #[error("overflow: the value stored under {0:?} is too close to the greatest 64-bit integer")]
    Overflow(String),
    /// The store is closed, because the program is about to end.
    #[error("the embedded store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the database accepts no further transactions until its file is reopened.
    pub(super) fn ends_database(&self) -> bool {
        let Self::Transaction(error) = self else {
            return false;
        };
        matches!(
            **error,
            redb::Error::Io(_)
                | redb::Error::PreviousIo
                | redb::Error::Corrupted(_)
                | redb::Error::LockPoisoned(_)
                | redb::Error::DatabaseClosed
                | redb::Error::TransactionPoisoned
        )
    }

    pub(super) fn open(file: PathBuf, error: impl Into<redb::Error>) -> Self {
        Self::Open(file, Arc::new(error.into()))
    }

    pub(super) fn database(directory: PathBuf, file: PathBuf, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse(directory),
            error => Self::open(file, error),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Transaction(Arc::new(error.into()))
    }
}
