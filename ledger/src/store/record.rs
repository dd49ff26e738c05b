//! What the database keeps of a key beside its events.

use prost::Message;

/// How many increments and offsets the mints of one key may have.
pub(crate) const MAX_LATTICES: usize = 1024;

/// The record of a key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    /// The number of its last event.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// The increments and offsets of its mints.
    #[prost(message, repeated, tag = "2")]
    pub(crate) lattices: Vec<Class>,
    /// The smallest integer; 0 before the first mint.
    #[prost(int64, tag = "3")]
    pub(crate) smallest: i64,
    /// The number of the first event that is kept; 0 if all are.
    #[prost(uint64, tag = "4")]
    pub(crate) first: u64,
    /// The greatest integer of events that are not kept; 0 if all are.
    #[prost(int64, tag = "5")]
    pub(crate) forgotten: i64,
}

/// The mints of a key with one increment and offset.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Class {
    #[prost(int64, tag = "1")]
    pub(crate) step: i64,
    #[prost(int64, tag = "2")]
    pub(crate) residue: i64,
    /// The greatest integer.
    #[prost(int64, tag = "3")]
    pub(crate) greatest: i64,
}

impl Record {
    /// Reads a record. One that cannot be read is an error: its key would begin at 1 again.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, crate::Error> {
        Self::decode(bytes)
            .map_err(|error| crate::Error::Unavailable(format!("the record of a key: {error}")))
    }

    /// The greatest integer; 0 before the first mint.
    pub(crate) fn greatest(&self) -> i64 {
        let all = self.lattices.iter().map(|class| class.greatest);
        all.max().unwrap_or(0)
    }
}
