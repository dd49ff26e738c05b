//! How answers over HTTP and over gRPC are passed on.

use crate::api::Body;
use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

/// The maximum length of an answer that is no stream, in bytes: more than a page or a state has.
const MAX_ANSWER: usize = 16 << 20;

/// A kind of answers.
pub(crate) trait Kind {
    /// Whether it needs HTTP/2.
    const HTTP2: bool;

    /// The body for the client.
    type Body;

    /// Takes an answer; None if it was lost.
    fn take(
        head: Parts,
        body: Incoming,
    ) -> impl Future<Output = Option<Response<Self::Body>>> + Send;

    /// Whether another member may be able to answer.
    fn elsewhere(answer: &Response<Self::Body>) -> bool;
}

/// Answers over HTTP.
pub(crate) struct Web;

impl Kind for Web {
    const HTTP2: bool = false;
    type Body = Body;

    /// What is no stream is read to its end, so that another member can be asked if it breaks off.
    async fn take(head: Parts, body: Incoming) -> Option<Response<Body>> {
        let kind = head.headers.get(header::CONTENT_TYPE);
        let stream = kind.is_some_and(|kind| kind == "text/event-stream");
        let body = if stream {
            Body::Forwarded(Box::new(body))
        } else {
            let whole = Limited::new(body, MAX_ANSWER).collect().await.ok()?;
            Body::from(whole.to_bytes())
        };
        Some(Response::from_parts(head, body))
    }

    fn elsewhere(answer: &Response<Body>) -> bool {
        let code = |body: &Bytes| -> Option<bool> {
            let problem: Value = serde_json::from_slice(body).ok()?;
            let code = problem.get("code")?.as_str()?;
            Some(matches!(code, "unavailable" | "busy"))
        };
        match answer.body() {
            Body::Whole(Some(body)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                code(body).unwrap_or(true)
            }
            _ => false,
        }
    }
}

/// Answers over gRPC. Their statuses come at the end, so they are passed on as they come.
pub(crate) struct Call;

impl Kind for Call {
    const HTTP2: bool = true;
    type Body = tonic::body::Body;

    async fn take(head: Parts, body: Incoming) -> Option<Response<tonic::body::Body>> {
        Some(Response::from_parts(head, tonic::body::Body::new(body)))
    }

    fn elsewhere(_: &Response<tonic::body::Body>) -> bool {
        false
    }
}
