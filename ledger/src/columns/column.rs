//! One column: varints one after another. A column whose values are all the same may have one of them only.

use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};

/// A signed difference as a number that is small if the difference is.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The difference again.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The next varint of some bytes. None at their end, and if it is too long.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if *byte < 0x80 {
            return Some(value);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Takes what has its length before it.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

/// The bytes of a column, and its value if it has only one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Column<'a> {
    bytes: &'a [u8],
    all: Option<u64>,
}

impl<'a> Column<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        let first = varint(&mut rest);
        Self {
            bytes,
            all: first.filter(|_| rest.is_empty()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its values from the beginning.
    pub(super) fn values(&self) -> Values<'a> {
        Values {
            rest: self.bytes,
            all: self.all,
        }
    }
}

/// The values of a column that are left.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    rest: &'a [u8],
    all: Option<u64>,
}

impl Values<'_> {
    pub(super) fn next(&mut self) -> Option<u64> {
        match self.all {
            None => varint(&mut self.rest),
            all => all,
        }
    }

    /// The next value as a place or a length.
    pub(super) fn place(&mut self) -> Option<usize> {
        usize::try_from(self.next()?).ok()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.all.is_some() || self.rest.is_empty()
    }
}

/// A column that is being written.
#[derive(Debug, Default)]
pub(super) struct Growing {
    bytes: Vec<u8>,
    /// The first value while all are the same.
    same: Option<u64>,
    length: usize,
}

impl Growing {
    pub(super) fn push(&mut self, value: u64) {
        match self.same {
            Some(same) if same == value => {}
            None if self.length == 0 => self.same = Some(value),
            same => {
                if let Some(same) = same {
                    for _ in 0..self.length {
                        encode_varint(same, &mut self.bytes);
                    }
                    self.same = None;
                }
                encode_varint(value, &mut self.bytes);
            }
        }
        self.length += 1;
    }

    /// Appends it as a field, and is empty again.
    pub(super) fn finish(&mut self, tag: u32, out: &mut Vec<u8>) {
        if let Some(same) = self.same.take() {
            encode_varint(same, &mut self.bytes);
        }
        put(tag, &self.bytes, out);
        self.bytes.clear();
        self.length = 0;
    }
}

/// Appends a field with its length before it, unless it is empty.
pub(super) fn put(tag: u32, part: &[u8], out: &mut Vec<u8>) {
    if !part.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(part.len() as u64, out);
        out.put_slice(part);
    }
}

/// Appends a number unless it is 0.
pub(super) fn put_number(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}
