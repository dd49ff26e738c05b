//! What happened to a key.

use artisanal_core::{MAX_COUNT, Span, limits};

/// The maximum length of an address, a request id and a token's name, in bytes.
pub const MAX_TEXT: usize = 128;

/// The maximum length of the kind of an event, in bytes.
pub const MAX_KIND: usize = 64;

/// The maximum length of a JSON payload, in bytes.
pub const MAX_JSON: usize = 64 << 10;

/// The kinds to which the ledger itself gives a meaning.
pub const RESERVED: [&str; 4] = ["mint", "lost", "raise", "unused"];

/// The reason of an [`Unused`] event whose mint had an idempotency key that has integers already.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One event. `proto/ledger.proto` describes the fields.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Event {
    /// The key that it belongs to.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its number: gap-free from 1 for each key; 0 until the ledger gives it.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// When it happened, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    pub at: i64,
    /// The address of the client that asked.
    #[prost(string, tag = "4")]
    pub by: String,
    /// The client's request id, or empty.
    #[prost(string, tag = "5")]
    pub request: String,
    /// The kind if the payload is JSON; see [`Event::kind`].
    #[prost(string, tag = "6")]
    pub json_kind: String,
    /// What happened.
    #[prost(oneof = "Payload", tags = "7, 8, 9, 10, 13")]
    pub payload: Option<Payload>,
    /// The name of the client's token, or empty.
    #[prost(string, tag = "11")]
    pub token: String,
    /// The client's idempotency key, or empty.
    #[prost(string, tag = "12")]
    pub idempotency: String,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum Payload {
    /// Integers were handed out.
    #[prost(message, tag = "7")]
    Mint(Mint),
    /// Mints are missing, since the publisher had no room for them.
    #[prost(message, tag = "8")]
    Lost(Lost),
    /// The sequence was raised.
    #[prost(message, tag = "9")]
    Raise(Raise),
    /// Anything else, as JSON.
    #[prost(string, tag = "10")]
    Json(String),
    /// Integers were minted and nobody gets them.
    #[prost(message, tag = "13")]
    Unused(Unused),
}

/// A span that was handed out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Mint {
    /// The smallest integer.
    #[prost(int64, tag = "1")]
    pub first: i64,
    /// The distance between neighbours.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// How many integers there are.
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// Mints that a publisher had no room for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Lost {
    /// How many mints.
    #[prost(uint64, tag = "1")]
    pub events: u64,
    /// How many integers.
    #[prost(uint64, tag = "2")]
    pub integers: u64,
    /// The smallest integer.
    #[prost(int64, tag = "3")]
    pub first: i64,
    /// The greatest integer.
    #[prost(int64, tag = "4")]
    pub last: i64,
}

/// A raise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Raise {
    /// No integer up to this one is handed out any more.
    #[prost(int64, tag = "1")]
    pub last: i64,
}

/// Integers that nobody gets.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Unused {
    /// The smallest integer.
    #[prost(int64, tag = "1")]
    pub first: i64,
    /// The distance between neighbours.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// How many integers there are.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// Why, for programs.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// The number of the event with the integers that were handed out instead.
    #[prost(uint64, tag = "5")]
    pub instead: u64,
}

/// Why an event cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

impl Mint {
    /// The span, if it is one: at most 100 000 positive integers.
    pub fn span(&self) -> Option<Span> {
        Span::checked(self.first, self.step, self.count).filter(|span| span.count() <= MAX_COUNT)
    }
}

impl Unused {
    /// The span.
    pub fn span(&self) -> Option<Span> {
        let Self {
            first, step, count, ..
        } = *self;
        Mint { first, step, count }.span()
    }
}

impl From<Span> for Mint {
    fn from(span: Span) -> Self {
        Self {
            first: span.first(),
            step: span.step(),
            count: span.count(),
        }
    }
}

impl Event {
    /// The kind: `mint`, `lost`, `raise`, `unused`, or what the client that appended it chose.
    pub fn kind(&self) -> &str {
        match &self.payload {
            Some(Payload::Mint(_)) => "mint",
            Some(Payload::Lost(_)) => "lost",
            Some(Payload::Raise(_)) => "raise",
            Some(Payload::Unused(_)) => "unused",
            Some(Payload::Json(_)) | None => &self.json_kind,
        }
    }

