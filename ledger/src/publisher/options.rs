//! How to publish.

use super::Target;
use artisanal_core::Secret;
use std::time::Duration;

/// What happens to a mint while the ledger is slow or away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is answered at once; if the ring is full, the ledger learns only that something was lost.
    #[default]
    Shed,
    /// It waits for room in the ring.
    Block,
    /// It waits until the ledger has said that its event is durable.
    Strict,
}

/// How to publish.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ledger.
    pub target: Target,
    /// The token that it wants, if it wants one.
    pub token: Option<Secret>,
    /// What to do when it is slow.
    pub policy: Policy,
    /// The size of the ring, in events.
    pub ring: usize,
    /// How many bytes of batches of other publishers it has room for, at least one frame.
    pub bytes: usize,
    /// How many connections there are.
    pub workers: usize,
    /// How long a mint waits, with the policies that wait.
    pub patience: Duration,
}

impl Options {
    /// The default size of the ring: 65 536 events, which take 5 MB.
    pub const RING: usize = 1 << 16;

    /// The default size of the ring for batches of other publishers, in bytes.
    pub const BYTES: usize = 64 << 20;

    /// The default options for this ledger.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            token: None,
            policy: Policy::default(),
            ring: Self::RING,
            bytes: Self::BYTES,
            workers: 4,
            patience: Duration::from_secs(5),
        }
    }
}
