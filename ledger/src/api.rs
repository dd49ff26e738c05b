//! The HTTP API of a ledger.

mod backup;
mod batches;
mod body;
mod elsewhere;
mod forward;
pub mod grpc;
pub(crate) mod handshake;
pub(crate) mod ingest;
pub(crate) mod intake;
mod json;
mod members;
pub(crate) mod parameters;
mod problem;
pub(crate) mod received;
mod route;
mod state;
mod status;

pub use body::Body;
pub use ingest::Session;
pub use intd::Problem;
pub use problem::answer_problem;

use crate::endpoint::Endpoint;
use crate::event::{Event, MAX_JSON, Payload};
use crate::frame::PROTOCOL;
use crate::members::Members;
use crate::publisher::now;
use crate::query::MAX_PAGE;
use crate::reducer::Reducers;
use crate::{Error, Log, Store};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use intake::Intake;
use intd::RequestId;
use parameters::Parameters;
use route::Route;
use serde_json::{Value, json};
use status::Counts;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

/// The maximum length of the body of a request, in bytes: an event, with room for what JSON escapes.
pub const MAX_BODY: usize = 2 * MAX_JSON;

/// The description of the API.
const OPENAPI: &str = include_str!("api/openapi.json");

/// The name of the server in answers.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("artisanal-ledger/", env!("CARGO_PKG_VERSION")));

/// How many questions are answered at a time. Each may wait for the disk in a thread of its own.
const QUESTIONS: usize = 32;

/// How many states are made at a time, so that slow reducers leave threads for other questions.
const STATES: usize = 8;

/// How many clients may follow keys at a time.
const FOLLOWERS: usize = 1024;

/// How many events a page has if the client does not say.
const PAGE: usize = 100;

/// A ledger for clients. Clones are the same ledger.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    log: Log,
    /// What is read of it.
    store: Store,
    members: Members,
    reducers: Reducers,
    questions: Semaphore,
    states: Semaphore,
    followers: Arc<Semaphore>,
    /// The batches of publishers.
    intake: Intake,
    /// The batches that other members pass on. They must not wait for those of publishers, which wait for other members.
    intake_of_members: Intake,
    /// Held by the one client that makes a backup.
    backup: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    begun: Instant,
    counts: Counts,
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
        let by = self.origin(&request.headers, by);
        if let Some(partition) = self.elsewhere(request) {
            return self.forward(partition, request, body, by).await;
        }
        let again = (request.method != Method::POST).then(|| body.clone());
        let answer = self.answer(request, body, by).await;
        // A partition that another member got in the meantime may have been read when it was half there.
        if let (Some(body), Some(partition)) = (again, self.elsewhere(request)) {
            return self.forward(partition, request, body, by).await;
        }
        finished(answer, request, SERVER)
    }

    fn upgrade(&self, request: &Parts, by: &Arc<str>) -> Option<(Response<Body>, Option<Session>)> {
        ingest::upgrade(self, request, self.origin(&request.headers, by))
    }
}

impl Api {
    /// The API of a log. Followers end when `stopping` becomes true.
    pub fn new(log: impl Into<Log>, reducers: Reducers, stopping: watch::Receiver<bool>) -> Self {
        let members = Members::alone("ledger", None);
        Self::of_member(log, reducers, stopping, members)
    }

