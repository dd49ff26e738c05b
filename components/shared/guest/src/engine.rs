//! The trait that an engine author implements.

use crate::bindings::artisanal::integers::types::Error;
use artisanal_core::Lattice;
use engine_dsn::Dsn;

/// A valid sequence name: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) String);

impl Key {
    /// The name as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One sequence in one kind of backend.
///
/// The backend stores a *mark* per sequence: all integers at or below it are taken. An engine only
/// advances and reads that mark; it does not know which integers below it were minted. Calls never
/// overlap on one value of this type. If the future of a method is dropped before it completes, the
/// value must stay usable.
#[expect(
    async_fn_in_trait,
    reason = "components have one thread: futures need not be Send"
)]
pub trait Engine: Sized + 'static {
    /// The default offset.
    const OFFSET: i64;
    /// The DSN used when the configuration has none; None if an address is required.
    const DSN: Option<&'static str>;
    /// The DSN schemes that this engine accepts.
    const SCHEMES: &'static [&'static str];

    /// Checks the engine-specific parts of the DSN and prepares access to the backend.
    ///
    /// # Errors
    /// `invalid` for a DSN that this engine cannot use, before any I/O; otherwise as in the WIT.
    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error>;

    /// Which integers the sequence mints, for the increment and offset of its configuration. Most engines mint
    /// any, by default every second one.
    ///
    /// # Errors
    /// `invalid` for integers that this engine cannot mint.
    fn lattice(_dsn: &Dsn, increment: Option<i64>, offset: Option<i64>) -> Result<Lattice, Error> {
        let increment = increment.unwrap_or(Lattice::INCREMENT);
        Ok(Lattice::new(increment, offset.unwrap_or(Self::OFFSET))?)
    }

    /// Tells which integers the sequence mints, once, after `open`. Most engines need not know: they only
    /// advance a mark. It is for backends that decide themselves which integers they mint.
    fn use_lattice(&mut self, _lattice: Lattice) {}

    /// Atomically adds `by` (1 or more) to the mark and returns the new mark. A missing mark counts
    /// as 0.
    ///
    /// # Errors
    /// [`exhausted`] if the sum exceeds `i64`, with the mark unchanged; otherwise as in the WIT.
    /// A lost reply may be retried with another `advance`: a gap is allowed, a duplicate is not.
    async fn advance(&mut self, by: i64) -> Result<i64, Error>;

    /// The mark; None if none was ever stored.
    ///
    /// # Errors
    /// As in the WIT.
    async fn mark(&mut self) -> Result<Option<i64>, Error>;

    /// Atomically sets the mark to `last` if it is below `first` or missing, with 0 <= `first` <= `last`.
    ///
    /// # Errors
    /// `too-small` with the current mark, `first` or more, if that is not below `first`; otherwise as in
    /// the WIT. A claim whose reply was lost may be repeated, and may then be refused for its own effect.
    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error>;

    /// Atomically sets the mark to `to` (0 or more) unless it is already there or greater.
    ///
    /// # Errors
    /// `too-small` with the current mark if that is greater than `to`; otherwise as in the WIT.
    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        match self.claim(to, to).await {
            Err(Error::TooSmall(mark)) if mark == to => Ok(()),
            claimed => claimed,
        }
    }

    /// A text that changes when the backend may have forgotten marks; see `generation` in the WIT. None
    /// for backends that keep what they acknowledged.
    ///
    /// # Errors
    /// As in the WIT.
    async fn generation(&mut self) -> Result<Option<String>, Error> {
        Ok(None)
    }
}

/// The error for a mark that cannot advance any further.
pub fn exhausted() -> Error {
    Error::Exhausted(
        "the sequence is too close to 9223372036854775807, the greatest 64-bit integer".into(),
    )
}
