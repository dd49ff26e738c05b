//! Backups: everything that a ledger has at one moment, as one stream of bytes with a hash at its end.
//!
//! The stream is the line `artisanal-ledger backup 2`, then entries, then the end. An entry is the number of its
//! keyspace (one byte), the lengths of its key and value (four bytes each), the key and the value. The end is a zero
//! byte, the number of entries (eight bytes), and the BLAKE3 hash of all bytes before it (32 bytes). Numbers have
//! their most significant byte first.

mod dump;
mod restore;

pub(crate) use dump::dump;
pub use restore::restore;

use crate::store::Files;
use blake3::{Hash, Hasher};
use fjall::Keyspace;

/// The beginning of a backup. A layout that earlier programs cannot read gets another number.
const MAGIC: &[u8; 26] = b"artisanal-ledger backup 2\n";

/// The beginning of one without runs of mints, which is read as well.
const WITHOUT_RUNS: &[u8; 26] = b"artisanal-ledger backup 1\n";

/// The length of the hash, in bytes.
const HASH: usize = blake3::OUT_LEN;

/// The maximum length of a key and of a value, in bytes.
const MAX_KEY: usize = 1 << 10;
const MAX_VALUE: usize = 8 << 20;

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It does not begin as one.
    #[error("this is no backup of a ledger, or one of another version")]
    Other,
    /// Its end is missing.
    #[error("the backup is incomplete")]
    Truncated,
    /// It was altered.
    #[error("the backup was altered: {0}")]
    Altered(&'static str),
    /// It cannot be read.
    #[error("cannot read the backup: {0}")]
    Unreadable(std::io::Error),
    /// The directory is not empty.
    #[error("{0} exists; a backup is restored into a directory without a ledger")]
    Exists(String),
    /// The directory cannot be written.
    #[error("cannot restore into {0}: {1}")]
    Unwritable(String, String),
}

/// The keyspaces of a database, each at the place of its number less one.
fn keyspaces(files: &Files) -> [&Keyspace; 9] {
    [
        &files.events,
        &files.keys,
        &files.spans,
        &files.doubles,
        &files.notes,
        &files.publishers,
        &files.claims,
        &files.claim_times,
        &files.snapshots,
    ]
}

/// Checks the hash of a backup that is passed on in pieces.
#[derive(Default)]
pub struct Checked {
    hasher: Hasher,
    /// The last bytes so far, which are the hash if nothing follows.
    last: Vec<u8>,
    length: u64,
}

impl Checked {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.length = self.length.saturating_add(piece.len() as u64);
        self.last.extend_from_slice(piece);
        let old = self.last.len().saturating_sub(HASH);
        let (before, after) = self.last.split_at_checked(old).unwrap_or_default();
        self.hasher.update(before);
        self.last = after.to_vec();
    }

    /// Whether the backup is whole: its length then.
    ///
    /// # Errors
    /// [`Unusable::Truncated`].
    pub fn finish(self) -> Result<u64, Unusable> {
        match Hash::from_slice(&self.last) {
            // The comparison takes the same time for every hash.
            Ok(hash) if hash == self.hasher.finalize() => Ok(self.length),
            _ => Err(Unusable::Truncated),
        }
    }
}

#[cfg(test)]
mod tests;