    /// The API of one of several members. It passes on questions about partitions that it does not hold.
    pub fn of_member(
        log: impl Into<Log>,
        reducers: Reducers,
        stopping: watch::Receiver<bool>,
        members: Members,
    ) -> Self {
        let log = log.into();
        Self(Arc::new(Inner {
            store: log.store().clone(),
            log,
            members,
            reducers,
            questions: Semaphore::new(QUESTIONS),
            states: Semaphore::new(STATES),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            intake: Intake::default(),
            intake_of_members: Intake::default(),
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
        let route = Route::find(request.uri.path())?;
        let read = matches!(request.method, Method::GET | Method::HEAD);
        let append = request.method == Method::POST && matches!(route, Route::Events(_));
        if !read && !append {
            return Err(Problem::method(route.allow()));
        }
        let query = request.uri.query();
        match route {
            Route::OpenApi => {
                Parameters::read(query, &[])?;
                Ok(json_text(
                    StatusCode::OK,
                    Bytes::from_static(OPENAPI.as_bytes()),
                ))
            }
            Route::Alive => {
                Parameters::read(query, &[])?;
                self.alive()
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
            Route::Members => {
                let partitions = Parameters::read(query, &["partitions"])?.flag("partitions")?;
                let view = self.0.members.view();
                Ok(json_answer(
                    StatusCode::OK,
                    &members::answer(&view, partitions),
                ))
            }
            Route::Backup => {
                Parameters::read(query, &[])?;
                self.backup()
            }
            Route::Integer(key, integer) => {
                let strings = Parameters::read(query, &["strings"])?.strings()?;
                let found = self.ask(&key, |store| {
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
                let gaps = self.ask(&key, |store| {
                    let gaps = store.gaps(&key, from, to, limit)?;
                    Ok(json::gaps(&key, &gaps, strings))
                });
                Ok(json_answer(StatusCode::OK, &gaps.await?))
            }
            Route::State(key) => {
                let parameters = Parameters::read(query, &["reducer"])?;
                let state = self.state(&key, parameters.text("reducer")).await?;
                Ok(json_text(StatusCode::OK, state.json(&key).into()))
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
                let page = self.ask(&key, |store| {
                    let events = store.events(&key, from, limit)?;
                    Ok(json::events(&key, &events, strings))
                });
                Ok(json_answer(StatusCode::OK, &page.await?))
            }
        }
    }

    /// Asks the store for something of a key, in a thread that may wait for the disk.
    async fn ask<T: Send>(
        &self,
        key: &str,
        question: impl FnOnce(&Store) -> Result<T, Error> + Send,
    ) -> Result<T, Problem> {
        self.ask_in_turn(&self.0.questions, key, question)
            .await
            .map_err(Problem::from)
    }

    /// Asks the store when it is this question's turn.
    async fn ask_in_turn<T: Send>(
        &self,
        turns: &Semaphore,
        key: &str,
        question: impl FnOnce(&Store) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.0.log.check_key(key)?;
        let turn = turns.acquire().await;
        let _turn = turn.map_err(|_| Error::Unavailable("the ledger is shutting down".into()))?;
        tokio::task::block_in_place(|| question(&self.0.store))
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
        let event = self.store_appended(event, expected).await?;
        Ok(json_answer(
            StatusCode::CREATED,
            &json::event(&event, strings),
        ))
    }

    /// Appends an event, and counts it.
    async fn store_appended(&self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        let counts = &self.0.counts;
        let appended = self.0.log.append(event, expected).await;
        match &appended {
            Ok(_) => counts.appends.fetch_add(1, Ordering::Relaxed),
            Err(Error::Conflict { .. }) => counts.conflicts.fetch_add(1, Ordering::Relaxed),
            Err(_) => 0,
        };
        appended
    }

    fn follow(&self, key: String, from: u64, strings: bool) -> Result<Response<Body>, Problem> {
        self.0.log.check_key(&key)?;
        let slot = Arc::clone(&self.0.followers).try_acquire_owned();
        let slot = slot.map_err(|_| Problem::busy("too many clients follow keys"))?;
        let mut response = Response::new(body::follow(self.events(key, from, strings), slot));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        Ok(response)
    }

    /// The events of a key from this number on.
    fn events(&self, key: String, next: u64, strings: bool) -> body::Events {
        let store = self.0.store.clone();
        body::Events {
            commits: store.commits(),
            store,
            key,
            next,
            strings,
            stopping: self.0.stopping.clone(),
            members: self.0.members.clone(),
        }
    }

    fn backup(&self) -> Result<Response<Body>, Problem> {
        if self.0.log.stream().is_some() {
            return Err(Problem::invalid(
                "the events of this ledger are in a NATS stream: back that up, with `nats stream backup`",
            ));
        }
        let turn = Arc::clone(&self.0.backup).try_acquire_owned();
        let turn = turn.map_err(|_| Problem::busy("another client makes a backup"))?;
        let mut response = Response::new(backup::body(self.0.store.clone(), turn));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        Ok(response)
    }
}

/// The answer with the headers that all have.
pub(crate) fn finished(
    answer: Result<Response<Body>, Problem>,
    request: &Parts,
    server: HeaderValue,
) -> Response<Body> {
    let id = RequestId::of(&request.headers);
    let mut response = answer.unwrap_or_else(|problem| answer_problem(problem, &id));
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
    json_text(status, value.to_string().into())
}

fn json_text(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests;