    /// Checks every length and number.
    ///
    /// # Errors
    /// [`Unfit`], which names the first field that is wrong.
    pub fn check(&self) -> Result<(), Unfit> {
        limits::check_key(&self.key).map_err(|error| Unfit(error.to_string()))?;
        for (name, text) in [
            ("by", &self.by),
            ("request", &self.request),
            ("token", &self.token),
            ("idempotency", &self.idempotency),
        ] {
            check_text(name, text)?;
        }
        if !self.idempotency.is_empty() && !matches!(self.payload, Some(Payload::Mint(_))) {
            return Err(Unfit("only a mint has an idempotency key".into()));
        }
        if self.at < 0 {
            return Err(Unfit("`at` is before 1970".into()));
        }
        match &self.payload {
            Some(Payload::Mint(mint)) if mint.span().is_none() => Err(Unfit(format!(
                "the mint is no span of 1 to {MAX_COUNT} positive integers"
            ))),
            Some(Payload::Lost(lost)) if lost.first < 1 || lost.first > lost.last => {
                Err(Unfit("the lost integers are no range".into()))
            }
            Some(Payload::Raise(raise)) if raise.last < 0 => {
                Err(Unfit("the raise is to a negative integer".into()))
            }
            Some(Payload::Unused(_)) => Err(Unfit("only the ledger makes unused events".into())),
            Some(Payload::Json(json)) => self.check_json(json),
            Some(Payload::Mint(_) | Payload::Lost(_) | Payload::Raise(_)) => Ok(()),
            None => Err(Unfit("the event has no payload".into())),
        }
    }

    fn check_json(&self, json: &str) -> Result<(), Unfit> {
        let kind = &self.json_kind;
        let fits = (1..=MAX_KIND).contains(&kind.len())
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !fits {
            return Err(Unfit(format!(
                "the kind is not 1 to {MAX_KIND} letters, digits, `-`, `_` or `.`"
            )));
        }
        if RESERVED.contains(&kind.as_str()) {
            return Err(Unfit(format!(
                "the kind `{kind}` is reserved for what servers of integers publish"
            )));
        }
        if json.len() > MAX_JSON {
            return Err(Unfit(format!(
                "the payload is longer than {MAX_JSON} bytes"
            )));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(json) {
            Ok(_) => Ok(()),
            Err(error) => Err(Unfit(format!("the payload is no JSON: {error}"))),
        }
    }
}

/// Checks a text that is shown to people.
pub(crate) fn check_text(name: &str, text: &str) -> Result<(), Unfit> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        Err(Unfit(format!(
            "`{name}` is not printable text of at most {MAX_TEXT} bytes"
        )))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: Payload) -> Event {
        Event {
            key: "integers".into(),
            json_kind: "note".into(),
            payload: Some(payload),
            ..Event::default()
        }
    }

    #[test]
    fn every_field_has_a_bound() {
        let mint = |first, step, count| event(Payload::Mint(Mint { first, step, count }));
        let good = mint(2, 2, 1);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.kind(), "mint");
        let json = |text: &str| event(Payload::Json(text.into()));
        assert_eq!(json("{\"a\":1}").check(), Ok(()));
        assert_eq!(json("1").kind(), "note");
        let with = |change: fn(&mut Event)| {
            let mut event = good.clone();
            change(&mut event);
            event
        };
        let of_kind = |kind: &str| Event {
            json_kind: kind.into(),
            ..json("1")
        };
        for bad in [
            mint(0, 1, 1),
            mint(1, 0, 1),
            mint(1, 1, 0),
            mint(1, 1, MAX_COUNT + 1),
            mint(i64::MAX, 1, 2),
            with(|event| event.key.clear()),
            with(|event| event.key = "a\nb".into()),
            with(|event| event.key = "x".repeat(129)),
            with(|event| event.by = "x".repeat(MAX_TEXT + 1)),
            with(|event| event.request = "a\0".into()),
            with(|event| event.token = "\u{7f}".into()),
            with(|event| event.idempotency = "x".repeat(MAX_TEXT + 1)),
            Event {
                idempotency: "x".into(),
                ..json("1")
            },
            event(Payload::Unused(Unused::default())),
            with(|event| event.at = -1),
            with(|event| event.payload = None),
            json("{"),
            json(""),
            json(&"[".repeat(1000)),
            json(&format!("\"{}\"", "x".repeat(MAX_JSON))),
            of_kind(""),
            of_kind("mint"),
            of_kind("a b"),
            of_kind(&"x".repeat(MAX_KIND + 1)),
            event(Payload::Raise(Raise { last: -1 })),
            event(Payload::Lost(Lost::default())),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
