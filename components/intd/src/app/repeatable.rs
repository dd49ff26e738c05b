//! Mints that a client may repeat, since it sent an `Idempotency-Key`. What an idempotency key has is known to the
//! server that calls this; here are the parts of the answer to such a request.

use super::{App, minted};
use crate::problem::Problem;
use crate::query::Query;
use crate::route::Route;
use crate::{Content, Grant, RequestId, body};
use artisanal_core::{Error, Sequence, Span};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// The header with the idempotency key.
pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks an answer with the integers of an earlier one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The maximum length of an idempotency key, in bytes.
const MAX_BYTES: usize = 128;

/// A request with an idempotency key that may mint.
pub struct Repeatable {
    key: String,
    idempotency: String,
    count: u32,
    strings: bool,
    grant: Option<Arc<Grant>>,
}

/// Why a request with an idempotency key gets no integers.
#[derive(Debug)]
pub enum Unrepeatable {
    /// Another request with the same idempotency key is not answered yet.
    InFlight,
    /// The idempotency key has integers, but not those that this request would get.
    Differs(Span),
    /// The integers are not known, or nobody may get them.
    Failed(Error),
}

impl Repeatable {
    /// The sequence.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The idempotency key.
    pub fn idempotency(&self) -> &str {
        &self.idempotency
    }

    /// The name of the client's token, if it has one.
    pub fn token(&self) -> Option<&str> {
        self.grant.as_deref().map(Grant::name)
    }
}

impl<S: Sequence> App<S> {
    /// Reads a request with an idempotency key, for a server that remembers those; [`App::handle`] refuses it. None if the
    /// request has none, or is for a path without them. An error is the answer to a request that must not mint.
    pub fn repeatable(&self, request: &Parts) -> Option<Result<Repeatable, Response<Content>>> {
        if request.method != Method::POST || !request.headers.contains_key(HEADER) {
            return None;
        }
        let Some(Route::Next(key)) = Route::find(request.uri.path()) else {
            return None;
        };
        let read = self.read(key.into_owned(), request);
        Some(read.map_err(|problem| self.told(problem, &request.headers)))
    }

    fn read(&self, key: String, request: &Parts) -> Result<Repeatable, Problem> {
        let takes = Route::Next(key.as_str().into()).takes();
        let Query { count, strings, .. } = Query::parse(request.uri.query(), takes)?;
        let (grant, _) = self.may_mint(&request.headers, &key, count)?;
        body::refuse(&request.headers)?;
        let idempotency = sent(&request.headers)?;
        Ok(Repeatable {
            key,
            idempotency,
            count,
            strings,
            grant,
        })
    }

    /// Whether the integers of an idempotency key are what this request asks for.
    ///
    /// # Errors
    /// The answer to a request for other integers than those.
    pub async fn check_repeated(
        &self,
        request: &Repeatable,
        span: Span,
    ) -> Result<(), Unrepeatable> {
        let same = span.count() == request.count && {
            let held = self.find(&request.key).and_then(|place| place.hold(false));
            // A sequence that cannot be opened now tells nothing about its integers.
            let lattice = match &held {
                Ok(held) => match held.sequence().await {
                    Ok(sequence) => sequence.lattice().await.ok(),
                    Err(_) => None,
                },
                Err(_) => None,
            };
            lattice.is_none_or(|lattice| span.step() % lattice.increment() == 0)
        };
        if same {
            Ok(())
        } else {
            Err(Unrepeatable::Differs(span))
        }
    }

    /// Mints for a request with an idempotency key.
    ///
    /// # Errors
    /// The answer if there are no integers.
    pub async fn mint_repeatable(
        &self,
        request: &Repeatable,
        headers: &HeaderMap,
    ) -> Result<Span, Response<Content>> {
        let mint = async {
            let held = self.find(&request.key)?.hold(true)?;
            let span = held.sequence().await?.next(request.count).await?;
            held.keep();
            Ok(span)
        };
        mint.await.map_err(|problem| self.told(problem, headers))
    }

