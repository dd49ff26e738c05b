//! What is in the ring: events, and questions.
//!
//! Each mint moves an entry into the ring and out of it in another thread, so entries are small: what few of them have is
//! in a box.

use super::now;
use crate::columns::Row;
use crate::event::{Event, Mint, Payload, Raise};
use crate::frame::{Lookup, Reply};
use artisanal_core::{MAX_COUNT, Span};
use bytes::Bytes;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The name of a sequence or of a client. Clones share it, and are one word each, where those of an `Arc<str>` are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Arc<Box<str>>);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Box<str>>> From<T> for Name {
    fn from(name: T) -> Self {
        Self(Arc::new(name.into()))
    }
}

/// What has one place in the ring.
pub(super) enum Item {
    Entry(Entry),
    Batch(Box<Relayed>),
}

/// A batch of another publisher, which is sent as it came, so that the ledger knows it if it comes again.
pub(super) struct Relayed {
    pub(super) frame: Bytes,
    pub(super) first: u64,
    pub(super) count: usize,
    pub(super) answer: oneshot::Sender<Reply>,
    /// The bytes of the frame, of those that the ring has room for.
    pub(super) room: OwnedSemaphorePermit,
}

impl Item {
    /// How many events it has.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Entry(_) => 1,
            Self::Batch(batch) => batch.count.max(1),
        }
    }
}

/// An event in the ring, or a question.
pub(super) struct Entry {
    pub(super) key: Name,
    by: Name,
    /// When it happened or was asked, in microseconds since 1970.
    at: i64,
    pub(super) what: What,
    ids: Option<Box<Ids>>,
    /// Told what the ledger answered, if somebody waits for it.
    pub(super) answer: Option<oneshot::Sender<Answer>>,
}

/// What a client sent to name its request.
struct Ids {
    request: Option<Box<str>>,
    once: Option<Once>,
}

/// What an entry says or asks.
#[derive(Clone, Copy)]
pub(super) enum What {
    Minted(Span),
    Raised(i64),
    /// Asks for the integers of an idempotency key.
    Asked,
}

/// An idempotency key, which belongs to a token if there are tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Once {
    /// The name of the client's token, or empty.
    pub token: String,
    /// What the client sent.
    pub idempotency: String,
}

/// What the ledger says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The event is durable, or the idempotency key has no integers yet.
    Done,
    /// The idempotency key has these integers.
    Earlier(Mint),
    Refused,
}

impl Entry {
    /// What has just happened, or is asked now.
    pub(super) fn new(key: &Name, by: &Name, what: What) -> Self {
        Self {
            key: key.clone(),
            by: by.clone(),
            at: now(),
            what,
            ids: None,
            answer: None,
        }
    }

    /// The same entry with the id of a request and an idempotency key, if there are any.
    pub(super) fn with_ids(self, request: Option<&str>, once: Option<&Once>) -> Self {
        let ids = || {
            Box::new(Ids {
                request: request.map(Into::into),
                once: once.cloned(),
            })
        };
        Self {
            ids: (request.is_some() || once.is_some()).then(ids),
            ..self
        }
    }

    fn request(&self) -> &str {
        let ids = self.ids.as_deref();
        ids.and_then(|ids| ids.request.as_deref())
            .unwrap_or_default()
    }

    fn once(&self) -> Option<&Once> {
        self.ids.as_deref()?.once.as_ref()
    }

    /// The mint if it is one without an idempotency key, as most are.
    pub(super) fn row(&self) -> Option<Row<'_>> {
        match self.what {
            What::Minted(span) if self.once().is_none() && span.count() <= MAX_COUNT => Some(Row {
                key: &self.key,
                at: self.at,
                by: &self.by,
                request: self.request(),
                span,
            }),
            _ => None,
        }
    }

    /// Any event; None for a question.
    pub(super) fn event(&self) -> Option<Event> {
        let payload = match self.what {
            What::Minted(span) => Payload::Mint(Mint::from(span)),
            What::Raised(last) => Payload::Raise(Raise { last }),
            What::Asked => return None,
        };
        let once = self.once();
        let text =
            |field: fn(&Once) -> &String| once.map_or_else(String::new, |o| field(o).clone());
        Some(Event {
            key: self.key.to_string(),
            at: self.at,
            by: self.by.to_string(),
            request: self.request().to_owned(),
            payload: Some(payload),
            token: text(|once| &once.token),
            idempotency: text(|once| &once.idempotency),
            ..Event::default()
        })
    }

    /// The question; None for an event.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        let once = self.once()?;
        matches!(self.what, What::Asked).then(|| Lookup {
            key: self.key.to_string(),
            token: once.token.clone(),
            idempotency: once.idempotency.clone(),
        })
    }
}
