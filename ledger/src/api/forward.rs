//! Questions about partitions that other members hold.

use super::route::Route;
use super::{Api, Body, Problem, SERVER, finished};
use crate::members::forward::{FORWARDED, NOT_HELD, Question, Unanswered, Web, said_by};
use crate::partition;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response};
use std::net::SocketAddr;

/// What a client is told if nobody answers.
pub(super) fn problem(unanswered: Unanswered) -> Problem {
    match unanswered {
        Unanswered::Nobody => Problem::unavailable(
            "no member of the ledger that is alive has caught up with this key at the moment; nothing was done",
        ),
        Unanswered::Lost => Problem::unavailable(
            "the member of the ledger that has this key did not answer; what was to be appended may be stored or not",
        ),
    }
}

impl Api {
    /// The client of a request: the one that another member names, if a member sent it. `by` is a token's name or an
    /// address. A token says who it is by itself.
    pub(super) fn origin<'a>(&self, headers: &'a HeaderMap, by: &'a str) -> &'a str {
        let Some(said) = said_by(headers) else {
            return by;
        };
        let address = by.parse::<SocketAddr>();
        let member = address.is_ok_and(|address| self.0.members.is_member(address.ip()));
        if member { said } else { by }
    }

    /// The partition of a request that this member cannot answer.
    pub(super) fn elsewhere(&self, request: &Parts) -> Option<u16> {
        // As in a ledger without other members.
        if self.0.members.holds_all() {
            return None;
        }
        let route = Route::find(request.uri.path()).ok()?;
        let partition = partition::of(route.key()?);
        (!self.0.members.holds(partition)).then_some(partition)
    }

    /// Passes a request on.
    pub(super) async fn forward(
        &self,
        partition: u16,
        request: &Parts,
        body: Bytes,
        by: &str,
    ) -> Response<Body> {
        if request.headers.contains_key(FORWARDED) {
            let problem = problem(Unanswered::Nobody);
            let mut response = finished(Err(problem), request, SERVER);
            response.headers_mut().insert(FORWARDED, NOT_HELD);
            return response;
        }
        let target = request.uri.path_and_query().cloned();
        let question = Question {
            method: request.method.clone(),
            target: target.unwrap_or(PathAndQuery::from_static("/")),
            headers: request.headers.clone(),
            body,
            by: by.to_owned(),
            repeatable: request.method != Method::POST,
        };
        match self.0.members.forward::<Web>(partition, &question).await {
            Ok(answer) => answer,
            Err(unanswered) => finished(Err(problem(unanswered)), request, SERVER),
        }
    }
}

#[cfg(test)]
mod tests;
