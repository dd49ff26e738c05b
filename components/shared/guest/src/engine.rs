//! What an engine author writes.

use crate::bindings::artisanal::integers::types::Error;
use engine_dsn::Dsn;

/// A checked name of a sequence: 1 to 128 bytes of UTF-8 without control characters.
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
/// The backend stores a *mark* per sequence: everything at or below it is taken. An engine only
/// moves and reads that mark; which integers lie below it is not its business. Calls never
/// overlap on one value of this type. A method whose future is dropped half-way must leave the
/// value usable.
#[expect(
    async_fn_in_trait,
    reason = "components have one thread: futures need not be Send"
)]
pub trait Engine: Sized + 'static {
    /// The offset of sequences whose configuration names none.
    const OFFSET: i64;
    /// The DSN used when the configuration's is empty; None when an address is required.
    const DSN: Option<&'static str>;
    /// The schemes of the DSNs that this engine takes.
    const SCHEMES: &'static [&'static str];

    /// Checks what the DSN says beyond its form and prepares to reach the backend.
    ///
    /// # Errors
    /// `invalid` for a DSN this engine cannot use, before any I/O; else as in the WIT.
    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error>;

    /// Atomically adds `by` (1 or more) to the mark, an absent mark counting as 0, and returns
    /// the new mark.
    ///
    /// # Errors
    /// [`exhausted`] when the sum does not fit, leaving the mark as it was; else as in the WIT.
    /// A lost reply may be retried with another `advance`: a gap is allowed, a repeat is not.
    async fn advance(&mut self, by: i64) -> Result<i64, Error>;

    /// The mark; None when nothing was ever stored.
    ///
    /// # Errors
    /// As in the WIT.
    async fn mark(&mut self) -> Result<Option<i64>, Error>;

    /// Atomically sets the mark to `to` (0 or more) unless it is greater already.
    ///
    /// # Errors
    /// `too-small` with the mark found when that is greater than `to`; else as in the WIT.
    async fn raise(&mut self, to: i64) -> Result<(), Error>;
}

/// The error for a mark that has no room left above it.
pub fn exhausted() -> Error {
    Error::Exhausted(
        "the sequence is too close to 9223372036854775807, the greatest integer there is".into(),
    )
}