    /// The answer with the integers of an idempotency key, which an earlier request got already if `replayed`.
    pub fn answer_repeatable(
        &self,
        request: &Repeatable,
        span: Span,
        replayed: bool,
        headers: &HeaderMap,
    ) -> Response<Content> {
        let mut response = minted(&request.key, span, request.strings);
        if replayed {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(REPLAYED, yes);
        }
        self.marked(response, headers)
    }

    /// The answer to a request with an idempotency key that gets no integers.
    pub fn refuse_repeatable(&self, why: Unrepeatable, headers: &HeaderMap) -> Response<Content> {
        let problem = match why {
            Unrepeatable::InFlight => Problem::new(
                StatusCode::CONFLICT,
                "in-flight",
                "another request with this Idempotency-Key is not answered yet; try again in a moment",
            )
            .with(http::header::RETRY_AFTER, "1"),
            Unrepeatable::Differs(span) => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key",
                format!(
                    "this Idempotency-Key was used for {} integers with the increment {}, and this request is for \
                     others; use a new one",
                    span.count(),
                    span.step()
                ),
            ),
            Unrepeatable::Failed(error) => error.into(),
        };
        self.told(problem, headers)
    }

    fn told(&self, problem: Problem, headers: &HeaderMap) -> Response<Content> {
        self.marked(
            problem.into_response(false, RequestId::of(headers)),
            headers,
        )
    }

    fn marked(&self, mut response: Response<Content>, headers: &HeaderMap) -> Response<Content> {
        if let Some(cors) = &self.settings.cors {
            cors.mark(headers, response.headers_mut());
        }
        response
    }
}

/// Refuses a request to mint with an idempotency key, which has no effect here although the client relies on it, or
/// with a body. `next` is whether another server would remember idempotency keys for this path.
pub(super) fn refuse(headers: &HeaderMap, next: bool) -> Result<(), Problem> {
    match (headers.contains_key(HEADER), next) {
        (false, _) => body::refuse(headers),
        (true, true) => Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "idempotency-key",
            "this server cannot remember an Idempotency-Key, and nothing was minted; it needs a ledger: \
             `int-host serve --ledger URL --ledger-policy strict`",
        )),
        (true, false) => Err(Error::Invalid(
            "an Idempotency-Key has no effect on this path; use `POST /v1/sequences/{key}/next`"
                .into(),
        )
        .into()),
    }
}

/// The idempotency key of a request, without its quotation marks if it has some.
fn sent(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = || {
        Error::Invalid(format!(
            "an Idempotency-Key is 1 to {MAX_BYTES} printable ASCII characters, apart from quotation marks and \
             backslashes, and there is one"
        ))
    };
    let mut all = headers.get_all(HEADER).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return Err(wrong().into());
    };
    let text = one.to_str().map_err(|_| wrong())?;
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if (1..=MAX_BYTES).contains(&inner.len()) && inner.bytes().all(plain) {
        Ok(inner.to_owned())
    } else {
        Err(wrong().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Option<String> {
        let values = values
            .iter()
            .map(|value| (HEADER, HeaderValue::from_bytes(value).unwrap()));
        sent(&values.collect()).ok()
    }

    #[test]
    fn idempotency_keys_have_bounds() {
        let long = "x".repeat(MAX_BYTES);
        for (text, key) in [
            ("a", "a"),
            ("\"8e03978e-40d5-43dd-bc93\"", "8e03978e-40d5-43dd-bc93"),
            ("a b=c", "a b=c"),
            (&long, &long),
        ] {
            assert_eq!(read(&[text.as_bytes()]).as_deref(), Some(key));
        }
        for bad in [
            "",
            "\"\"",
            "\"",
            "a\"b",
            "a\\b",
            "a\tb",
            "\u{e9}",
            &"x".repeat(MAX_BYTES + 1),
        ] {
            assert_eq!(read(&[bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), None);
    }
}
