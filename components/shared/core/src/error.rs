//! Why there is no answer.

/// The error of every part: of engines as the WIT describes them, and of what stands between
/// them and a caller.
///
/// The texts are sentences for a person and hold no secret, but may name servers, users and
/// databases. How each case looks over HTTP is decided in one place, the module `problem`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call itself is wrong. Nothing was minted; trying again without a change is useless.
    #[error("{0}")]
    Invalid(String),
    /// A sequence is only ever raised, and this one is already at the greater value given here.
    #[error(
        "the sequence is already at {0}; it can only be raised, to more than that or to the same"
    )]
    TooSmall(i64),
    /// The sequence is too close to the top of `s64` for what was asked.
    #[error("{0}")]
    Exhausted(String),
    /// The backend, or the host, refuses to serve us. Trying again without a change is useless.
    #[error("{0}")]
    Denied(String),
    /// The backend cannot serve now. Integers may have been skipped; none is handed out twice.
    #[error("{0}")]
    Unavailable(String),
    /// The backend answered with something that the engine has no better word for.
    #[error("{0}")]
    Other(String),
    /// As many requests as allowed wait for this sequence already. Nothing was minted.
    #[error("too many requests are waiting for this sequence; try again in a moment")]
    Busy,
    /// The engine trapped or broke its contract. None of the integers it gave was handed out.
    #[error("{0}")]
    Broken(String),
    /// The server's own configuration is wrong, and only its operator can mend that.
    #[error("{0}")]
    Misconfigured(String),
}
