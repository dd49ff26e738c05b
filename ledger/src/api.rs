//! The HTTP API of a ledger.

mod backup;
mod body;
pub(crate) mod handshake;
pub(crate) mod ingest;
mod json;
pub(crate) mod parameters;
mod problem;

pub use body::Body;
pub use ingest::Session;
pub use problem::{Problem, answer_problem};

use crate::endpoint::Endpoint;
use crate::event::{Event, MAX_JSON, Payload};
use crate::frame::PROTOCOL;
use crate::publisher::now;
use crate::query::MAX_PAGE;
use crate::state::Reducer;
use crate::{Error, Store};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use intd::RequestId;
use parameters::Parameters;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

/// The maximum length of the body of a request, in bytes: an event, with room for what JSON escapes.
pub const MAX_BODY: usize = 2 * MAX_JSON;

/// The name of the server in answers.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("artisanal-ledger/", env!("CARGO_PKG_VERSION")));

/// How many questions are answered at a time. Each may wait for the disk in a thread of its own.
const QUESTIONS: usize = 32;

/// How many clients may follow keys at a time.
const FOLLOWERS: usize = 1024;

/// How many events a page has if the client does not say.
const PAGE: usize = 100;

/// A ledger for clients. Clones are the same ledger.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    store: Store,
    questions: Semaphore,
    followers: Arc<Semaphore>,
    /// Held by the one client that makes a backup.
    backup: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    begun: Instant,
    counts: Counts,
}

/// What it counts.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    batches: AtomicU64,
    refused: AtomicU64,
    appends: AtomicU64,
    conflicts: AtomicU64,
    publishers: AtomicU64,
}

/// What a path means.
enum Route {
    Integer(String, i64),
    Gaps(String),
    Events(String),
    State(String),
    Alive,
    Stats,
    Ingest,
    Backup,
}

impl Endpoint for Api {
    type Session = Session;

    fn body_bytes(method: &Method) -> usize {
        match *method {
            Method::POST => MAX_BODY,
            _ => 0,
        }
    }

    async fn handle(&self, request: &Parts, body: Bytes, by: &str) -> Response<Body> {
        self.0.counts.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer(request, body, by).await;
        finished(answer, request, SERVER)
    }

    fn upgrade(&self, request: &Parts, _: &Arc<str>) -> Option<(Response<Body>, Option<Session>)> {
        ingest::upgrade(self, request)
    }
}

