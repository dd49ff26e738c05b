//! Writing a backup.

use super::{HASH, MAGIC, keyspaces};
use crate::Error;
use crate::store::Files;
use blake3::Hasher;
use bytes::{BufMut, Bytes, BytesMut};
use fjall::Readable;

/// The length of most pieces, in bytes.
const PIECE: usize = 64 << 10;

/// Passes a backup of the database on in pieces, as it is at the beginning. `pass` says whether to go on.
pub(crate) fn dump(files: &Files, mut pass: impl FnMut(Bytes) -> bool) -> Result<(), Error> {
    // One moment for all keyspaces.
    let snapshot = files.database.snapshot();
    let mut hasher = Hasher::new();
    let mut piece = BytesMut::with_capacity(PIECE);
    piece.put_slice(MAGIC);
    let mut entries = 0_u64;
    for (keyspace, number) in keyspaces(files).into_iter().zip(1_u8..) {
        for entry in snapshot.iter(keyspace) {
            let (key, value) = entry.into_inner()?;
            piece.put_u8(number);
            piece.put_u32(length(&key)?);
            piece.put_u32(length(&value)?);
            piece.put_slice(&key);
            piece.put_slice(&value);
            entries += 1;
            if piece.len() >= PIECE {
                hasher.update(&piece);
                if !pass(piece.split().freeze()) {
                    return Ok(());
                }
            }
        }
    }
    piece.put_u8(0);
    piece.put_u64(entries);
    hasher.update(&piece);
    let hash = hasher.finalize();
    debug_assert_eq!(hash.as_bytes().len(), HASH);
    piece.put_slice(hash.as_bytes());
    pass(piece.freeze());
    Ok(())
}

fn length(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Unavailable("an entry is too long".into()))
}
