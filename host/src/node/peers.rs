//! Requests to other nodes.

use super::member::random;
use crate::Error;
use crate::simulated::Simulated;
use artisanal_core::Secret;
use artisanal_quorum::{Change, Changed, Describe, Join, Read, Report, Status};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit of one request. A join stores its incarnation at the other node before that answers.
const LIMIT: Duration = Duration::from_secs(5);

/// The time limit of a request to join, in which a node reads and stores the marks of all sequences.
const JOIN_LIMIT: Duration = Duration::from_secs(600);

/// The maximum size of an answer, in bytes: more than a page of the longest keys.
const MOST: usize = 256 * 1024;

/// A request to a node that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{address} {reason}")]
pub struct PeerError {
    /// The node's address.
    pub address: String,
    /// What the node does or is, such as `does not answer: …`.
    pub reason: Error,
}

impl PeerError {
    /// Whether the node refuses this client, for instance for a wrong token.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.reason, Error::Denied(_))
    }
}

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Self {
        let text = error.to_string();
        match error.reason {
            Self::Unavailable(_) => Self::Unavailable(text),
            Self::Denied(_) => Self::Denied(text),
            Self::Invalid(_) => Self::Invalid(text),
            _ => Self::Other(text),
        }
    }
}

/// A client for the nodes of a group, with their token.
#[derive(Clone)]
pub struct Peers {
    client: Client<HttpConnector, Full<Bytes>>,
    token: Option<Secret>,
    simulated: Option<Simulated>,
}

impl Peers {
    /// A client that sends this token.
    pub fn new(token: Option<Secret>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(LIMIT));
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            token,
            simulated: None,
        }
    }

    /// The same client with these surroundings instead of the network.
    #[doc(hidden)]
    pub fn within(self, simulated: Simulated) -> Self {
        Self {
            simulated: Some(simulated),
            ..self
        }
    }

    /// A random number, as [`random`].
    pub(super) fn random(&self) -> u64 {
        match &self.simulated {
            Some(simulated) => simulated.random(),
            None => random(),
        }
    }

    /// Asks a node what it is and can do.
    ///
    /// # Errors
    /// The reason is [`Error::Unavailable`] when it does not answer, [`Error::Denied`] when it rejects the token,
    /// [`Error::Other`] when the answer is not a node's.
    pub async fn status(&self, address: &str) -> Result<Status, PeerError> {
        self.ask::<(), _>(Method::GET, address, "/v1/node", None)
            .await
    }

    /// Makes a node a member of a new group.
    ///
    /// # Errors
    /// As [`Peers::status`]; also when the node refuses, with its reason.
    pub async fn init(&self, address: &str, described: &Describe) -> Result<Status, PeerError> {
        self.ask(Method::POST, address, "/v1/node/init", Some(described))
            .await
    }

    /// Lets a node that lost its data take its place again.
    ///
    /// # Errors
    /// As [`Peers::init`].
    pub async fn join(&self, address: &str, described: &Describe) -> Result<Status, PeerError> {
        let path = "/v1/node/join";
        self.ask_within(JOIN_LIMIT, Method::POST, address, path, Some(described))
            .await
    }

    /// Lists sequences of a node and reads their marks.
    ///
    /// # Errors
    /// As [`Peers::init`].
    pub async fn read(&self, address: &str, read: &Read) -> Result<Report, PeerError> {
        let report: Report = self
            .ask(Method::POST, address, "/v1/node/read", Some(read))
            .await?;
        checked(address, report, read)
    }

    pub(super) async fn change(
        &self,
        address: &str,
        change: &Change,
    ) -> Result<Changed, PeerError> {
        self.ask(Method::POST, address, "/v1/node/change", Some(change))
            .await
    }

    pub(super) async fn joining(&self, address: &str, join: &Join) -> Result<Report, PeerError> {
        let report: Report = self
            .ask(Method::POST, address, "/v1/node/joining", Some(join))
            .await?;
        checked(address, report, &join.read)
    }

    async fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        address: &str,
        path: &str,
        message: Option<&T>,
    ) -> Result<A, PeerError> {
        self.ask_within(LIMIT, method, address, path, message).await
    }

    async fn ask_within<T: Serialize, A: DeserializeOwned>(
        &self,
        limit: Duration,
        method: Method,
        address: &str,
        path: &str,
        message: Option<&T>,
    ) -> Result<A, PeerError> {
        timeout(limit, self.exchange(method, address, path, message))
            .await
            .unwrap_or_else(|_| {
                Err(Error::Unavailable(format!(
                    "did not answer within {} s",
                    limit.as_secs()
                )))
            })
            .and_then(|(status, body)| self.answer(status, &body))
            .map_err(|reason| failed(address, reason))
    }

    fn answer<A: DeserializeOwned>(&self, status: u16, body: &[u8]) -> Result<A, Error> {
        if status == 200 {
            return serde_json::from_slice(body).map_err(|_| {
                Error::Other(
                    "gives an answer that is not a node's; is this the port of `int-host node`?"
                        .into(),
                )
            });
        }
        let detail = serde_json::from_slice::<serde_json::Value>(body)
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()))
            .map_or_else(|| format!("HTTP status {status}"), printable);
        let text = format!("says: {detail}");
        Err(match status {
            401 => Error::Denied(self.wrong_token()),
            403 => Error::Denied(text),
            408 | 429 | 500..=599 => Error::Unavailable(text),
            _ => Error::Other(text),
        })
    }

    fn wrong_token(&self) -> String {
        let fault = match self.token {
            None => "needs the nodes' token",
            Some(_) => "has another token than the one given",
        };
        format!("{fault}; give the nodes' token with --node-token or ARTISANAL_NODE_TOKEN")
    }

    async fn exchange<T: Serialize>(
        &self,
        method: Method,
        address: &str,
        path: &str,
        message: Option<&T>,
    ) -> Result<(u16, Bytes), Error> {
        let body = match message {
            Some(message) => serde_json::to_vec(message)
                .map_err(|error| Error::Other(error.to_string()))?
                .into(),
            None => Bytes::new(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request
            .body(body)
            .map_err(|_| Error::Invalid("is not an address".into()))?;
        let lost = |why: &str| Error::Unavailable(format!("does not answer: {why}"));
        if let Some(simulated) = &self.simulated {
            let response = simulated.send(request).await;
            let response = response.ok_or_else(|| lost("the connection is lost"))?;
            return Ok((response.status().as_u16(), response.into_body()));
        }
        let response = self
            .client
            .request(request.map(Full::new))
            .await
            .map_err(|error| lost(&cause(&error)))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MOST)
            .collect()
            .await
            .map_err(|_| lost("the answer is incomplete or too long"))?;
        Ok((status, body.to_bytes()))
    }
}

fn failed(address: &str, reason: Error) -> PeerError {
    PeerError {
        address: address.to_owned(),
        reason,
    }
}

fn checked(address: &str, report: Report, read: &Read) -> Result<Report, PeerError> {
    if report.answers(read) {
        Ok(report)
    } else {
        let reason = Error::Other("answers something else than it was asked for".into());
        Err(failed(address, reason))
    }
}

/// The last cause of an error, which says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// The beginning of a text from another node, on one line.
fn printable(text: String) -> String {
    text.chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
