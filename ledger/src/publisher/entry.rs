//! What is in the ring: events, and questions.

use super::now;
use crate::columns::Row;
use crate::event::{Event, Mint, Payload, Raise};
use crate::frame::{Lookup, Reply};
use artisanal_core::{MAX_COUNT, Span};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

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
    pub(super) key: Arc<str>,
    pub(super) by: Arc<str>,
    pub(super) request: Option<Box<str>>,
    /// When it happened or was asked, in microseconds since 1970.
    pub(super) at: i64,
    pub(super) what: What,
    pub(super) once: Option<Box<Once>>,
    /// Told what the ledger answered, if somebody waits for it.
    pub(super) answer: Option<oneshot::Sender<Answer>>,
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
    /// What has just happened, or is asked now, without an id of a request.
    pub(super) fn new(key: &Arc<str>, by: &Arc<str>, what: What) -> Self {
        Self {
            key: Arc::clone(key),
            by: Arc::clone(by),
            request: None,
            at: now(),
            what,
            once: None,
            answer: None,
        }
    }

    /// The mint if it is one without an idempotency key, as most are.
    pub(super) fn row(&self) -> Option<Row<'_>> {
        match self.what {
            What::Minted(span) if self.once.is_none() && span.count() <= MAX_COUNT => Some(Row {
                key: &self.key,
                at: self.at,
                by: &self.by,
                request: self.request.as_deref().unwrap_or_default(),
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
        let once = self.once.as_deref();
        let text =
            |field: fn(&Once) -> &String| once.map_or_else(String::new, |o| field(o).clone());
        Some(Event {
            key: self.key.as_ref().to_owned(),
            at: self.at,
            by: self.by.as_ref().to_owned(),
            request: self.request.as_deref().unwrap_or_default().to_owned(),
            payload: Some(payload),
            token: text(|once| &once.token),
            idempotency: text(|once| &once.idempotency),
            ..Event::default()
        })
    }

    /// The question; None for an event.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        let once = self.once.as_deref()?;
        matches!(self.what, What::Asked).then(|| Lookup {
            key: self.key.as_ref().to_owned(),
            token: once.token.clone(),
            idempotency: once.idempotency.clone(),
        })
    }
}
