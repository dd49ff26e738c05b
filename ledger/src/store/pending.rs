//! The mints of a key that a group adds, until they become a record and entries of the index.

use super::run::{MAX_RUN, RUN};
use crate::columns::{Columns, Row};
use artisanal_core::Span;

/// A run that grows.
#[derive(Default)]
pub(super) struct Pending {
    columns: Columns,
    /// The number of the first mint.
    first: u64,
    spans: Vec<Piece>,
}

/// The integers of one mint, or of several mints without a gap between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub(super) step: i64,
    pub(super) residue: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    /// The number of an event of the record.
    pub(super) number: u64,
}

impl Pending {
    pub(super) fn is_full(&self) -> bool {
        self.spans.len() >= MAX_RUN
    }

    pub(super) fn push(&mut self, row: &Row<'_>, number: u64) {
        if self.spans.is_empty() {
            self.first = number;
        }
        self.columns.push_without_key(row);
        self.spans.push(Piece::new(row.span, number));
    }

    /// The record with the number of its last mint, and a piece for each mint. Is empty again.
    pub(super) fn finish(&mut self) -> (u64, Vec<u8>, Vec<Piece>) {
        let last = self.first.saturating_add(self.spans.len() as u64 - 1);
        let mut record = vec![RUN];
        self.columns.finish(self.first, 0, &mut record);
        (last, record, std::mem::take(&mut self.spans))
    }

    /// Keeps the memory of pieces that are not needed any more.
    pub(super) fn reuse(&mut self, mut pieces: Vec<Piece>) {
        pieces.clear();
        self.spans = pieces;
    }
}

impl Piece {
    pub(super) fn new(span: Span, number: u64) -> Self {
        Self {
            step: span.step(),
            residue: span.first() % span.step(),
            first: span.first(),
            last: span.last(),
            number,
        }
    }

    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.step, self.residue) == (other.step, other.residue)
    }
}

/// Pieces in order that touch or overlap, and whether some overlap.
pub(super) struct Chunk<'a> {
    pub(super) whole: Piece,
    pub(super) pieces: &'a mut [Piece],
    pub(super) overlaps: bool,
}

/// Takes the first pieces that touch or overlap each other. `pieces` are in order.
pub(super) fn chunk<'a>(pieces: &mut &'a mut [Piece]) -> Option<Chunk<'a>> {
    let mut whole = *pieces.first()?;
    let mut overlaps = false;
    let mut length = 1;
    for piece in pieces.iter().skip(1) {
        let next = whole.last.checked_add(whole.step);
        if !piece.is_of(&whole) || next.is_none_or(|next| piece.first > next) {
            break;
        }
        overlaps |= piece.first <= whole.last;
        whole.last = whole.last.max(piece.last);
        whole.number = whole.number.min(piece.number);
        length += 1;
    }
    let all = std::mem::take(pieces);
    let (taken, rest) = all.split_at_mut(length);
    *pieces = rest;
    Some(Chunk {
        whole,
        pieces: taken,
        overlaps,
    })
}

/// What is left of the integers from `first` to `last`, `step` apart, without those of `others`, which are in order.
pub(super) fn without(
    (first, last): (i64, i64),
    step: i64,
    others: impl IntoIterator<Item = (i64, i64)>,
) -> Vec<(i64, i64)> {
    let mut rest = Some(first);
    let mut left = Vec::new();
    for (begin, end) in others {
        let Some(from) = rest.filter(|from| *from <= last) else {
            break;
        };
        if end < from {
            continue;
        }
        if begin > last {
            break;
        }
        if from < begin {
            left.push((from, begin - step));
        }
        rest = end.checked_add(step);
    }
    left.extend(rest.filter(|from| *from <= last).map(|from| (from, last)));
    left
}
