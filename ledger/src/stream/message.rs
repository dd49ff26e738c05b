//! The messages of the stream. `proto/ledger.proto` describes them as `Entry`.

mod split;

pub(crate) use split::{placed, split};

use crate::columns::Mints;
use crate::event::{Event, Payload, Unfit};
use crate::frame::{self, Batch, MAX_EVENTS};
use crate::partition;
use bytes::Bytes;
use prost::Message;

/// The version of the messages.
const VERSION: u32 = 1;

/// The events of one partition in a publisher's batch, or one event that a client appended.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// That of the batch; for an appended event that of the ledger.
    #[prost(fixed64, tag = "2")]
    pub(crate) publisher: u64,
    /// The part of the publisher's numbers whose events in this partition are all here.
    #[prost(uint64, tag = "3")]
    pub(crate) first: u64,
    /// As in a batch, and `mints` too.
    #[prost(message, repeated, tag = "4")]
    pub(crate) events: Vec<Event>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(crate) mints: Vec<Bytes>,
    /// The end of the part that begins with `first`.
    #[prost(uint64, tag = "7")]
    pub(crate) last: u64,
    /// How far the number of each event is from `first`; empty if the events have all numbers.
    #[prost(uint32, repeated, tag = "8")]
    pub(crate) places: Vec<u32>,
    /// Whether a client appended the event.
    #[prost(bool, tag = "9")]
    pub(crate) appended: bool,
    /// The number of the key's last event, if the client said what it has to be.
    #[prost(uint64, optional, tag = "10")]
    pub(crate) expected: Option<u64>,
}

impl Entry {
    /// Reads a message of a partition, and checks everything in it.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(crate) fn read(bytes: &[u8], partition: u16) -> Result<Self, Unfit> {
        let mut entry = Self::decode(bytes).map_err(|error| Unfit(error.to_string()))?;
        if entry.version != VERSION {
            return Err(Unfit(format!(
                "it has version {}; this program knows {VERSION}",
                entry.version
            )));
        }
        let numbers = entry.last.checked_sub(entry.first);
        let numbers = numbers.filter(|_| entry.first > 0 && entry.publisher > 0);
        let Some(numbers @ 0..) = numbers.filter(|numbers| *numbers < MAX_EVENTS as u64) else {
            return Err(Unfit("its numbers are out of range".into()));
        };
        for event in &entry.events {
            event.check()?;
            belongs(&event.key, partition)?;
        }
        let batch = entry.take();
        let count = batch.check_mints().map_err(|no| Unfit(no.to_string()))?;
        (entry.events, entry.mints) = (batch.events, batch.mints);
        let mut last = "";
        let mints: Result<Vec<_>, _> = entry.mints.iter().map(|bytes| Mints::read(bytes)).collect();
        let mints = mints?;
        for row in mints.iter().flat_map(Mints::rows) {
            let key = row?.key;
            if key != last {
                belongs(key, partition)?;
                last = key;
            }
        }
        let ordered = entry.places.is_sorted_by(|a, b| a < b);
        let within = entry.places.last().is_none_or(|p| u64::from(*p) <= numbers);
        let placed = if entry.places.is_empty() {
            count as u64 == numbers + 1
        } else {
            count == entry.places.len()
        };
        if !(ordered && within && placed) {
            return Err(Unfit("the numbers of its events are out of range".into()));
        }
        let one =
            matches!(&*entry.events, [event] if matches!(event.payload, Some(Payload::Json(_))));
        if (entry.appended && !(one && count == 1)) || (entry.expected.is_some() && !entry.appended)
        {
            return Err(Unfit("it is no appended event".into()));
        }
        Ok(entry)
    }

    /// Its events as those of a batch. None is left here.
    pub(crate) fn take(&mut self) -> Batch {
        Batch {
            version: frame::VERSION,
            publisher: self.publisher,
            first: self.first,
            events: std::mem::take(&mut self.events),
            mints: std::mem::take(&mut self.mints),
            ..Batch::default()
        }
    }

    /// The number of the event at a place among the entry's events.
    pub(crate) fn number(&self, index: usize) -> u64 {
        let place = if self.places.is_empty() {
            index as u64
        } else {
            self.places.get(index).copied().unwrap_or(0).into()
        };
        self.first.saturating_add(place)
    }
}

fn belongs(key: &str, partition: u16) -> Result<(), Unfit> {
    if partition::of(key) == partition {
        Ok(())
    } else {
        Err(Unfit("its key belongs to another partition".into()))
    }
}

