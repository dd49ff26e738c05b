//! A publisher of its own: it takes events over WebSockets, from programs of several kinds, keeps them in the ring of a
//! [`Publisher`], and sends them to a ledger.

mod original;
mod session;

pub use original::ORIGINAL;
pub use session::Session;

use crate::api::intake::Intake;
use crate::api::parameters::Parameters;
use crate::api::{Body, Problem, answer_problem, finished, handshake, json_answer};
use crate::endpoint::Endpoint;
use crate::frame::{PROTOCOL, PROTOCOL_1};
use crate::publisher::{Name, Publisher};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use intd::RequestId;
use serde_json::{Value, json};
use session::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// The name of the server in answers, if it has no other one.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("artisanal-publisher/", env!("CARGO_PKG_VERSION")));

/// A publisher for clients. Clones are the same one.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    options: Options,
    stopping: watch::Receiver<bool>,
    begun: Instant,
    counts: Counts,
    intake: Intake,
}

/// What clients see of a relay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, in the header `Server`.
    pub name: Option<HeaderValue>,
    /// The key of the integers in frames of the original format.
    pub key: Name,
    /// Their increment.
    pub step: i64,
}

/// What it counts.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    connections: AtomicU64,
    frames: AtomicU64,
    batches: AtomicU64,
    malformed: AtomicU64,
}

/// What a path means.
enum Route {
    Alive,
    Stats,
    Ingest,
}

impl Relay {
    /// A relay to the ledger of a publisher. Its sessions end when `stopping` becomes true.
    pub fn new(publisher: Publisher, options: Options, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Inner {
            publisher,
            options,
            stopping,
            begun: Instant::now(),
            counts: Counts::default(),
            intake: Intake::default(),
        }))
    }

    fn answer(&self, request: &Parts) -> Result<Response<Body>, Problem> {
        let route = route(request.uri.path())?;
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Problem::method("GET, HEAD"));
        }
        Parameters::read(request.uri.query(), &[])?;
        match route {
            Route::Alive => Ok(json_answer(StatusCode::OK, &json!({"alive": true}))),
            Route::Stats => Ok(json_answer(StatusCode::OK, &self.stats())),
            Route::Ingest => Err(Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade",
                format!("this path is a WebSocket, with the subprotocol {PROTOCOL} or {ORIGINAL}"),
            )),
        }
    }

    fn accept(&self, request: &Parts, by: &Arc<str>) -> Result<(Response<Body>, Session), Problem> {
        if !matches!(route(request.uri.path())?, Route::Ingest) {
            return Err(Problem::invalid("this path is no WebSocket"));
        }
        let headers = &request.headers;
        // The original clients name no subprotocol.
        let named = headers.contains_key(http::header::SEC_WEBSOCKET_PROTOCOL);
        let (kind, protocol) = if handshake::offers(headers, PROTOCOL) {
            (Kind::Batches, Some(PROTOCOL))
        } else if handshake::offers(headers, PROTOCOL_1) {
            (Kind::Batches, Some(PROTOCOL_1))
        } else if handshake::offers(headers, ORIGINAL) {
            (Kind::Original, Some(ORIGINAL))
        } else if !named {
            (Kind::Original, None)
        } else {
            return Err(Problem::invalid(format!(
                "the WebSocket's subprotocol has to be {PROTOCOL} or {ORIGINAL}"
            )));
        };
        let response = handshake::accept(headers, protocol)?;
        Ok((response, Session::new(self, kind, by)))
    }

    fn stats(&self) -> Value {
        let Inner {
            publisher,
            counts,
            begun,
            options,
            intake,
            ..
        } = &*self.0;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let published = publisher.stats();
        let [events, high_water, size] = publisher.ring();
        let [bytes, bytes_high_water, bytes_size] = publisher.bytes();
        let name = options.name.as_ref().and_then(|name| name.to_str().ok());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "name": name,
            "consumer": publisher.target().to_string(),
            "uptime_seconds": begun.elapsed().as_secs(),
            "requests": get(&counts.requests),
            "connections": get(&counts.connections),
            "frames": get(&counts.frames),
            "batches": get(&counts.batches),
            "batches_long": intake.long(),
            "batches_waits": intake.waits(),
            "malformed": get(&counts.malformed),
            "acknowledged": get(&published.acknowledged),
            "unacknowledged": get(&published.unacknowledged),
            "dropped": get(&published.dropped),
            "refused": get(&published.refused),
            "waits": get(&published.waited),
            "reconnects": get(&published.reconnects),
            "ring": {
                "length": events, "high_water": high_water, "size": size,
                "bytes": bytes, "bytes_high_water": bytes_high_water, "bytes_size": bytes_size,
            },
        })
    }
}

impl Endpoint for Relay {
    type Session = Session;

    fn body_bytes(_: &Method) -> usize {
        0
    }

    async fn handle(&self, request: &Parts, _: Bytes, _: &str) -> Response<Body> {
        self.0.counts.requests.fetch_add(1, Ordering::Relaxed);
        let server = self.0.options.name.clone().unwrap_or(SERVER);
        finished(self.answer(request), request, server)
    }

    fn upgrade(&self, request: &Parts, by: &Arc<str>) -> Option<(Response<Body>, Option<Session>)> {
        handshake::asks(&request.headers).then(|| match self.accept(request, by) {
            Ok((response, session)) => (response, Some(session)),
            Err(problem) => {
                let id = RequestId::of(&request.headers);
                (answer_problem(problem, &id), None)
            }
        })
    }
}

fn route(path: &str) -> Result<Route, Problem> {
    match path {
        "/v1.0/alive" => Ok(Route::Alive),
        "/v1.0/stats" => Ok(Route::Stats),
        // The second one is where servers publish to a ledger, whose place a relay can take.
        "/v1.0/ingest" | "/v1/ingest" => Ok(Route::Ingest),
        _ => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "this path does not exist; a publisher has /v1.0/ingest, /v1.0/alive and /v1.0/stats",
        )),
    }
}
