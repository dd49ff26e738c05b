//! The error type.

/// The error of every part: the cases of the WIT engine interface, and those of the layers between
/// an engine and its caller.
///
/// Messages are sentences for a person and hold no secret, but may name servers, users and
/// databases. The module `problem` alone maps the cases to HTTP responses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call itself is invalid. Nothing was minted; a retry without a change is useless.
    #[error("{0}")]
    Invalid(String),
    /// A sequence can only be raised, and this one is already at the greater value given here.
    #[error(
        "the sequence is already at {0}; it can only be raised, to that value or a greater one"
    )]
    TooSmall(i64),
    /// The sequence is too close to the top of `s64` for this call.
    #[error("{0}")]
    Exhausted(String),
    /// The backend, or the host, refuses this client. A retry without a change is useless.
    #[error("{0}")]
    Denied(String),
    /// The backend cannot serve at present. Integers may have been skipped; none is handed out twice.
    #[error("{0}")]
    Unavailable(String),
    /// The backend returned an error that fits no other case.
    #[error("{0}")]
    Other(String),
    /// The queue for this sequence is full. Nothing was minted.
    #[error("too many requests are waiting for this sequence; try again in a moment")]
    Busy,
    /// The engine trapped or broke its contract. None of the integers it returned was handed out.
    #[error("{0}")]
    Broken(String),
    /// The server's own configuration is wrong; only its operator can correct it.
    #[error("{0}")]
    Misconfigured(String),
}
