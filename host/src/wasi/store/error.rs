//! The errors of the embedded store.

use fjall::LsmError;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store could not be opened or used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "the data directory {0} is in use by another process; stop that process, mint through it \
         (int-host serve), or choose another directory with --data DIR"
    )]
    InUse(PathBuf),
    /// The directory could not be created.
    #[error("cannot create the data directory {0}: {1}; choose another directory with --data DIR")]
    Directory(PathBuf, #[source] Arc<io::Error>),
    /// A file is not one of the store or is damaged, or the disk failed.
    #[error("cannot open the store {0}: {1}")]
    Open(PathBuf, #[source] Cause),
    /// Version 0.1 of the program made a file of its own beside the sequences that were there.
    #[error(
        "{0} has sequences twice: those of this version, and in the file `integers.redb` those of version 0.1, \
         which was started here since. Both may have handed out integers: stop this process, move that file away, and \
         raise the sequences above all integers of both (--set-last-int) before minting again"
    )]
    Twice(PathBuf),
    /// The store lacks changes that were already acknowledged: it was replaced, or the disk lost writes that
    /// it had confirmed.
    #[error(
        "the store {folder} has lost changes that were already acknowledged (it contains {found} commits, \
         {answered} were acknowledged); minting from it would repeat integers. Stop this process, find out \
         what happened to the files, and raise the sequences (--set-last-int) before minting again"
    )]
    Behind {
        /// The folder of the store.
        folder: PathBuf,
        /// How many commits it contains.
        found: u64,
        /// How many commits were acknowledged.
        answered: u64,
    },
    /// A read or a commit failed. Changes of a failed commit were not acknowledged, but may have been stored.
    #[error("the embedded store failed: {0}")]
    Failed(#[source] Cause),
    /// The name of a bucket or a key is too long.
    #[error("the embedded store takes {0} of at most {1} bytes")]
    TooLong(&'static str, usize),
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

/// The error of a library or of the operating system.
pub type Cause = Arc<dyn Error + Send + Sync>;

impl StoreError {
    /// Whether the database accepts no further changes until it is opened again.
    pub(super) fn ends_database(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    pub(super) fn open(path: impl Into<PathBuf>, error: impl Into<Self>) -> Self {
        match error.into() {
            Self::Failed(cause) => Self::Open(path.into(), cause),
            other => other,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => error.into(),
            other => Self::Failed(Arc::new(other)),
        }
    }
}
