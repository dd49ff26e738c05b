//! Error answers: `application/problem+json`, RFC 9457.

use super::Body;
use crate::Error;
use bytes::Bytes;
use http::{Response, StatusCode};
use intd::{Content, Problem, RequestId};
use serde_json::Value;

/// The answer with an error.
pub fn answer_problem(problem: Problem, id: &RequestId) -> Response<Body> {
    let response = problem.into_response(false, id.clone());
    response.map(|document| Body::from(in_order(document)))
}

/// The document with its members in the order of their names, as in the ledger's other answers.
fn in_order(document: Content) -> Bytes {
    // The document is in memory and is JSON: neither fails.
    let document = document.into_whole().unwrap_or_default();
    let sorted = serde_json::from_slice::<Value>(&document).map(|value| value.to_string());
    sorted.map_or(document, Bytes::from)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid(text) => Self::invalid(text),
            Error::Conflict { current } => Self::new(StatusCode::CONFLICT, "conflict", text)
                .with_current(i64::try_from(current).unwrap_or(i64::MAX)),
            Error::Unavailable(_) => {
                // Its text may name files.
                tracing::warn!(reason = text, "a request failed");
                Self::unavailable(
                    "the ledger cannot read or write at the moment; what was to be appended may be stored or not; the \
                     reason is in its log",
                )
            }
            Error::Unfinished(text) => Self::passing("unfinished", text),
            Error::TooLarge(text) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "too-large", text),
            Error::Reducer(text) => Self::new(StatusCode::BAD_GATEWAY, "reducer", text),
            Error::NotRetained(text) => Self::new(StatusCode::GONE, "not-retained", text),
            Error::Misconfigured(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "misconfigured",
                "the ledger's data directory cannot be used",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, header};
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_conflict_has_the_documented_answer() {
        let sent = HeaderMap::from_iter([(RequestId::HEADER, HeaderValue::from_static("r-1"))]);
        let problem = Problem::from(Error::Conflict { current: 2 });
        let answer = answer_problem(problem, &RequestId::of(&sent));
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        for (name, value) in [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CACHE_CONTROL, "no-store"),
            (RequestId::HEADER, "r-1"),
        ] {
            let values = answer.headers().get_all(&name).iter();
            assert_eq!(values.collect::<Vec<_>>(), [value], "{name}");
        }
        let document = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            document,
            r#"{"code":"conflict","current":2,"detail":"the key is at event 2","request_id":"r-1","status":409,"title":"Conflict"}"#
        );
    }
}
