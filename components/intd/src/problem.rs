//! How errors look over HTTP: `application/problem+json`, RFC 9457.

use crate::{Cause, Content, RequestId};
use artisanal_core::Error;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// For programs, which must not depend on the texts.
    code: &'static str,
    detail: Box<str>,
    /// The value a sequence is already at, when that is the problem.
    current: Option<i64>,
    /// What the log says, where that is more than the client is told.
    cause: Option<Box<str>>,
    /// One header that goes with the status.
    header: Option<(header::HeaderName, &'static str)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            current: None,
            cause: None,
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

    /// The answer to the request of that name, its integers as strings if that was asked for. Its
    /// extensions have the [`Cause`], where there is one.
    pub(crate) fn into_response(self, strings: bool, id: RequestId) -> Response<Content> {
        let document = Document {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            current: self
                .current
                .map(|value| crate::json::Int { value, strings }),
            request_id: id.as_str(),
        };
        let mut response = Response::new(Content::from(crate::json::bytes(&document)));
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
        headers.insert(RequestId::HEADER, id.value());
        if let Some(text) = self.cause {
            let cause = Cause::new(id, self.code, text.into());
            response.extensions_mut().insert(cause);
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
    request_id: &'a str,
}

/// What clients are told of an error whose own text may name servers, users and databases. None for
/// those whose text is about the request.
fn public(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Invalid(_) | Error::TooSmall(_) | Error::Exhausted(_) | Error::Busy => return None,
        Error::Denied(_) => {
            "the backend refuses to serve this server; trying again does not help; its operator \
             finds the reason in the server's log, under this request's id"
        }
        Error::Unavailable(_) => {
            "the backend cannot serve now; try again in a moment; integers may have been skipped, and \
             none is handed out twice; the server's log has the reason, under this request's id"
        }
        Error::Other(_) => {
            "the backend answered something unexpected; its operator finds it in the server's log, \
             under this request's id"
        }
        Error::Broken(_) => {
            "the engine broke while it handled this request, and none of its integers was handed \
             out; try again, and tell the operator when it happens again: the server's log has the \
             reason, under this request's id"
        }
        Error::Misconfigured(_) => {
            "the server's settings are wrong, and only its operator can mend that: the server's \
             log has the reason, under this request's id"
        }
    })
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
        let text = Box::<str>::from(error.to_string());
        let (detail, cause) = match public(&error) {
            Some(detail) => (detail.into(), Some(text)),
            None => (text, None),
        };
        let problem = Self {
            current: match error {
                Error::TooSmall(current) => Some(current),
                _ => None,
            },
            cause,
            ..Self::new(status, code, detail)
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.with(header::RETRY_AFTER, "1")
        } else {
            problem
        }
    }
}
