//! How a ledger with a stream is.

use std::sync::atomic::AtomicU64;

/// How the connection to the stream and the read model are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The read model has caught up.
    Current,
    /// The read model has not caught up since the start.
    Behind,
    /// There is no connection. Questions are answered, and nothing is stored.
    Away,
    /// The read model cannot go on: why.
    Stopped(String),
}

impl Status {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Away => "away",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// What a ledger counts of its stream since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were sent to the stream, each attempt once.
    pub published: AtomicU64,
    /// Messages that the stream acknowledged.
    pub acknowledged: AtomicU64,
    /// Messages that the read model has applied.
    pub applied: AtomicU64,
    /// Messages of which nothing was stored, such as those with an `expected` that was not the key's last number.
    pub refused: AtomicU64,
    /// Messages in the stream that the read model has not applied, at last sight.
    pub lag: AtomicU64,
    /// Connections that were opened after the first one.
    pub reconnects: AtomicU64,
}
