//! Error answers: `application/problem+json`, RFC 9457.

use super::Body;
use crate::{Error, LINES};
use http::{Response, StatusCode};
use intd::{LogLimiter, Problem, RequestId};

/// Limits what is logged of requests that the ledger cannot answer.
static FAILURES: LogLimiter = LogLimiter::with_burst(LINES);

/// The answer with an error.
pub fn answer_problem(problem: Problem, id: &RequestId) -> Response<Body> {
    problem
        .into_response(false, id.clone())
        .map(|document| Body::from(document.into_whole().unwrap_or_default()))
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
                if let Some(others) = FAILURES.allow() {
                    let suppressed = (others > 0).then_some(others);
                    tracing::warn!(reason = text, suppressed, "a request failed");
                }
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
            r#"{"title":"Conflict","status":409,"code":"conflict","detail":"the key is at event 2","current":2,"request_id":"r-1"}"#
        );
    }
}
