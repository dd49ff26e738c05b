//! Removing the first events of a key, with everything that refers to them.

use super::group::Group;
use crate::Error;
use crate::event::{Event, Payload};
use crate::key::{self, from_end, unsigned};
use artisanal_core::Span;
use prost::Message;

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
        let range = key::with(&name, &[0])..=key::with(&name, &[up_to]);
        for entry in files.events.range(range) {
            let (place, value) = entry.into_inner()?;
            let event = Event::decode(&*value)
                .map_err(|error| Error::Unavailable(format!("an event: {error}")))?;
            forgotten = forgotten.max(self.unlink(&name, &event)?);
            self.batch.remove(&files.events, place);
        }
        let record = self.change(&name)?;
        record.first = record.first.max(up_to.saturating_add(1));
        record.forgotten = record.forgotten.max(forgotten);
        Ok(())
    }

    /// Removes what refers to an event. Returns its greatest integer.
    fn unlink(&mut self, name: &str, event: &Event) -> Result<i64, Error> {
        let files = self.files;
        let number = event.number;
        let note = |last: i64| key::with(name, &[unsigned(last), number]);
        match &event.payload {
            Some(Payload::Mint(mint)) => {
                let Some(span) = mint.span() else {
                    return Ok(0);
                };
                self.unlink_span(name, span, number)?;
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

    fn unlink_span(&mut self, name: &str, span: Span, number: u64) -> Result<(), Error> {
        let files = self.files;
        let (first, last) = (span.first(), span.last());
        let residue = first % span.step();
        let place = |integer: i64| key::with(name, &[span.step(), residue, integer].map(unsigned));
        for entry in files.spans.range(place(first)..=place(last)) {
            let (place, value) = entry.into_inner()?;
            if from_end(&value, 0) == number {
                self.batch.remove(&files.spans, place);
            }
        }
        let doubles =
            key::with(name, &[unsigned(first)])..=key::with(name, &[unsigned(last), u64::MAX]);
        for entry in files.doubles.range(doubles) {
            let place = entry.key()?;
            if from_end(&place, 0) == number {
                self.batch.remove(&files.doubles, place);
            }
        }
        Ok(())
    }
}
