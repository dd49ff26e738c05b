//! Answers that are no problems, and the one for paths that do not exist.

use crate::json::{Int, Minted};
use crate::problem::Problem;
use crate::route::Route;
use crate::{Content, Cors, json};
use artisanal_core::Span;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "this path does not exist; `GET /openapi.json` describes those that do",
    )
}

pub(super) fn preflight(route: &Route<'_>) -> Response<Content> {
    let mut response = Response::new(Content::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ALLOW,
        HeaderValue::from_static(route.allow_with_options()),
    );
    headers.extend(Cors::preflight(route.allow()));
    response
}

pub(super) fn answer(kind: HeaderValue, body: Content) -> Response<Content> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

pub(super) fn fixed(kind: HeaderValue, body: &'static [u8]) -> Response<Content> {
    answer(kind, Bytes::from_static(body).into())
}

pub(super) fn minted(key: &str, span: Span, strings: bool) -> Response<Content> {
    let int = |value| Int { value, strings };
    let minted = Minted {
        key,
        first: int(span.first()),
        step: int(span.step()),
        count: int(i64::from(span.count())),
    };
    answer(JSON, json::bytes(&minted).into())
}