impl Api {
    /// The API of a store. Followers end when `stopping` becomes true.
    pub fn new(store: Store, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Inner {
            store,
            questions: Semaphore::new(QUESTIONS),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            backup: Arc::new(Semaphore::new(1)),
            stopping,
            begun: Instant::now(),
            counts: Counts::default(),
        }))
    }

    async fn answer(
        &self,
        request: &Parts,
        body: Bytes,
        by: &str,
    ) -> Result<Response<Body>, Problem> {
        let route = route(request.uri.path())?;
        let read = matches!(request.method, Method::GET | Method::HEAD);
        let append = request.method == Method::POST && matches!(route, Route::Events(_));
        if !read && !append {
            let allow = match route {
                Route::Events(_) => "GET, HEAD, POST",
                _ => "GET, HEAD",
            };
            return Err(Problem::method(allow));
        }
        let query = request.uri.query();
        match route {
            Route::Alive => {
                Parameters::read(query, &[])?;
                Ok(json_answer(StatusCode::OK, &json!({"alive": true})))
            }
            Route::Stats => {
                Parameters::read(query, &[])?;
                Ok(json_answer(StatusCode::OK, &self.stats()))
            }
            Route::Ingest => Err(Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade",
                format!("this path is a WebSocket with the subprotocol {PROTOCOL}"),
            )),
            Route::Backup => {
                Parameters::read(query, &[])?;
                self.backup()
            }
            Route::Integer(key, integer) => {
                let strings = Parameters::read(query, &["strings"])?.strings()?;
                let found = self.ask(|store| {
                    let found = store.find(&key, integer)?;
                    Ok(json::found(&key, integer, &found, strings))
                });
                Ok(json_answer(StatusCode::OK, &found.await?))
            }
            Route::Gaps(key) => {
                let parameters = Parameters::read(query, &["strings", "from", "to", "limit"])?;
                let strings = parameters.strings()?;
                let from = parameters.integer("from")?.unwrap_or(1);
                let to = parameters.integer("to")?.unwrap_or(i64::MAX);
                let limit = parameters.limit(PAGE, MAX_PAGE)?;
                let gaps = self.ask(|store| {
                    let gaps = store.gaps(&key, from, to, limit)?;
                    Ok(json::gaps(&key, &gaps, strings))
                });
                Ok(json_answer(StatusCode::OK, &gaps.await?))
            }
            Route::State(key) => {
                let parameters = Parameters::read(query, &["reducer"])?;
                let name = parameters.text("reducer").unwrap_or("mints");
                let reducer = Reducer::find(name)
                    .ok_or_else(|| Problem::invalid("the reducers are `mints` and `merge`"))?;
                let state = self.ask(|store| store.state(&key, reducer)).await?;
                let answer = json!({
                    "key": key, "reducer": name, "number": state.number, "state": state.state,
                });
                Ok(json_answer(StatusCode::OK, &answer))
            }
            Route::Events(key) if append => self.append(key, body, by, request).await,
            Route::Events(key) => {
                let parameters = Parameters::read(query, &["strings", "from", "limit", "follow"])?;
                let strings = parameters.strings()?;
                let from = parameters.integer("from")?.unwrap_or(1).max(1);
                let from = u64::try_from(from).unwrap_or(1);
                let limit = parameters.limit(PAGE, MAX_PAGE)?;
                if parameters.flag("follow")? {
                    return self.follow(key, from, strings);
                }
                let page = self.ask(|store| {
                    let events = store.events(&key, from, limit)?;
                    Ok(json::events(&key, &events, strings))
                });
                Ok(json_answer(StatusCode::OK, &page.await?))
            }
        }
    }

    /// Asks the store, in a thread that may wait for the disk.
    async fn ask<T: Send>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, Error> + Send,
    ) -> Result<T, Problem> {
        let _turn =
            self.0.questions.acquire().await.map_err(|_| {
                Problem::from(Error::Unavailable("the ledger is shutting down".into()))
            })?;
        let store = &self.0.store;
        tokio::task::block_in_place(|| question(store)).map_err(Problem::from)
    }

    async fn append(
        &self,
        key: String,
        body: Bytes,
        by: &str,
        request: &Parts,
    ) -> Result<Response<Body>, Problem> {
        let parameters = Parameters::read(request.uri.query(), &["strings"])?;
        let strings = parameters.strings()?;
        if body.len() > MAX_BODY {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("the body may have {MAX_BODY} bytes"),
            ));
        }
        let (kind, payload, expected) = json::appended(&body)?;
        let event = Event {
            key,
            at: now(),
            by: by.to_owned(),
            request: RequestId::sent(&request.headers)
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
            json_kind: kind,
            payload: Some(Payload::Json(payload)),
            ..Event::default()
        };
        let counts = &self.0.counts;
        match self.0.store.append(event, expected).await {
            Ok(event) => {
                counts.appends.fetch_add(1, Ordering::Relaxed);
                Ok(json_answer(
                    StatusCode::CREATED,
                    &json::event(&event, strings),
                ))
            }
            Err(error) => {
                if matches!(error, Error::Conflict { .. }) {
                    counts.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Err(error.into())
            }
        }
    }

    fn follow(&self, key: String, from: u64, strings: bool) -> Result<Response<Body>, Problem> {
        let slot = Arc::clone(&self.0.followers).try_acquire_owned();
        let slot = slot.map_err(|_| Problem::busy("too many clients follow keys"))?;
        let body = body::follow(
            self.0.store.clone(),
            key,
            from,
            strings,
            self.0.stopping.clone(),
            slot,
        );
        let mut response = Response::new(body);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        Ok(response)
    }

    fn backup(&self) -> Result<Response<Body>, Problem> {
        let turn = Arc::clone(&self.0.backup).try_acquire_owned();
        let turn = turn.map_err(|_| Problem::busy("another client makes a backup"))?;
        let mut response = Response::new(backup::body(self.0.store.clone(), turn));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        Ok(response)
    }

    fn stats(&self) -> Value {
        let Inner {
            store,
            counts,
            followers,
            begun,
            ..
        } = &*self.0;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let stored = store.counts();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": begun.elapsed().as_secs(),
            "requests": get(&counts.requests),
            "publishers": get(&counts.publishers),
            "followers": FOLLOWERS - followers.available_permits(),
            "batches": get(&counts.batches),
            "batches_refused": get(&counts.refused),
            "appends": get(&counts.appends),
            "conflicts": get(&counts.conflicts),
            "events": get(&stored.events),
            "duplicates": get(&stored.duplicates),
            "groups": get(&stored.groups),
            "failures": get(&stored.failures),
        })
    }
}

fn route(path: &str) -> Result<Route, Problem> {
    let nothing = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "this path does not exist; docs/ledger.md lists those that do",
        )
    };
    let key = |text: &str| {
        let key = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| Problem::invalid("the key is not UTF-8"))?;
        artisanal_core::limits::check_key(&key)
            .map_err(|error| Problem::invalid(error.to_string()))?;
        Ok::<_, Problem>(key.into_owned())
    };
    let parts: Vec<_> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["v1.0", "alive"] => Ok(Route::Alive),
        ["v1.0", "stats"] => Ok(Route::Stats),
        ["v1", "backup"] => Ok(Route::Backup),
        ["v1" | "v1.0", "ingest"] => Ok(Route::Ingest),
        ["v1", "integers", name, integer] => match integer.parse() {
            Ok(integer @ 0..) => Ok(Route::Integer(key(name)?, integer)),
            _ => Err(Problem::invalid(
                "an integer is a whole number from 0 to 2^63 - 1",
            )),
        },
        ["v1", "keys", name, "gaps"] => Ok(Route::Gaps(key(name)?)),
        ["v1", "keys", name, "events"] => Ok(Route::Events(key(name)?)),
        ["v1", "keys", name, "state"] => Ok(Route::State(key(name)?)),
        _ => Err(nothing()),
    }
}

/// The answer with the headers that all have.
pub(crate) fn finished(
    answer: Result<Response<Body>, Problem>,
    request: &Parts,
    server: HeaderValue,
) -> Response<Body> {
    let id = RequestId::of(&request.headers);
    let mut response = answer.unwrap_or_else(|problem| problem.into_response(&id));
    let headers = response.headers_mut();
    headers.insert(RequestId::HEADER, id.value());
    headers.insert(header::SERVER, server);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.method == Method::HEAD {
        *response.body_mut() = Body::default();
    }
    response
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
