//! How errors look over HTTP: `application/problem+json`, RFC 9457.

use crate::Error;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// For programs, which must not depend on the texts.
    code: &'static str,
    detail: String,
    /// The value a sequence is already at, when that is the problem.
    current: Option<i64>,
    /// One header that goes with the status.
    header: Option<(header::HeaderName, &'static str)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            current: None,
            header: None,
        }
    }

    pub(crate) fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The same with another status: for `/healthz`, which knows but one.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The answer, its integers as strings if that was asked for.
    pub(crate) fn into_response(self, strings: bool) -> Response<Bytes> {
        let document = Document {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            current: self
                .current
                .map(|value| crate::json::Int { value, strings }),
        };
        let mut response = Response::new(crate::json::bytes(&document));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Without a `type` it is `about:blank`, for which the title is the status' own.
#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<crate::json::Int>,
}

/// The one place where errors become HTTP.
///
/// A sequence that is exhausted is 507: the server cannot store what the request needs, which is
/// not the request's fault and which no waiting mends.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Error::TooSmall(_) => (StatusCode::CONFLICT, "too-small"),
            Error::Exhausted(_) => (StatusCode::INSUFFICIENT_STORAGE, "exhausted"),
            Error::Denied(_) => (StatusCode::BAD_GATEWAY, "denied"),
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Error::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Error::Other(_) => (StatusCode::BAD_GATEWAY, "other"),
            Error::Broken(_) => (StatusCode::BAD_GATEWAY, "broken"),
            Error::Misconfigured(_) => (StatusCode::INTERNAL_SERVER_ERROR, "misconfigured"),
        };
        let problem = Self {
            current: match error {
                Error::TooSmall(current) => Some(current),
                _ => None,
            },
            ..Self::new(status, code, error.to_string())
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.with(header::RETRY_AFTER, "1")
        } else {
            problem
        }
    }
}
