//! What did not fit into the ring, by key, until there is room to say so.

use crate::event::{Event, Lost, Payload};
use artisanal_core::Span;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How many keys are told apart. Losses of further keys are only counted in the metrics.
const MAX_KEYS: usize = 1024;

/// Losses that the ledger does not know of yet.
#[derive(Default)]
pub(super) struct Losses(Mutex<BTreeMap<Box<str>, Lost>>);

impl Losses {
    pub(super) fn add(&self, key: &str, span: Span) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KEYS && !all.contains_key(key) {
            return;
        }
        let lost = all.entry(key.into()).or_insert(Lost {
            events: 0,
            integers: 0,
            first: span.first(),
            last: span.last(),
        });
        lost.events = lost.events.saturating_add(1);
        lost.integers = lost.integers.saturating_add(span.count().into());
        lost.first = lost.first.min(span.first());
        lost.last = lost.last.max(span.last());
    }

    /// Takes the losses of up to `most` keys, as events.
    pub(super) fn take(&self, most: usize) -> Vec<Event> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        while events.len() < most
            && let Some((key, lost)) = all.pop_first()
        {
            events.push(Event {
                key: key.into_string(),
                at: super::now(),
                payload: Some(Payload::Lost(lost)),
                ..Event::default()
            });
        }
        events
    }
}
