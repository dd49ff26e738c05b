//! Who may use a ledger: everybody, or the holders of tokens.

use crate::serve::TokenFile;
use artisanal_ledger::api::{Body, Problem, answer_problem};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use intd::{Grant, Refused, RequestId, Right, Tokens};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// A key that only tokens for all keys cover.
const ALL: &str = "*";

/// The token that a request has; None if everybody may use the ledger.
///
/// # Errors
/// The answer to a request that its token does not allow, or that has none.
pub(super) fn check(
    tokens: Option<&TokenFile>,
    request: &Parts,
) -> Result<Option<Arc<Grant>>, Box<Response<Body>>> {
    let (Some(tokens), Some((right, key))) = (tokens, needs(&request.method, request.uri.path()))
    else {
        return Ok(None);
    };
    let refuse = |status, code, detail: String, header: Option<(_, HeaderValue)>| {
        let problem = Problem::new(status, code, detail);
        let mut response = answer_problem(problem, &RequestId::of(&request.headers));
        response.headers_mut().extend(header);
        Box::new(response)
    };
    let presented = intd::bearer(&request.headers);
    let Some(grant) = presented.and_then(|presented| tokens.find(presented)) else {
        let detail =
            "this request needs a token of the ledger; send it as `Authorization: Bearer …`";
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        let status = StatusCode::UNAUTHORIZED;
        return Err(refuse(
            status,
            "unauthorized",
            detail.into(),
            Some(challenge),
        ));
    };
    match intd::ask(tokens, &grant, right, Some(&key), 0) {
        Ok(()) => Ok(Some(grant)),
        Err(Refused::Key) => {
            let detail =
                "this token is not for this key, or not for all keys where the request needs that";
            Err(refuse(
                StatusCode::FORBIDDEN,
                "forbidden",
                detail.into(),
                None,
            ))
        }
        Err(refused @ Refused::Right(_)) => {
            let detail = refused.to_string();
            Err(refuse(StatusCode::FORBIDDEN, "forbidden", detail, None))
        }
        Err(refused @ Refused::Limit { seconds, .. }) => {
            let retry = (header::RETRY_AFTER, HeaderValue::from(seconds));
            let status = StatusCode::TOO_MANY_REQUESTS;
            Err(refuse(status, "limited", refused.to_string(), Some(retry)))
        }
    }
}

/// What a request needs: a right, and for which key. None for what everybody may see.
fn needs(method: &Method, path: &str) -> Option<(Right, String)> {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let writes = *method == Method::POST || matches!(parts.as_slice(), [_, "ingest"]);
    let right = if writes { Right::Mint } else { Right::Read };
    let key = match parts.as_slice() {
        ["v1.0", "alive"] | ["openapi.json"] => return None,
        ["v1", "integers" | "keys", key, _] => percent_decode_str(key)
            .decode_utf8()
            .map_or(ALL.to_owned(), |key| key.into_owned()),
        _ => ALL.to_owned(),
    };
    Some((right, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_needs_a_right() {
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, right, key) in [
            (&get, "/v1/integers/a/7", Right::Read, "a"),
            (&get, "/v1/keys/a%2Fb/events", Right::Read, "a/b"),
            (&post, "/v1/keys/a/events", Right::Mint, "a"),
            (&get, "/v1/keys/a/state", Right::Read, "a"),
            (&get, "/v1/ingest", Right::Mint, ALL),
            (&get, "/v1.0/ingest", Right::Mint, ALL),
            (&get, "/v1/backup", Right::Read, ALL),
            (&get, "/v1.0/stats", Right::Read, ALL),
            (&get, "/v1/keys/%ff/events", Right::Read, ALL),
            (&get, "/", Right::Read, ALL),
        ] {
            assert_eq!(needs(method, path), Some((right, key.to_owned())), "{path}");
        }
        assert_eq!(needs(&get, "/v1.0/alive"), None);
        assert_eq!(needs(&get, "/openapi.json"), None);
    }
}
