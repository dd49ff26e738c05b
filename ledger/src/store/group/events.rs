//! Events get their numbers, and are added to a group's changes.

use super::{Cache, Group, IDLE};
use crate::Error;
use crate::columns::Row;
use crate::event::{Event, Payload};
use crate::key::{self, unsigned};
use crate::store::files::UNUSED;
use crate::store::index::index;
use crate::store::pending::Piece;
use artisanal_core::Span;
use prost::Message;

impl Group<'_> {
    /// Adds a mint to the run of its key.
    pub(super) fn mint(&mut self, place: usize, row: &Row<'_>) -> Result<u64, Error> {
        let record = self.touch(place)?;
        record.number = record.number.saturating_add(1);
        let number = record.number;
        self.events += 1;
        let Cache { keys, idle, .. } = &mut *self.cache;
        if let Some(key) = keys.get_mut(place) {
            let run = key
                .run
                .get_or_insert_with(|| idle.pop().unwrap_or_default());
            run.push(row, number);
            if run.is_full() {
                self.flush(place)?;
            }
        }
        Ok(number)
    }

    /// Adds the run of a key to the group's changes, with its integers.
    pub(super) fn flush(&mut self, place: usize) -> Result<(), Error> {
        let Some(key) = self.cache.keys.get_mut(place) else {
            return Ok(());
        };
        let Some(mut run) = key.run.take() else {
            return Ok(());
        };
        let (last, record, mut pieces) = run.finish();
        let files = self.files;
        self.batch
            .insert(&files.events, key::with(&key.name, &[last]), record);
        let name = key.name.clone();
        index(key, &name, &mut pieces, files, &mut self.batch)?;
        if self.cache.idle.len() < IDLE {
            run.reuse(pieces);
            self.cache.idle.push(run);
        }
        Ok(())
    }

    pub(in crate::store) fn event(&mut self, mut event: Event) -> Result<Event, Error> {
        let place = self.place(&event.key)?;
        if let (true, true, Some(span)) = (
            event.idempotency.is_empty(),
            event.token.is_empty(),
            event.span(),
        ) {
            let row = Row {
                key: "",
                at: event.at,
                by: &event.by,
                request: &event.request,
                span,
            };
            event.number = self.mint(place, &row)?;
            return Ok(event);
        }
        // What came before has its number already.
        self.flush(place)?;
        let record = self.touch(place)?;
        record.number = record.number.saturating_add(1);
        let number = record.number;
        event.number = number;
        let files = self.files;
        match &event.payload {
            Some(Payload::Mint(mint)) => {
                if let Some(span) = mint.span() {
                    self.index_one(place, &event.key, span, number)?;
                }
            }
            Some(Payload::Lost(lost)) => {
                let place = key::with(&event.key, &[unsigned(lost.last), number]);
                let first = key::numbers([unsigned(lost.first)]);
                self.batch.insert(&files.notes, place, first);
            }
            Some(Payload::Raise(raise)) => {
                let place = key::with(&event.key, &[unsigned(raise.last), number]);
                self.batch.insert(&files.notes, place, key::numbers([0]));
            }
            Some(Payload::Unused(unused)) => {
                if let Some(span) = unused.span() {
                    let place = key::with(&event.key, &[unsigned(span.last()), number]);
                    let value =
                        key::numbers([unsigned(span.step()), unsigned(span.first()), UNUSED]);
                    self.batch.insert(&files.notes, place, value);
                }
            }
            Some(Payload::Json(_)) | None => {}
        }
        let place = key::with(&event.key, &[number]);
        self.batch
            .insert(&files.events, place, event.encode_to_vec());
        self.events += 1;
        Ok(event)
    }

    fn index_one(
        &mut self,
        place: usize,
        name: &str,
        span: Span,
        number: u64,
    ) -> Result<(), Error> {
        let files = self.files;
        let Some(key) = self.cache.keys.get_mut(place) else {
            return Err(Error::Unavailable("a key is missing".into()));
        };
        let mut pieces = [Piece::new(span, number)];
        index(key, name, &mut pieces, files, &mut self.batch)
    }
}
