//! What publishers and the ledger send to each other: one message in one binary frame of a WebSocket.

mod writer;

pub use writer::Writer;

use crate::columns::Mints;
use crate::event::{Event, Mint, Unfit, check_text};
use crate::partition::{PARTITIONS, Share};
use artisanal_core::limits;
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The version of the messages.
pub const VERSION: u32 = 2;

/// The version without [`Batch::mints`], which is understood as well. Its batches get replies of the same version.
pub const VERSION_1: u32 = 1;

/// The WebSocket subprotocol of [`Batch`] and [`Reply`].
pub const PROTOCOL: &str = "artisanal-ledger.v2";

/// The subprotocol of publishers that know only [`VERSION_1`].
pub const PROTOCOL_1: &str = "artisanal-ledger.v1";

/// The maximum number of events in a batch.
pub const MAX_EVENTS: usize = 4096;

/// The maximum length of a frame, in bytes.
pub const MAX_FRAME: usize = 4 << 20;

/// How much longer a frame may be that a member passes on, in bytes: it has [`Batch::partitions`] as well.
pub(crate) const MAX_ADDED: usize = 4 << 10;

/// Events of one publisher, and questions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The random id of the publisher's process.
    #[prost(fixed64, tag = "2")]
    pub publisher: u64,
    /// The publisher's number of the first event, 1 or more; the others follow.
    #[prost(uint64, tag = "3")]
    pub first: u64,
    /// The events.
    #[prost(message, repeated, tag = "4")]
    pub events: Vec<Event>,
    /// Idempotency keys whose integers the publisher wants to know.
    #[prost(message, repeated, tag = "5")]
    pub lookups: Vec<Lookup>,
    /// Further events: mints as columns, each of them a message that [`Mints`] reads. It says how many of `events` come
    /// before it.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub mints: Vec<Bytes>,
    /// In a batch that a member of a ledger passes on: the partitions whose events and lookups are meant. Empty if all are.
    #[prost(uint32, repeated, tag = "7")]
    pub partitions: Vec<u32>,
}

/// An idempotency key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Lookup {
    /// The key of the sequence.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The name of the client's token, or empty.
    #[prost(string, tag = "2")]
    pub token: String,
    /// What the client sent.
    #[prost(string, tag = "3")]
    pub idempotency: String,
}

/// The integers of an idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Earlier {
    /// Which event or which lookup of the batch; the first one is 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// The number of the event with the integers.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The integers.
    #[prost(message, optional, tag = "3")]
    pub mint: Option<Mint>,
}

/// The answer to a batch, once it is durable or refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    /// That of the batch.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The batch's `first`.
    #[prost(uint64, tag = "2")]
    pub first: u64,
    /// The number of the batch's events.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// How many of them were stored already, as far as the ledger knew: one with a stream may learn of more later.
    #[prost(uint32, tag = "4")]
    pub duplicates: u32,
    /// Set if the batch is refused.
    #[prost(message, optional, tag = "5")]
    pub refusal: Option<Refusal>,
    /// The events of the batch whose idempotency key has the integers of another event.
    #[prost(message, repeated, tag = "6")]
    pub earlier: Vec<Earlier>,
    /// The lookups of the batch that have integers.
    #[prost(message, repeated, tag = "7")]
    pub found: Vec<Earlier>,
}

/// Why a batch is refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refusal {
    /// Identifies the reason for programs.
    #[prost(string, tag = "1")]
    pub code: String,
    /// The reason, for a person.
    #[prost(string, tag = "2")]
    pub detail: String,
    /// Whether the same batch can succeed later.
    #[prost(bool, tag = "3")]
    pub again: bool,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are too long.
    #[error("a frame of {0} bytes; {MAX_FRAME} are allowed")]
    Long(usize),
    /// There are too many events, or none.
    #[error("a batch has 1 to {MAX_EVENTS} events and lookups")]
    Count,
    /// The version is unknown.
    #[error("version {0} of the messages; this program knows {VERSION_1} and {VERSION}")]
    Version(u32),
    /// The publisher's numbers begin at 1 and have 64 bits.
    #[error("the numbers of the events are out of range")]
    Numbers,
    /// The partitions that a member names are in ascending order.
    #[error("the partitions are out of range or not in ascending order")]
    Partitions,
    /// They do not follow the encoding.
    #[error("not a protobuf message: {0}")]
    Encoding(String),
    /// An event has a field that is out of bounds.
    #[error("event {0} of the batch: {1}")]
    Event(usize, String),
    /// A lookup has a field that is out of bounds.
    #[error("lookup {0} of the batch: {1}")]
    Lookup(usize, String),
}

