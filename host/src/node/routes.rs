//! The HTTP server of a node.

use super::{Asked, Node};
use crate::Error;
use crate::serve::body::{Outgoing, outgoing};
use crate::serve::connection::{builder, connection, log};
use crate::serve::connections::accept;
use crate::serve::linger::RequestBody;
use crate::serve::request_body::read;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown};
use artisanal_quorum::{
    Advance, Answer, Change, Claim, Describe, FIRST_EPOCH, Join, NodeState, Read,
};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use hyper::service::service_fn;
use intd::{Content, Problem, RequestId, Token, authorize};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// The maximum size of a request's body, in bytes: a join that asks for as many of the longest keys as it may.
const MOST: usize = 256 * 1024;

/// How many requests are worked on at a time. Claims of one sequence are made one after another, so this many
/// bounds how long one of them waits.
const REQUESTS: usize = 256;

/// Serves a node over HTTP/1.1. With a token, everything but `/ping` and `/healthz` needs it.
pub async fn serve(
    listeners: Listeners,
    node: Arc<Node>,
    token: Option<Token>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let server = builder();
    let shared = Arc::new(Server {
        node,
        token,
        limits: limits.clone(),
        requests: Semaphore::new(REQUESTS),
    });
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<RequestBody>| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { Ok::<_, Infallible>(shared.answer(request).await) })
        });
        connection(&server, stream, service, &each, &ending)
    })
    .await;
}

/// A node's answers to requests that arrive on no connection.
#[doc(hidden)]
pub struct Routes(Server);

impl Routes {
    /// The answers of this node, to everybody.
    pub fn new(node: Arc<Node>) -> Self {
        Self(Server {
            node,
            token: None,
            limits: Limits::default(),
            requests: Semaphore::new(REQUESTS),
        })
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = self.0.respond(request.map(Full::new)).await;
        response.map(|content| content.into_whole().unwrap_or_default())
    }
}

/// The state that all connections share.
struct Server {
    node: Arc<Node>,
    token: Option<Token>,
    limits: Limits,
    requests: Semaphore,
}

impl Server {
    async fn answer(&self, request: Request<RequestBody>) -> Response<Outgoing> {
        self.respond(request).await.map(outgoing)
    }

    async fn respond<B: Body<Data = Bytes> + Unpin>(
        &self,
        request: Request<B>,
    ) -> Response<Content> {
        let begun = self.limits.log_requests.then(Instant::now);
        let (parts, body) = request.into_parts();
        let response = match self.route(&parts, body).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(false, RequestId::of(&parts.headers)),
        };
        if let Some(begun) = begun {
            let sent = RequestId::sent(&parts.headers);
            log(&parts.method, &parts.uri, sent.as_ref(), &response, begun);
        }
        response
    }

    async fn route<B: Body<Data = Bytes> + Unpin>(
        &self,
        parts: &Parts,
        body: B,
    ) -> Result<Response<Content>, Problem> {
        match parts.uri.path() {
            "/ping" => return Ok(answer("text/plain", b"PONG".to_vec())),
            "/healthz" => return self.health(),
            _ => {}
        }
        if let Some(token) = &self.token {
            authorize(&parts.headers, token)?;
        }
        let Ok(_permit) = self.requests.try_acquire() else {
            return Err(Problem::busy(
                "too many requests are waiting for this node; try again in a moment",
            ));
        };
        let post = match parts.method {
            Method::GET => false,
            Method::POST => true,
            _ => return Err(not_allowed("GET, POST")),
        };
        let node = &self.node;
        if let Some((key, action)) = action(parts.uri.path()) {
            let key = key?;
            return match (action, post) {
                (Action::Claim, true) => {
                    let claim = self.message::<Claim>(body).await?;
                    answered(node.claim(&key, Asked::Claim(&claim)).await, true)
                }
                (Action::Advance, true) => {
                    let advance = self.message::<Advance>(body).await?;
                    answered(node.claim(&key, Asked::Advance(&advance)).await, true)
                }
                (Action::Claim, false) => {
                    let epoch = epoch(parts.uri.query())?;
                    answered(node.claim(&key, Asked::Mark { epoch }).await, false)
                }
                (Action::Advance, false) => Err(not_allowed("POST")),
            };
        }
        match (parts.uri.path(), post) {
            ("/v1/node", false) => json(Ok(node.status())),
            ("/v1/node/init", true) => {
                let described = self.message::<Describe>(body).await?;
                json(node.init(described).await)
            }
            ("/v1/node/join", true) => {
                let described = self.message::<Describe>(body).await?;
                let node = Arc::clone(node);
                let joined = to_the_end(async move { node.join(described).await });
                json(joined.await)
            }
            ("/v1/node/read", true) => {
                let read = self.message::<Read>(body).await?;
                json(node.read(&read).await)
            }
            ("/v1/node/change", true) => {
                let change = self.message::<Change>(body).await?;
                let node = Arc::clone(node);
                let changed = to_the_end(async move { node.change(&change).await });
                json(changed.await)
            }
            ("/v1/node/joining", true) => {
                let join = self.message::<Join>(body).await?;
                json(node.joining(&join).await)
            }
            _ => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "this path does not exist on a node; clients claim at \
                 `POST /v1/sequences/{key}/claim`, and `int-host serve --engine quorum` serves integers",
            )),
        }
    }

    fn health(&self) -> Result<Response<Content>, Problem> {
        let status = self.node.status();
        match status.state {
            NodeState::Serving => Ok(answer("text/plain", b"OK".to_vec())),
            _ => Err(Problem::unavailable(status.reason.unwrap_or_default())),
        }
    }

    async fn message<T: DeserializeOwned>(
        &self,
        body: impl Body<Data = Bytes> + Unpin,
    ) -> Result<T, Problem> {
        let body = read(body, MOST + 1, &self.limits).await?;
        if body.len() > MOST {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("the body has more than {MOST} bytes"),
            ));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let why: String = error.to_string().chars().take(200).collect();
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid",
                format!("the body is not the JSON that this path needs: {why}"),
            )
        })
    }
}

