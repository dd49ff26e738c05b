//! Routes requests to sequences and builds the answers.

use crate::budget::Budget;
use crate::content::digits;
use crate::json::{Int, State};
use crate::opened::{Opened, Opening};
use crate::problem::Problem;
use crate::query::Query;
use crate::route::Route;
use crate::{Content, Grant, Granted, Raised, RequestId, Right, Settings, Tokens, body, json};
use artisanal_core::{Error, Sequence, Span};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

mod answer;
mod keys;
mod permission;
mod repeatable;
mod told;

use answer::{JSON, NO_STORE, TEXT, answer, fixed, minted, nothing_here, preflight};
pub use repeatable::{Repeatable, Unrepeatable};
pub use told::Told;

/// The OpenAPI document that `/openapi.json` serves.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// All routes over one set of sequences.
pub struct App<S> {
    settings: Settings,
    /// The sequence behind `/`.
    default: S,
    /// The other sequences that the settings name.
    others: BTreeMap<String, S>,
    /// The sequences whose keys match a pattern; None if there is nothing that opens them.
    opened: Option<Opened<S>>,
    /// The memory for text answers with several integers.
    memory: Budget,
    /// The named tokens, in the place of those of the settings.
    tokens: Option<Arc<dyn Tokens>>,
    /// Whether responses tell which integers they have.
    records: bool,
}

impl<S: Sequence> App<S> {
    /// An endpoint with these settings. `sequence` is called once for each key. For patterns see
    /// [`App::opening`].
    pub fn new(settings: Settings, mut sequence: impl FnMut(&str) -> S) -> Self {
        let app = Self::try_new(settings, |key| Ok::<_, Infallible>(sequence(key)));
        match app {
            Ok(app) => app,
            Err(never) => match never {},
        }
    }

