//! The errors of the ledger.

/// Why the ledger cannot do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request or the event is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The key is at another number than the client expected.
    #[error("the key is at event {current}")]
    Conflict {
        /// The number of the key's last event.
        current: u64,
    },
    /// The disk or the database failed; trying again can help.
    #[error("the ledger cannot be read or written at the moment: {0}")]
    Unavailable(String),
    /// The request needs more than one answer has time for; trying again goes on where it stopped.
    #[error("{0}")]
    Unfinished(String),
    /// The state of a key is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The reducer made no state.
    #[error("{0}")]
    Reducer(String),
    /// The reducer needs events that were removed.
    #[error("{0}")]
    NotRetained(String),
    /// The data directory cannot be used.
    #[error("{0}")]
    Misconfigured(String),
}

impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