impl Batch {
    /// Reads a batch and checks every length in it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_FRAME + MAX_ADDED {
            return Err(Malformed::Long(bytes.len()));
        }
        // An empty event has two bytes here and two hundred in memory.
        if count_events(bytes).map_err(encoding)? > MAX_EVENTS {
            return Err(Malformed::Count);
        }
        let batch = Self::decode(bytes).map_err(encoding)?;
        let known = match batch.version {
            VERSION => true,
            VERSION_1 => batch.mints.is_empty(),
            _ => false,
        };
        if !known {
            return Err(Malformed::Version(batch.version));
        }
        let count = batch.check_mints()?;
        if !(1..=MAX_EVENTS).contains(&count.saturating_add(batch.lookups.len())) {
            return Err(Malformed::Count);
        }
        let last = batch.first.checked_add(count as u64);
        if batch.first == 0 || batch.publisher == 0 || last.is_none() {
            return Err(Malformed::Numbers);
        }
        if !batch.partitions.is_sorted_by(|a, b| a < b)
            || batch.partitions.last() >= Some(&u32::from(PARTITIONS))
        {
            return Err(Malformed::Partitions);
        }
        for (at, event) in batch.events.iter().enumerate() {
            event
                .check()
                .map_err(|unfit| Malformed::Event(at, unfit.0))?;
        }
        for (at, lookup) in batch.lookups.iter().enumerate() {
            lookup.check().map_err(|text| Malformed::Lookup(at, text))?;
        }
        Ok(batch)
    }

    /// The partitions whose events and lookups are meant, if not all are.
    pub(crate) fn meant(&self) -> Option<Share> {
        let numbers = self.partitions.iter().copied();
        let meant: Share = numbers
            .filter_map(|number| number.try_into().ok())
            .collect();
        (!meant.is_empty()).then_some(meant)
    }

    /// The frame of a batch for a member: with the partitions that are meant.
    pub(crate) fn passed_on(frame: &Bytes, partitions: &Share) -> Bytes {
        let numbers: Vec<u32> = partitions.iter().map(u32::from).collect();
        let mut bytes = Vec::with_capacity(frame.len() + MAX_ADDED);
        bytes.extend_from_slice(frame);
        // A message may be followed by further fields.
        prost::encoding::uint32::encode_packed(7, &numbers, &mut bytes);
        bytes.into()
    }

    /// How many events it has, columns included.
    ///
    /// # Errors
    /// [`Unfit`] if it was not [read](Self::read) and its columns are none.
    pub fn count(&self) -> Result<usize, Unfit> {
        let mut count = self.events.len();
        for mints in &self.mints {
            count += Mints::read(mints)?.count();
        }
        Ok(count)
    }

    /// All events in order, those in columns included.
    ///
    /// # Errors
    /// [`Unfit`] if it was not [read](Self::read) and its columns are none.
    pub fn all(&self) -> Result<Vec<Event>, Unfit> {
        let mut events = self.events.iter();
        let mut all = Vec::new();
        let mut passed = 0;
        for mints in &self.mints {
            let mints = Mints::read(mints)?;
            let others = mints.before().saturating_sub(passed);
            all.extend(events.by_ref().take(others).cloned());
            passed += others;
            for row in mints.rows() {
                let row = row?;
                all.push(row.event(row.key, 0));
            }
        }
        all.extend(events.cloned());
        Ok(all)
    }

    /// Checks the columns. Returns how many events there are.
    pub(crate) fn check_mints(&self) -> Result<usize, Malformed> {
        let mut count = self.events.len();
        let mut passed = 0;
        for bytes in &self.mints {
            let wrong = |count, unfit: Unfit| Malformed::Event(count, unfit.0);
            let mints = Mints::read(bytes).map_err(|unfit| wrong(count, unfit))?;
            if mints.before() < passed || mints.before() > self.events.len() {
                let unfit = Unfit("the events before the mints are out of range".into());
                return Err(wrong(count, unfit));
            }
            passed = mints.before();
            // Before the mints are looked at: a message of few bytes can have many.
            if count.saturating_add(mints.count()) > MAX_EVENTS {
                return Err(Malformed::Count);
            }
            mints
                .check()
                .map_err(|(at, unfit)| wrong(count + at, unfit))?;
            count += mints.count();
        }
        Ok(count)
    }

    /// The bytes of the frame.
    pub fn bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

impl Lookup {
    fn check(&self) -> Result<(), String> {
        limits::check_key(&self.key).map_err(|error| error.to_string())?;
        if self.idempotency.is_empty() {
            return Err("the idempotency key is empty".into());
        }
        for (name, text) in [("token", &self.token), ("idempotency", &self.idempotency)] {
            check_text(name, text).map_err(|unfit| unfit.0)?;
        }
        Ok(())
    }
}

impl Reply {
    /// The acknowledgement of a batch.
    pub fn stored(first: u64, count: usize, duplicates: usize) -> Self {
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            version: VERSION,
            first,
            count: number(count),
            duplicates: number(duplicates),
            refusal: None,
            earlier: Vec::new(),
            found: Vec::new(),
        }
    }

    /// The refusal of a batch.
    pub fn refused(first: u64, count: usize, code: &str, detail: String, again: bool) -> Self {
        Self {
            refusal: Some(Refusal {
                code: code.to_owned(),
                detail,
                again,
            }),
            ..Self::stored(first, count, 0)
        }
    }

    /// Reads a reply. The texts of a refusal, which are logged, are shortened to 512 characters.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_REPLY {
            return Err(Malformed::Long(bytes.len()));
        }
        let mut reply = Self::decode(bytes).map_err(encoding)?;
        if let Some(Refusal { code, detail, .. }) = &mut reply.refusal {
            shorten(code);
            shorten(detail);
        }
        match reply.version {
            VERSION | VERSION_1 => Ok(reply),
            other => Err(Malformed::Version(other)),
        }
    }

    /// The bytes of the frame.
    pub fn bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

/// The maximum length of a reply, in bytes: with the integers of each event and lookup of a batch.
pub const MAX_REPLY: usize = 512 << 10;

/// The maximum length of a text that the other side sends for a person, in characters.
pub(crate) const MAX_TEXT: usize = 512;

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
}

fn encoding(error: prost::DecodeError) -> Malformed {
    Malformed::Encoding(error.to_string())
}

/// Counts the events, lookups and messages of mints of a batch without decoding them.
fn count_events(mut bytes: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while bytes.has_remaining() {
        let (tag, wire) = decode_key(&mut bytes)?;
        if matches!(tag, 4..=6) && wire == WireType::LengthDelimited {
            count += 1;
            let length = usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX);
            // Decoding reports a length that is too great.
            bytes = bytes.get(length..).unwrap_or_default();
        } else {
            skip_field(wire, tag, &mut bytes, DecodeContext::default())?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
