//! JSON whose integers can be strings, because JavaScript loses precision above 2^53.

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// An integer in a JSON answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int {
    pub(crate) value: i64,
    /// Whether it is written as a string.
    pub(crate) strings: bool,
}

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.strings {
            serializer.serialize_str(itoa::Buffer::new().format(self.value))
        } else {
            serializer.serialize_i64(self.value)
        }
    }
}

/// The answer to `POST /v1/sequences/{key}/next`.
#[derive(Serialize)]
pub(crate) struct Minted<'a> {
    pub(crate) key: &'a str,
    pub(crate) first: Int,
    pub(crate) step: Int,
    pub(crate) count: Int,
}

/// The answer to `GET` and `PUT /v1/sequences/{key}`.
#[derive(Serialize)]
pub(crate) struct State<'a> {
    pub(crate) key: &'a str,
    /// Null before the first integer.
    pub(crate) last: Option<Int>,
    pub(crate) increment: Int,
    pub(crate) offset: Int,
}

/// The answer to `GET /v1/sequences`.
#[derive(Serialize)]
pub(crate) struct Listed<'a> {
    /// The keys of this page, in order.
    pub(crate) keys: &'a [String],
    /// The `after` of the next page; null on the last one.
    pub(crate) next: Option<&'a str>,
    /// The patterns of the keys of sequences that are opened when they are needed.
    pub(crate) patterns: Vec<&'a str>,
}

pub(crate) fn bytes(value: &impl Serialize) -> Bytes {
    // Structs of strings and integers, written to memory: this cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}
