//! The index of integers: which record has them.

use super::files::Files;
use super::group::Key;
use super::pending::{Chunk, Piece, chunk, without};
use super::record::Class;
use crate::Error;
use crate::key::{self, from_end, signed, unsigned};
use fjall::OwnedWriteBatch;
use std::collections::BTreeMap;

/// Adds the integers of the mints of one record. Those that no earlier event has become entries, as few as possible; the
/// others become doubles, one for each mint.
pub(super) fn index(
    key: &mut Key,
    name: &str,
    pieces: &mut [Piece],
    files: &Files,
    batch: &mut OwnedWriteBatch,
) -> Result<(), Error> {
    if let Some(smallest) = pieces.iter().map(|piece| piece.first).min()
        && (key.record.smallest == 0 || smallest < key.record.smallest)
    {
        key.record.smallest = smallest;
    }
    // They mostly are in order already.
    pieces.sort_unstable();
    let mut rest = pieces;
    while let Some(Chunk {
        whole,
        pieces,
        overlaps,
    }) = chunk(&mut rest)
    {
        let mut lattice = Lattice::of(key, name, &whole, files)?;
        if !overlaps && lattice.others(&whole)?.is_empty() {
            lattice.enter(&whole, [(whole.first, whole.last)], batch);
            continue;
        }
        // In the order of their numbers, since the first one has the integer.
        pieces.sort_unstable_by_key(|piece| piece.number);
        for piece in pieces {
            let others = lattice.others(piece)?;
            for (begin, end) in &others {
                let last = (*end).min(piece.last);
                let double = key::with(name, &[unsigned(last), piece.number]);
                let first = (*begin).max(piece.first);
                let value = key::numbers([unsigned(first), unsigned(piece.step)]);
                batch.insert(&files.doubles, double, value);
            }
            let left = without((piece.first, piece.last), piece.step, others);
            lattice.enter(piece, left, batch);
        }
    }
    Ok(())
}

/// The entries of a key with one increment and offset.
struct Lattice<'a> {
    files: &'a Files,
    name: &'a str,
    class: &'a mut Class,
    added: &'a mut BTreeMap<i64, (i64, u64)>,
}

impl<'a> Lattice<'a> {
    fn of(key: &'a mut Key, name: &'a str, piece: &Piece, files: &'a Files) -> Result<Self, Error> {
        let (step, residue) = (piece.step, piece.residue);
        let lattices = &mut key.record.lattices;
        let known = |class: &Class| class.step == step && class.residue == residue;
        let at = lattices.iter().position(known).unwrap_or_else(|| {
            lattices.push(Class {
                step,
                residue,
                greatest: 0,
            });
            key.added.push(BTreeMap::new());
            lattices.len() - 1
        });
        match (lattices.get_mut(at), key.added.get_mut(at)) {
            (Some(class), Some(added)) => Ok(Self {
                files,
                name,
                class,
                added,
            }),
            _ => Err(Error::Unavailable("a class is missing".into())),
        }
    }

    fn place(&self, last: i64) -> Vec<u8> {
        let Class { step, residue, .. } = *self.class;
        key::with(self.name, &[step, residue, last].map(unsigned))
    }

    /// The entries that overlap a piece, in order: first and last.
    fn others(&self, piece: &Piece) -> Result<Vec<(i64, i64)>, Error> {
        let mut others = Vec::new();
        // Spans mostly arrive in ascending order, and then nothing has to be read.
        if piece.first > self.class.greatest {
            return Ok(others);
        }
        let range = self.place(piece.first)..=self.place(i64::MAX);
        for entry in self.files.spans.range(range) {
            let (key, value) = entry.into_inner()?;
            let other = (signed(from_end(&value, 1)), signed(from_end(&key, 0)));
            if other.0 > piece.last {
                break;
            }
            others.push(other);
        }
        for (end, (begin, _)) in self.added.range(piece.first..) {
            if *begin > piece.last {
                break;
            }
            others.push((*begin, *end));
        }
        others.sort_unstable();
        Ok(others)
    }

    /// Adds parts of a piece.
    fn enter(
        &mut self,
        piece: &Piece,
        parts: impl IntoIterator<Item = (i64, i64)>,
        batch: &mut OwnedWriteBatch,
    ) {
        for (first, last) in parts {
            self.added.insert(last, (first, piece.number));
            let value = key::numbers([unsigned(first), piece.number]);
            batch.insert(&self.files.spans, self.place(last), value);
        }
        self.class.greatest = self.class.greatest.max(piece.last);
    }
}
