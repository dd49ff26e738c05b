//! Writing a batch from what is in the ring.

use super::{Lookup, VERSION};
use crate::columns::{Columns, Row};
use crate::event::Event;
use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, fixed64, uint32, uint64};

/// A batch that is being written. It can be used again for the next one, and keeps its memory.
#[derive(Default)]
pub struct Writer {
    columns: Columns,
    /// The encoded fields: messages of mints, events and lookups.
    parts: Vec<u8>,
    message: Vec<u8>,
    /// How many events there are apart from mints in columns, and how many of these.
    events: usize,
    mints: usize,
}

impl Writer {
    /// Adds a mint without an idempotency key.
    pub fn mint(&mut self, row: &Row<'_>) {
        self.columns.push(row);
        self.mints += 1;
    }

    /// Adds an event.
    pub fn event(&mut self, event: &Event) {
        self.flush();
        part(4, event, &mut self.parts);
        self.events += 1;
    }

    /// Adds a question.
    pub fn lookup(&mut self, lookup: &Lookup) {
        part(5, lookup, &mut self.parts);
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.events + self.mints
    }

    /// Writes the mints that came last.
    fn flush(&mut self) {
        if self.columns.count() == 0 {
            return;
        }
        self.message.clear();
        self.columns.finish(0, self.events, &mut self.message);
        encode_key(6, WireType::LengthDelimited, &mut self.parts);
        encode_varint(self.message.len() as u64, &mut self.parts);
        self.parts.extend_from_slice(&self.message);
    }

    /// The frame of the batch. The writer is empty again.
    pub fn finish(&mut self, publisher: u64, first: u64) -> Bytes {
        self.flush();
        let mut frame = Vec::with_capacity(self.parts.len() + 32);
        uint32::encode(1, &VERSION, &mut frame);
        fixed64::encode(2, &publisher, &mut frame);
        uint64::encode(3, &first, &mut frame);
        frame.extend_from_slice(&self.parts);
        self.parts.clear();
        (self.events, self.mints) = (0, 0);
        frame.into()
    }

    /// The fields of the events and lookups alone. The writer is empty again.
    pub(crate) fn parts(&mut self) -> Vec<u8> {
        self.flush();
        (self.events, self.mints) = (0, 0);
        std::mem::take(&mut self.parts)
    }
}

fn part(tag: u32, message: &impl Message, parts: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, parts);
    encode_varint(message.encoded_len() as u64, parts);
    message.encode_raw(parts);
}
