//! The sequences of an endpoint: those that its settings name, and those that are opened by pattern.

use super::{App, JSON, answer};
use crate::json::{self, Listed};
use crate::opened::{Opened, Refusal, Use};
use crate::problem::Problem;
use crate::query::Query;
use crate::{Content, Grant, Pattern};
use artisanal_core::{Error, Sequence};
use http::{Response, StatusCode};
use std::ops::Bound;

/// The place of an existing sequence.
pub(super) enum Place<'a, S> {
    Named(&'a S),
    ByPattern(&'a Opened<S>, &'a str),
}

/// A sequence in use.
pub(super) enum Held<'a, S> {
    Named(&'a S),
    ByPattern(Use<'a, S>),
}

impl<S: Sequence> App<S> {
    /// The place of the sequence with this key; never that of another one.
    pub(super) fn find<'a>(&'a self, key: &'a str) -> Result<Place<'a, S>, Problem> {
        if let Some(sequence) = self.sequence(key) {
            return Ok(Place::Named(sequence));
        }
        match &self.opened {
            Some(opened) if self.settings.patterns.iter().any(|p| p.matches(key)) => {
                Ok(Place::ByPattern(opened, key))
            }
            _ => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no-sequence",
                "this sequence does not exist; the server's settings `key` and `keys` name those that do",
            )),
        }
    }

    /// The answer with one page of the list of sequences, as far as they are those of a token.
    pub(super) fn list(
        &self,
        query: &Query,
        grant: Option<&Grant>,
    ) -> Result<Response<Content>, Problem> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let after = query.after.as_str();
        // One more than the page has tells whether there is another page.
        let most = limit.saturating_add(1);
        let shown = |key: &str| grant.is_none_or(|grant| grant.covers(key));
        let mut keys = match &self.opened {
            Some(opened) => opened.keys(after, most, shown),
            None => Vec::new(),
        };
        let others = self
            .others
            .range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let others = others.filter(|(key, _)| shown(key));
        keys.extend(others.take(most).map(|(key, _)| key.clone()));
        if *self.settings.key > *after && shown(&self.settings.key) {
            keys.push(self.settings.key.clone());
        }
        keys.sort_unstable();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let patterns = self.settings.patterns.iter();
        let patterns =
            patterns.filter(|pattern| grant.is_none_or(|grant| grant.covers_all(pattern)));
        let listed = Listed {
            next: keys.last().filter(|_| more).map(String::as_str),
            keys: &keys,
            patterns: patterns.map(Pattern::as_str).collect(),
        };
        let bytes = json::bytes(&listed);
        let reserved = self.reserve_bytes(bytes.len())?;
        Ok(answer(JSON, Content::reserved(bytes, reserved)))
    }
}

impl<'a, S> Place<'a, S> {
    /// Takes the sequence into use, to mint from it or raise it if `changes`, otherwise to read it.
    pub(super) fn hold(self, changes: bool) -> Result<Held<'a, S>, Problem> {
        Ok(match self {
            Self::Named(sequence) => Held::Named(sequence),
            Self::ByPattern(opened, key) => Held::ByPattern(opened.take(key, changes)?),
        })
    }
}

impl<S> Held<'_, S> {
    pub(super) async fn sequence(&self) -> Result<&S, Error> {
        match self {
            Self::Named(sequence) => Ok(sequence),
            Self::ByPattern(used) => used.sequence().await,
        }
    }

    /// Keeps the sequence open: it was minted from or raised.
    pub(super) fn keep(&self) {
        match self {
            Self::Named(_) => {}
            Self::ByPattern(used) => used.keep(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::busy(
                "too many sequences are in use at the same time; nothing was minted; try again in a \
                 moment",
            ),
            Refusal::Full => Self::new(
                StatusCode::FORBIDDEN,
                "too-many-keys",
                "the server has opened as many sequences by pattern as it may, and this engine does not \
                 let it close one; use one of them, or let the server's operator raise `max_keys` \
                 (`--max-keys`)",
            ),
        }
    }
}
