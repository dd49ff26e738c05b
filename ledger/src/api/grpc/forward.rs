//! Calls about partitions that other members hold.

use super::super::forward::problem;
use super::status::status;
use super::{Grpc, LEDGER, MAX_BODY, service_of};
use crate::members::forward::{Call, FORWARDED, NOT_HELD, Question, Unanswered};
use crate::partition;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use tonic::body::Body;

/// The length of the head of a message, in bytes. It says whether the message is compressed, which is not supported, and
/// how long it is.
const HEAD: usize = 5;

/// The method that changes something.
const APPEND: &str = "AppendEvent";

/// What the requests of all methods about a key have in common.
#[derive(Clone, PartialEq, Message)]
struct OfKey {
    #[prost(string, tag = "1")]
    key: String,
}

/// A call that other members may have to answer, and the partition in question.
pub(super) struct Elsewhere {
    question: Question,
    partition: u16,
}

impl Grpc {
    /// Reads the call if a member other than this one has to answer it. Otherwise the call is as it was.
    pub(super) async fn elsewhere(
        &self,
        request: Request<Body>,
        by: &str,
    ) -> (Request<Body>, Option<Elsewhere>) {
        let path = request.uri().path();
        if service_of(path) != Some(LEDGER) || self.api.0.members.holds_all() {
            return (request, None);
        }
        let repeatable = !path.ends_with(APPEND);
        let (parts, body) = request.into_parts();
        // A body that is too long, or breaks off, is refused by the service as well.
        let read = Limited::new(body, HEAD + MAX_BODY + 1).collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes);
        let bytes = bytes.unwrap_or_default();
        let elsewhere = key(&bytes).map(|key| Elsewhere {
            partition: partition::of(&key),
            question: question(&parts, bytes.clone(), by, repeatable),
        });
        let request = Request::from_parts(parts, Body::new(Full::new(bytes)));
        (request, elsewhere)
    }

    /// Whether this member cannot answer it.
    pub(super) fn is_elsewhere(&self, call: &Elsewhere) -> bool {
        !self.api.0.members.holds(call.partition)
    }

    /// Passes a call on.
    pub(super) async fn forward(&self, call: &Elsewhere) -> Response<Body> {
        let Elsewhere {
            question,
            partition,
        } = call;
        if question.headers.contains_key(FORWARDED) {
            let mut response = status(&problem(Unanswered::Nobody)).into_http();
            response.headers_mut().insert(FORWARDED, NOT_HELD);
            return response;
        }
        let answer = self.api.0.members.forward::<Call>(*partition, question);
        match answer.await {
            Ok(answer) => answer,
            Err(unanswered) => status(&problem(unanswered)).into_http(),
        }
    }
}

impl Elsewhere {
    /// Whether it can be asked again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.question.repeatable
    }
}

/// The key in a message.
fn key(bytes: &Bytes) -> Option<String> {
    let (head, message) = bytes.split_first_chunk::<HEAD>()?;
    let plain = head[0] == 0;
    let key = OfKey::decode(message).ok().filter(|_| plain)?.key;
    artisanal_core::limits::check_key(&key)
        .is_ok()
        .then_some(key)
}

fn question(parts: &Parts, body: Bytes, by: &str, repeatable: bool) -> Question {
    let target = parts.uri.path_and_query().cloned();
    Question {
        method: parts.method.clone(),
        target: target.unwrap_or(PathAndQuery::from_static("/")),
        headers: parts.headers.clone(),
        body,
        by: by.to_owned(),
        repeatable,
    }
}
