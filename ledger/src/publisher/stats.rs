//! What a publisher counts.

use std::sync::atomic::AtomicU64;

/// What a publisher counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Events that were sent or are about to be, and are not acknowledged.
    pub unacknowledged: AtomicU64,
    /// Events that did not fit into the ring.
    pub dropped: AtomicU64,
    /// Mints that waited for room.
    pub waited: AtomicU64,
    /// Events that the ledger refused.
    pub refused: AtomicU64,
    /// Connections that were opened after a failure.
    pub reconnects: AtomicU64,
}
