//! The tokens of requests.

use crate::Token;
use crate::problem::Problem;
use http::{HeaderMap, StatusCode, header};

/// Checks `Authorization: Bearer …` (RFC 6750).
///
/// # Errors
/// The answer 401.
pub fn authorize(headers: &HeaderMap, token: &Token) -> Result<(), Problem> {
    find(headers, |presented| token.matches(presented).then_some(()))
}

/// Looks up the token of `Authorization: Bearer …`.
pub(crate) fn find<T>(
    headers: &HeaderMap,
    find: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Problem> {
    let unauthorized = |detail, challenge| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with(header::WWW_AUTHENTICATE, challenge)
    };
    let Some(presented) = bearer(headers) else {
        return Err(unauthorized(
            "this request needs a token; send it as `Authorization: Bearer …`",
            "Bearer",
        ));
    };
    find(presented).ok_or_else(|| {
        unauthorized(
            "the token is not valid for this request",
            "Bearer error=\"invalid_token\"",
        )
    })
}

/// The token of `Authorization: Bearer …`; None if there is none, or several.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let value = one.as_bytes();
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| rest.trim_ascii_start())
}