    /// As [`App::new`], but creating a sequence may fail.
    ///
    /// # Errors
    /// The first error of `sequence`.
    pub fn try_new<E>(
        settings: Settings,
        mut sequence: impl FnMut(&str) -> Result<S, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            default: sequence(&settings.key)?,
            others: settings
                .keys
                .iter()
                .filter(|key| **key != settings.key)
                .map(|key| Ok((key.clone(), sequence(key)?)))
                .collect::<Result<_, E>>()?,
            opened: None,
            records: false,
            memory: Budget::new(settings.answer_memory),
            tokens: None,
            settings,
        })
    }

    /// Opens the sequences whose keys match one of [`Settings::patterns`] when they are needed. Without this
    /// they do not exist.
    ///
    /// `reopens` tells whether a sequence may be closed and opened again: not if that loses its integers,
    /// because they are in the memory of the sequence itself.
    pub fn opening(
        mut self,
        reopens: bool,
        open: impl Fn(&str) -> Opening<S> + Send + Sync + 'static,
    ) -> Self {
        let opened = Opened::new(Box::new(open), reopens, self.settings.max_keys);
        self.opened = Some(opened);
        self
    }

    /// Lets only holders of these tokens mint, read and raise, whatever the tokens of the settings are.
    pub fn with_tokens(mut self, tokens: Arc<dyn Tokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Adds the integers of each response to its extensions, as [`Granted`].
    pub fn recording(mut self) -> Self {
        self.records = true;
        self
    }

    /// The settings of this endpoint.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The sequence with this name, if the settings name it.
    pub fn sequence(&self, key: &str) -> Option<&S> {
        if key == self.settings.key {
            Some(&self.default)
        } else {
            self.others.get(key)
        }
    }

    /// The maximum number of bytes of the request body that [`App::handle`] reads. Zero for most
    /// requests: their body need not be read at all.
    ///
    /// It is one more than the maximum size of a body, so that a longer one is detected.
    pub fn body_bytes(&self, method: &Method) -> usize {
        if *method == Method::PUT {
            body::LIMIT + 1
        } else {
            0
        }
    }

    /// Whether requests with this method are answered without reading their headers, so that a host
    /// need not copy them.
    pub fn ignores_headers(&self, method: &Method) -> bool {
        self.settings.cors.is_none()
            && self.settings.mint_token.is_none()
            && self.tokens.is_none()
            && matches!(*method, Method::GET | Method::HEAD)
    }

    /// Whether [`App::mint`] alone can answer the most frequent request, `GET /`: no token is needed to
    /// mint, and the answer has only the usual headers.
    pub fn mints_for_all(&self) -> bool {
        self.ignores_headers(&Method::GET)
    }

    /// Whether a request is `GET /` without a query.
    pub fn is_plain(method: &Method, uri: &Uri) -> bool {
        uri.path() == "/" && *method == Method::GET && uri.query().is_none()
    }

    /// Mints the integer for `GET /`, as text. The headers of that answer are [`App::TEXT_HEADERS`].
    ///
    /// # Errors
    /// The error of the sequence; [`refuse`] makes the answer from it.
    pub async fn mint(&self) -> Result<Bytes, Error> {
        Ok(self.mint_span().await?.1)
    }

    /// As [`App::mint`], with the integer as a span.
    ///
    /// # Errors
    /// As [`App::mint`].
    pub async fn mint_span(&self) -> Result<(Span, Bytes), Error> {
        let span = self.default.next(1).await?;
        Ok((span, digits(span.first())))
    }

    /// The headers of the answer with the text of [`App::mint`].
    pub const TEXT_HEADERS: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, TEXT),
        (header::CACHE_CONTROL, NO_STORE),
    ];

    /// Answers one request. `body` is the part of its body that [`App::body_bytes`] asks for.
    ///
    /// Dropping the future wastes the integers of this request and no others.
    pub async fn handle(&self, request: &Parts, body: Bytes) -> Response<Content> {
        // A fast path for the most frequent request.
        let mut response = if Self::is_plain(&request.method, &request.uri) {
            match self.allowed_to_mint(&request.headers, &self.settings.key, 1) {
                Ok(grant) => match self.mint_span().await {
                    Ok((span, text)) => {
                        let key = &self.settings.key;
                        self.granted(answer(TEXT, text.into()), key, span, grant.as_deref())
                    }
                    Err(error) => refuse(error, &request.headers),
                },
                Err(problem) => problem.into_response(false, RequestId::of(&request.headers)),
            }
        } else {
            self.route(request, body).await
        };
        if let Some(cors) = &self.settings.cors {
            cors.mark(&request.headers, response.headers_mut());
        }
        response
    }

    async fn route(&self, request: &Parts, body: Bytes) -> Response<Content> {
        let id = || RequestId::of(&request.headers);
        let Some(route) = Route::find(request.uri.path()) else {
            return nothing_here().into_response(false, id());
        };
        if request.method == Method::OPTIONS && self.settings.cors.is_some() {
            return preflight(&route);
        }
        if !route.allows(&request.method) {
            return self.wrong_method(&route).into_response(false, id());
        }
        let query = match Query::parse(request.uri.query(), route.takes()) {
            Ok(query) => query,
            Err(error) => return Problem::from(error).into_response(false, id()),
        };
        let strings = query.strings;
        let mut response = self
            .answer(route, query, request, &body)
            .await
            .unwrap_or_else(|problem| problem.into_response(strings, id()));
        if request.method == Method::HEAD {
            let length = HeaderValue::from(response.body().len());
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            *response.body_mut() = Content::default();
        }
        response
    }

    async fn answer(
        &self,
        route: Route<'_>,
        query: Query,
        request: &Parts,
        body: &[u8],
    ) -> Result<Response<Content>, Problem> {
        match route {
            Route::Root => {
                let key = &self.settings.key;
                let grant = self.allowed_to_mint(&request.headers, key, query.count)?;
                if request.method == Method::POST {
                    repeatable::refuse(&request.headers, false)?;
                }
                self.mint_text(query.count, grant.as_deref()).await
            }
            Route::Last => {
                self.ask(&request.headers, Right::Read, Some(&self.settings.key), 0)?;
                match self.default.last().await? {
                    Some(last) => Ok(answer(TEXT, digits(last).into())),
                    None => Err(Problem::new(
                        StatusCode::NOT_FOUND,
                        "none-yet",
                        "this sequence has no last integer yet; `GET /` mints the first one",
                    )),
                }
            }
            Route::Ping => Ok(fixed(TEXT, b"PONG")),
            Route::Healthz => match self.default.last().await {
                Ok(_) => Ok(fixed(TEXT, b"OK")),
                Err(error) => Err(Problem::from(error)
                    .with_status(StatusCode::SERVICE_UNAVAILABLE)
                    .with(header::RETRY_AFTER, "1")),
            },
            Route::OpenApi => {
                let mut response = fixed(JSON, OPENAPI.as_bytes());
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                Ok(response)
            }
            Route::Sequences => {
                let grant = self.ask(&request.headers, Right::Read, None, 0)?;
                let grant = self.or_mint_token(grant, &request.headers)?;
                self.list(&query, grant.as_deref())
            }
            Route::Next(key) => {
                let (named, place) = self.may_mint(&request.headers, &key, query.count)?;
                repeatable::refuse(&request.headers, true)?;
                let held = place.hold(true)?;
                let span = held.sequence().await?.next(query.count).await?;
                held.keep();
                let response = minted(&key, span, query.strings);
                Ok(self.granted(response, &key, span, named.as_deref()))
            }
            Route::Sequence(key) => {
                let raises = request.method == Method::PUT;
                let right = if raises { Right::Raise } else { Right::Read };
                let grant = self.ask(&request.headers, right, Some(&key), 0)?;
                let place = self.find(&key)?;
                let raise = if raises {
                    if grant.is_none() {
                        self.allowed_to_raise(&request.headers)?;
                    }
                    Some(body::last(&request.headers, body)?)
                } else {
                    None
                };
                let held = place.hold(raise.is_some())?;
                let sequence = held.sequence().await?;
                let last = match raise {
                    Some(last) => {
                        sequence.set_last(last).await?;
                        held.keep();
                        Some(last)
                    }
                    None => sequence.last().await?,
                };
                let lattice = sequence.lattice().await?;
                let int = |value| Int {
                    value,
                    strings: query.strings,
                };
                let state = State {
                    key: &key,
                    last: last.map(int),
                    increment: int(lattice.increment()),
                    offset: int(lattice.offset()),
                };
                let mut response = answer(JSON, json::bytes(&state).into());
                if let Some(last) = raise {
                    let id = RequestId::of(&request.headers);
                    let key = key.to_string();
                    response.headers_mut().insert(RequestId::HEADER, id.value());
                    let token = grant.map(|grant| grant.name().to_owned());
                    let raised = Raised {
                        id,
                        key,
                        last,
                        token,
                    };
                    response.extensions_mut().insert(raised);
                }
                Ok(response)
            }
        }
    }

    async fn mint_text(
        &self,
        count: u32,
        grant: Option<&Grant>,
    ) -> Result<Response<Content>, Problem> {
        // Before the mint: integers that cannot be sent must not be minted.
        let reserved = self.reserve(count)?;
        let span = self.default.next(count).await?;
        let response = answer(TEXT, Content::integers(span, reserved));
        Ok(self.granted(response, &self.settings.key, span, grant))
    }

    /// The response with what is recorded of it.
    fn granted(
        &self,
        mut response: Response<Content>,
        key: &str,
        span: Span,
        grant: Option<&Grant>,
    ) -> Response<Content> {
        if self.records {
            response.extensions_mut().insert(Granted {
                key: key.to_owned(),
                span,
                token: grant.map(|grant| grant.name().to_owned()),
            });
        }
        response
    }

    fn wrong_method(&self, route: &Route<'_>) -> Problem {
        let allow = if self.settings.cors.is_some() {
            route.allow_with_options()
        } else {
            route.allow()
        };
        Problem::method(allow)
    }
}

/// The answer to a request with these headers that does not reach an [`App`], because the settings
/// are invalid or the request cannot be read.
///
/// If the client does not get all details, the extensions of this response, and of those of an
/// [`App`], hold a [`crate::Cause`], which the sender of the response logs.
pub fn refuse(error: Error, headers: &HeaderMap) -> Response<Content> {
    Problem::from(error).into_response(false, RequestId::of(headers))
}

#[cfg(test)]
mod tests;
