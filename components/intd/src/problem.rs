//! Error answers: `application/problem+json`, RFC 9457.

use crate::{Cause, Content, Refused, RequestId, Told};
use artisanal_core::Error;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Identifies the error for programs, which must not depend on the messages.
    code: &'static str,
    detail: Box<str>,
    /// With `too-small` or `conflict`, the value or the number that the key is at.
    current: Option<i64>,
    /// The message for the log, if it has more details than the answer.
    cause: Option<Box<str>>,
    /// One header that goes with the status.
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
}

impl Problem {
    /// An error with this status, code for programs, and message.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            current: None,
            cause: None,
            header: None,
        }
    }

    /// The answer to a request that is invalid.
    pub fn invalid(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// The answer to a request with another method than those in `allow`.
    pub fn method(allow: &'static str) -> Self {
        let detail = format!("this path allows the methods {allow}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).with(header::ALLOW, allow)
    }

    /// An error that may have passed when the client asks again in a second.
    pub fn passing(code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with(header::RETRY_AFTER, "1")
    }

    /// The answer to a request that has to wait until others are done.
    pub fn busy(detail: impl Into<Box<str>>) -> Self {
        Self::passing("busy", detail)
    }

    /// The answer while what the request needs cannot be reached.
    pub fn unavailable(detail: impl Into<Box<str>>) -> Self {
        Self::passing("unavailable", detail)
    }

    /// Adds a header that goes with the status. There is at most one.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.header = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }

    /// The answer with an error whose own message the client may have: it is one of those that run the backend.
    pub fn with_reason(error: Error) -> Self {
        Self {
            detail: error.to_string().into(),
            cause: None,
            ..Self::from(error)
        }
    }

    /// Replaces the status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds the value or the number that the key is at.
    #[must_use]
    pub fn with_current(mut self, current: i64) -> Self {
        self.current = Some(current);
        self
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code, for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its message, for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The value or the number that the key is at, if the error is about that.
    pub fn current(&self) -> Option<i64> {
        self.current
    }

    /// The same for a protocol without headers and status. The message has the id if there is a cause.
    pub(crate) fn tell(self, id: RequestId) -> Told {
        let mut detail = String::from(self.detail);
        let cause = self.cause.map(|text| {
            detail.push_str(&format!(" ({})", id.as_str()));
            Cause::new(id, self.code, text.into())
        });
        Told {
            code: self.code,
            detail,
            cause,
        }
    }

    /// The answer to the request with this id; `strings` writes its integers as strings. Its extensions
    /// hold the [`Cause`], if there is one.
    pub fn into_response(self, strings: bool, id: RequestId) -> Response<Content> {
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
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        headers.insert(RequestId::HEADER, id.value());
        if let Some(text) = self.cause {
            let cause = Cause::new(id, self.code, text.into());
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// Without a `type` it is `about:blank`, whose title is the reason phrase of the status.
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

/// The public message for an error whose own message may name servers, users and databases. None for
/// errors whose message is about the request.
fn public(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Invalid(_) | Error::TooSmall(_) | Error::Exhausted(_) | Error::Busy => return None,
        Error::Denied(_) => {
            "the backend denies access to this server; trying again does not help; the reason is in \
             the server's log, under this request's id"
        }
        Error::Unavailable(_) => {
            "the backend is unavailable; try again in a moment; integers may have been skipped, but \
             none is handed out twice; the reason is in the server's log, under this request's id"
        }
        Error::Other(_) => {
            "the backend returned an unexpected answer, which is in the server's log, under this \
             request's id"
        }
        Error::Broken(_) => {
            "the engine failed while it handled this request, and none of its integers was handed \
             out; try again, and tell the operator if it happens again: the reason is in the \
             server's log, under this request's id"
        }
        Error::Misconfigured(_) => {
            "the server's settings are invalid, and only its operator can correct them: the reason \
             is in the server's log, under this request's id"
        }
    })
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, code, retry_after) = match refused {
            Refused::Right(_) | Refused::Key => (StatusCode::FORBIDDEN, "forbidden", None),
            Refused::Limit { seconds, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "limited", Some(seconds))
            }
        };
        Self {
            header: retry_after
                .map(|seconds| Box::new((header::RETRY_AFTER, HeaderValue::from(seconds)))),
            ..Self::new(status, code, refused.to_string())
        }
    }
}

/// The only mapping from errors to HTTP.
///
/// An exhausted sequence is 507: the server cannot store what the request needs. That is not the
/// client's mistake, and waiting does not help.
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
