//! What is measured of the ledger in this process: batches into it, its files, and its ring.

pub mod batches;
pub mod raw;
pub mod ring;
pub mod store;

/// How many events a batch has.
pub const BATCH: usize = artisanal_ledger::frame::MAX_EVENTS;

/// The key of all mints.
pub const KEY: &str = "integers";

/// The increment of their integers.
pub const STEP: i64 = 2;