/// A message that is ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) partition: u16,
    /// What identifies it: a message that is published again has the same content.
    pub(crate) id: String,
    pub(crate) payload: Bytes,
    pub(crate) events: usize,
    /// Whether somebody has to know what becomes of its events.
    pub(crate) answered: bool,
}

impl Outgoing {
    fn new(entry: &Entry, partition: u16, parts: &[u8], events: usize, answered: bool) -> Self {
        let mut payload = entry.encode_to_vec();
        payload.extend_from_slice(parts);
        Self {
            partition,
            id: format!(
                "{:016x}.{}.{}.{partition}",
                entry.publisher, entry.first, entry.last
            ),
            payload: payload.into(),
            events,
            answered,
        }
    }

    /// An event that a client appended at a ledger.
    pub(crate) fn appended(
        event: Event,
        publisher: u64,
        number: u64,
        expected: Option<u64>,
    ) -> Self {
        let partition = partition::of(&event.key);
        let entry = Entry {
            version: VERSION,
            publisher,
            first: number,
            last: number,
            events: vec![event],
            appended: true,
            expected,
            ..Entry::default()
        };
        Self::new(&entry, partition, &[], 1, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Row;
    use crate::event::Mint;
    use crate::frame::Writer;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn event(key: &str, first: i64) -> Event {
        let (step, count) = (1, 1);
        Event {
            key: key.into(),
            at: 1,
            by: "h".into(),
            payload: Some(Payload::Mint(Mint { first, step, count })),
            ..Event::default()
        }
    }

    proptest! {
        /// Every event of a batch is in one message, under its number, and a part of the batch is in one message of each
        /// partition.
        #[test]
        fn messages_have_the_events_of_the_batch(
            keys in proptest::collection::vec((0..4_usize, any::<bool>()), 1..60),
            first in 1..1000_u64,
            most in 1..2000_usize,
        ) {
            let mut writer = Writer::default();
            let mut sent = Vec::new();
            for (n, (key, column)) in (1..).zip(keys) {
                let event = event(["a", "b", "c", "d"][key], n);
                match (column, event.span()) {
                    (true, Some(span)) => writer.mint(&Row { key: &event.key, at: 1, by: "h", request: "", span }),
                    _ => writer.event(&event),
                }
                sent.push(event);
            }
            let batch = Batch::read(&writer.finish(7, first)).unwrap();
            let mut numbers = BTreeMap::new();
            let mut ends = BTreeMap::<u16, u64>::new();
            for message in split(&batch, most).unwrap() {
                let mut entry = Entry::read(&message.payload, message.partition).unwrap();
                let before = ends.insert(message.partition, entry.last);
                prop_assert!(entry.first == before.map_or(first, |end| end + 1));
                let all = entry.take().all().unwrap();
                prop_assert_eq!(all.len(), message.events);
                for (index, event) in all.into_iter().enumerate() {
                    let number = entry.number(index);
                    prop_assert!((entry.first..=entry.last).contains(&number));
                    prop_assert_eq!(numbers.insert(number, event), None);
                }
            }
            for (place, event) in placed(&batch).unwrap() {
                prop_assert_eq!(sent.get(place), Some(event));
            }
            let expected: BTreeMap<_, _> = (first..).zip(sent).collect();
            prop_assert_eq!(numbers, expected);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Entry::read(&bytes, 1);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let json = Event {
            json_kind: "note".into(),
            payload: Some(Payload::Json("1".into())),
            ..event("a", 1)
        };
        let sent = Outgoing::appended(json.clone(), 7, 3, Some(2));
        let entry = Entry::read(&sent.payload, sent.partition).unwrap();
        assert_eq!((entry.number(0), entry.expected), (3, Some(2)));
        assert!(Entry::read(&sent.payload, sent.partition + 1).is_err());
        let changed = |change: fn(&mut Entry)| {
            let mut entry = entry.clone();
            change(&mut entry);
            Entry::read(&entry.encode_to_vec(), sent.partition)
        };
        assert_eq!(changed(|_| {}), Ok(entry.clone()));
        for change in [
            |entry: &mut Entry| entry.version = 2,
            |entry: &mut Entry| entry.first = 0,
            |entry: &mut Entry| entry.publisher = 0,
            |entry: &mut Entry| entry.last = 4,
            |entry: &mut Entry| entry.last = 2,
            |entry: &mut Entry| entry.places = vec![1],
            |entry: &mut Entry| entry.places = vec![0, 0],
            |entry: &mut Entry| entry.appended = false,
            |entry: &mut Entry| entry.events.clear(),
        ] {
            assert!(changed(change).is_err());
        }
    }
}
