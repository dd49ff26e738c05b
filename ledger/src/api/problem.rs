//! Error answers: `application/problem+json`, RFC 9457.

use super::Body;
use crate::Error;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use intd::RequestId;
use serde_json::json;

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// With a conflict, the number of the key's last event.
    current: Option<u64>,
    header: Option<(header::HeaderName, &'static str)>,
}

impl Problem {
    /// An error with this status, code for programs, and text for a person.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            current: None,
            header: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub(super) fn busy(detail: &str) -> Self {
        Self {
            header: Some((header::RETRY_AFTER, "1")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
        }
    }

    pub(super) fn unavailable(detail: &str) -> Self {
        Self {
            header: Some((header::RETRY_AFTER, "1")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        Self {
            header: Some((header::ALLOW, allow)),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                format!("this path allows the methods {allow}"),
            )
        }
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code, for programs.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// Its text, for a person.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// With a conflict, the number of the key's last event.
    pub(super) fn current(&self) -> Option<u64> {
        self.current
    }

    pub(crate) fn into_response(self, id: &RequestId) -> Response<Body> {
        let mut document = json!({
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "request_id": id.as_str(),
        });
        if let (Some(current), Some(object)) = (self.current, document.as_object_mut()) {
            object.insert("current".into(), current.into());
        }
        let mut response = Response::new(Body::from(Bytes::from(document.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The answer with an error.
pub fn answer_problem(problem: Problem, id: &RequestId) -> Response<Body> {
    problem.into_response(id)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid(text) => Self::invalid(text),
            Error::Conflict { current } => Self {
                current: Some(current),
                ..Self::new(StatusCode::CONFLICT, "conflict", text)
            },
            Error::Unavailable(_) => {
                // Its text may name files.
                tracing::warn!(reason = text, "a request failed");
                Self::unavailable(
                    "the ledger cannot read or write at the moment; what was to be appended may be stored or not; the \
                     reason is in its log",
                )
            }
            Error::Unfinished(text) => Self {
                header: Some((header::RETRY_AFTER, "1")),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unfinished", text)
            },
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
