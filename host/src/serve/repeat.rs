//! Requests with an `Idempotency-Key`. The ledger says which integers such a key has: the first stored event wins, also
//! between several servers. Here the requests are asked for, minted for and answered.

use super::recorder::{Client, Name, Recorder};
use crate::{Error, Sequence};
use ::http::request::Parts;
use ::http::{HeaderMap, Response};
use intd::{App, Content, Repeatable, RequestId, Unrepeatable};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// An idempotency key: sequence, token, and what the client sent.
type Requested = (String, String, String);

/// The idempotency keys of requests that are not answered yet.
#[derive(Default)]
pub(super) struct InFlight(Mutex<HashSet<Requested>>);

/// One of them, until it is dropped.
struct Turn<'a>(&'a InFlight, Requested);

impl InFlight {
    /// None if another request has the same key.
    fn begin(&self, name: Requested) -> Option<Turn<'_>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.clone()).then(|| Turn(self, name))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Self(InFlight(all), name) = self;
        all.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// What answers a request with an idempotency key.
pub(super) struct Repeating<'a> {
    pub(super) app: &'a App<Sequence>,
    pub(super) recorder: &'a Recorder,
    pub(super) in_flight: &'a InFlight,
    pub(super) client: &'a Client,
}

impl Repeating<'_> {
    /// The answer; None if the request has no idempotency key, or the server has no ledger that remembers it.
    pub(super) async fn answer(&self, parts: &Parts) -> Option<Response<Content>> {
        if !self.recorder.remembers() {
            return None;
        }
        Some(match self.app.repeatable(parts)? {
            Ok(request) => self.repeat(&request, &parts.headers).await,
            Err(refused) => refused,
        })
    }

    async fn repeat(&self, request: &Repeatable, headers: &HeaderMap) -> Response<Content> {
        let refuse = |why| self.app.refuse_repeatable(why, headers);
        let token = request.token().unwrap_or_default();
        let name = [request.key(), token, request.idempotency()].map(ToOwned::to_owned);
        let Some(_turn) = self.in_flight.begin(name.into()) else {
            return refuse(Unrepeatable::InFlight);
        };
        let client = self.client.named(request.token());
        let key = Name::from(request.key());
        let recorder = self.recorder;
        // Without this question a repetition would mint, and need the backend.
        let known = match recorder.earlier(&key, &client, request).await {
            Ok(known) => known,
            Err(error) => return refuse(Unrepeatable::Failed(error)),
        };
        let (span, replayed) = match known {
            Some(span) => (span, true),
            None => {
                let own = match self.app.mint_repeatable(request, headers).await {
                    Ok(own) => own,
                    Err(refused) => return refused,
                };
                let sent = RequestId::sent(headers);
                let id = sent.as_ref().map(RequestId::as_str);
                // Another server, or an earlier attempt of this one, may have been faster.
                match recorder.minted_once(&key, &client, id, request, own).await {
                    Ok(None) => (own, false),
                    Ok(Some(earlier)) => (earlier, true),
                    Err(error) => return refuse(Unrepeatable::Failed(error)),
                }
            }
        };
        if replayed && let Err(differs) = self.app.check_repeated(request, span).await {
            return refuse(differs);
        }
        self.app.answer_repeatable(request, span, replayed, headers)
    }
}

/// The integers that the ledger names.
#[cfg(feature = "ledger")]
pub(super) fn span(mint: crate::ledger::Mint) -> Result<artisanal_core::Span, Error> {
    mint.span()
        .ok_or_else(|| Error::Other("the ledger answered with integers that are no span".into()))
}