/// Does what would otherwise stop halfway when the client gives up.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(Error::Other(error.to_string())))
}

fn not_allowed(methods: &'static str) -> Problem {
    let detail = format!("this path allows the methods {methods}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).with(header::ALLOW, methods)
}

/// What a path of a sequence is for.
#[derive(Clone, Copy)]
enum Action {
    Claim,
    Advance,
}

/// The key and the action in `/v1/sequences/{key}/claim` and `/v1/sequences/{key}/advance`; None for other paths.
fn action(path: &str) -> Option<(Result<String, Problem>, Action)> {
    let (key, action) = path.strip_prefix("/v1/sequences/")?.split_once('/')?;
    let action = match action {
        "claim" => Action::Claim,
        "advance" => Action::Advance,
        _ => return None,
    };
    let key = percent_decode_str(key).decode_utf8().map(Into::into);
    let key = key.map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "the key is not percent-encoded UTF-8",
        )
    });
    Some((key, action))
}

/// The epoch in the query of a read.
fn epoch(query: Option<&str>) -> Result<u64, Problem> {
    let Some(query) = query else {
        return Ok(FIRST_EPOCH);
    };
    let number = query.strip_prefix("epoch=").and_then(|n| n.parse().ok());
    number.ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "the query is not `epoch=N`, the number of a member list",
        )
    })
}

/// The answer of the node to a client. A claim that is refused is a conflict.
fn answered(found: Result<Answer, Error>, takes: bool) -> Result<Response<Content>, Problem> {
    let refused = takes && found.as_ref().is_ok_and(|found| !found.accepted);
    let mut response = json(found)?;
    if refused {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    Ok(response)
}

/// The answer with what the node says.
fn json(said: Result<impl Serialize, Error>) -> Result<Response<Content>, Problem> {
    let said = said.map_err(problem)?;
    let text = serde_json::to_vec(&said).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "other",
            error.to_string(),
        )
    })?;
    Ok(answer("application/json", text))
}

fn answer(kind: &'static str, body: Vec<u8>) -> Response<Content> {
    let mut response = Response::new(Content::from(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Those who may talk to a node may know its backend's errors. `Denied` is the node's own refusal.
fn problem(error: Error) -> Problem {
    let refused = matches!(error, Error::Denied(_));
    let problem = Problem::with_reason(error);
    if refused {
        problem.with_status(StatusCode::FORBIDDEN)
    } else {
        problem
    }
}
