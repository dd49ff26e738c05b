//! Removing the first events of a key, with everything that refers to them.

use super::group::Group;
use super::pending::{Chunk, Pending, Piece, chunk, without};
use super::run::{Stored, broken};
use crate::Error;
use crate::columns::Mints;
use crate::event::{Event, Payload};
use crate::key::{self, from_end, signed, unsigned};
use std::ops::RangeInclusive;

/// The first events of a key, which are removed.
pub(crate) struct Forget {
    pub(crate) key: String,
    /// The number of the last one.
    pub(crate) up_to: u64,
    /// States after this event or later ones, which become durable together with the removal: where, and what.
    pub(crate) snapshots: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Group<'_> {
    pub(super) fn forget(&mut self, forget: Forget) -> Result<(), Error> {
        let Forget {
            key: name,
            up_to,
            snapshots,
        } = forget;
        let files = self.files;
        for (place, state) in snapshots {
            // Older ones have no use any more.
            let (prefix, _) = place.split_at(place.len().saturating_sub(8));
            for entry in files.snapshots.range(prefix.to_vec()..place.clone()) {
                self.batch.remove(&files.snapshots, entry.key()?);
            }
            self.batch.insert(&files.snapshots, place, state);
        }
        let mut forgotten = 0;
        // The first number that an entry of the index may have for the next record.
        let mut floor = 0;
        // The record with the last one may have later ones as well.
        let range = key::with(&name, &[0])..=key::with(&name, &[u64::MAX]);
        for entry in files.events.range(range) {
            let (place, value) = entry.into_inner()?;
            let record = Stored::read(&value)?;
            if record.first() > up_to {
                break;
            }
            let (greatest, rest) = match record {
                Stored::One(event) => (self.unlink(&name, &event, floor)?, None),
                Stored::Run(run) => self.unlink_run(&name, &run, floor, up_to)?,
            };
            floor = from_end(&place, 0).saturating_add(1);
            forgotten = forgotten.max(greatest);
            match rest {
                None => self.batch.remove(&files.events, place),
                Some(rest) => self.batch.insert(&files.events, place, rest),
            }
        }
        let record = self.change(&name)?;
        record.first = record.first.max(up_to.saturating_add(1));
        record.forgotten = record.forgotten.max(forgotten);
        Ok(())
    }

    /// Removes what refers to an event. Returns its greatest integer.
    fn unlink(&mut self, name: &str, event: &Event, floor: u64) -> Result<i64, Error> {
        let files = self.files;
        let number = event.number;
        let note = |last: i64| key::with(name, &[unsigned(last), number]);
        match &event.payload {
            Some(Payload::Mint(mint)) => {
                let Some(span) = mint.span() else {
                    return Ok(0);
                };
                self.unlink_pieces(name, &mut [Piece::new(span, number)], floor..=number)?;
                Ok(span.last())
            }
            Some(Payload::Unused(unused)) => {
                let last = unused.span().map_or(0, |span| span.last());
                self.batch.remove(&files.notes, note(last));
                Ok(last)
            }
            Some(Payload::Lost(lost)) => {
                self.batch.remove(&files.notes, note(lost.last));
                Ok(lost.last)
            }
            Some(Payload::Raise(raise)) => {
                self.batch.remove(&files.notes, note(raise.last));
                Ok(0)
            }
            Some(Payload::Json(_)) | None => Ok(0),
        }
    }

    /// Removes what refers to the first mints of a run. Returns their greatest integer, and the record of the others if
    /// there are some.
    fn unlink_run(
        &mut self,
        name: &str,
        run: &Mints<'_>,
        floor: u64,
        up_to: u64,
    ) -> Result<(i64, Option<Vec<u8>>), Error> {
        let (mut pieces, mut rest) = (Vec::new(), Pending::default());
        for (number, row) in (run.number..).zip(run.rows()) {
            let row = row.map_err(broken)?;
            if number <= up_to {
                pieces.push(Piece::new(row.span, number))
            } else {
                rest.push(&row, number)
            }
        }
        let greatest = pieces.iter().map(|piece| piece.last).max().unwrap_or(0);
        self.unlink_pieces(name, &mut pieces, floor..=run.last())?;
        let rest = (run.last() > up_to).then(|| rest.finish().1);
        Ok((greatest, rest))
    }

    /// Removes the integers of some mints from the index. `numbers` are those that entries have for their record, which
    /// begins with them.
    fn unlink_pieces(
        &mut self,
        name: &str,
        pieces: &mut [Piece],
        numbers: RangeInclusive<u64>,
    ) -> Result<(), Error> {
        let files = self.files;
        let first = pieces.iter().map(|piece| piece.number).min().unwrap_or(0);
        let removed = pieces.iter().map(|piece| piece.number).max().unwrap_or(0);
        pieces.sort_unstable();
        // An entry may have integers of several chunks, with those of later mints between them.
        let all = pieces.to_vec();
        let mut rest = pieces;
        while let Some(Chunk { whole, .. }) = chunk(&mut rest) {
            let Piece { step, residue, .. } = whole;
            let place = |integer: i64| key::with(name, &[step, residue, integer].map(unsigned));
            // The last entry may go on with the integers of later mints.
            for entry in files.spans.range(place(whole.first)..=place(i64::MAX)) {
                let (at, value) = entry.into_inner()?;
                let entry = (signed(from_end(&value, 1)), signed(from_end(&at, 0)));
                if entry.0 > whole.last {
                    break;
                }
                if !numbers.contains(&from_end(&value, 0)) {
                    continue;
                }
                self.batch.remove(&files.spans, at);
                let gone = all.iter().filter(|piece| piece.is_of(&whole));
                let gone = gone.map(|piece| (piece.first, piece.last));
                for (begin, end) in without(entry, step, gone) {
                    let value = key::numbers([unsigned(begin), *numbers.end()]);
                    self.batch.insert(&files.spans, place(end), value);
                }
            }
            let doubles = key::with(name, &[unsigned(whole.first)])
                ..=key::with(name, &[unsigned(whole.last), u64::MAX]);
            for entry in files.doubles.range(doubles) {
                let at = entry.key()?;
                if (first..=removed).contains(&from_end(&at, 0)) {
                    self.batch.remove(&files.doubles, at);
                }
            }
        }
        Ok(())
    }
}
