//! Requests to rqlite's nodes, the engine's only I/O.

use crate::codec::{self, Answer, Member, Request};
use crate::fault::Fault;
use crate::nodes::Node;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine_guest::{Dsn, Error};
use engine_http_client::{self as http, Failure, Quoter};
use std::time::Duration;

/// The maximum size of a body, in bytes. The longest valid answer, a list of 64 nodes, is a quarter
/// of it.
const MOST: usize = 64 * 1024;

/// Sends requests with the DSN's user and password.
pub(crate) struct Client {
    authorization: Option<Vec<u8>>,
    quoter: Quoter,
}

impl Client {
    /// A client with the user and password of the DSN.
    ///
    /// # Errors
    /// `invalid` for a user that HTTP basic authentication cannot express.
    pub(crate) fn new(dsn: &Dsn) -> Result<Self, Error> {
        let password = dsn.password().map_or("", |password| password.reveal());
        let user = match dsn.user() {
            None if dsn.password().is_none() => {
                return Ok(Self {
                    authorization: None,
                    quoter: Quoter::default(),
                });
            }
            None => {
                return Err(Error::Invalid(
                    "the DSN has a password but no user; write it as `http://user:password@host`"
                        .into(),
                ));
            }
            Some(user) if user.contains(':') => {
                return Err(Error::Invalid(
                    "the DSN's user contains a colon, which HTTP basic authentication does not allow"
                        .into(),
                ));
            }
            Some(user) => user,
        };
        let token = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Ok(Self {
            authorization: Some(format!("Basic {token}").into_bytes()),
            quoter: Quoter::new([password.to_owned(), token]),
        })
    }

    /// Sends a request to one node, which may forward it to its leader, with `limit` as the timeout.
    pub(crate) async fn ask(
        &self,
        node: &Node,
        request: Request,
        name: &str,
        create: bool,
        limit: Duration,
    ) -> Result<Answer, Fault> {
        let path = format!("{}timeout={}ms", request.path(), millis(limit));
        let body = request.body(name, create);
        let body = self.send(node, &path, Some(body), limit).await?;
        codec::answer(&body, &self.quoter)
    }

    /// Requests the member list of the cluster; the node tries each member for half of `limit`.
    pub(crate) async fn members(&self, node: &Node, limit: Duration) -> Result<Vec<Member>, Fault> {
        let path = format!("/nodes?ver=2&timeout={}ms", millis(limit / 2));
        let body = self.send(node, &path, None, limit).await?;
        codec::members(&body, &self.quoter)
    }

    /// Sends one request and returns the body of the answer if that is a success.
    async fn send(
        &self,
        node: &Node,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let request = http::Request {
            method: match body {
                Some(_) => http::Method::Post,
                None => http::Method::Get,
            },
            secure: node.secure,
            authority: &node.address.to_string(),
            path,
            authorization: self.authorization.as_deref(),
            body: body.as_deref(),
        };
        let answer = request.send(limit, MOST, &self.quoter).await;
        success(
            answer.map_err(|failure| fault(node, failure))?,
            &self.quoter,
        )
    }
}

/// The body of an answer with status 200, or the fault for any other status.
fn success(answer: http::Answer, quoter: &Quoter) -> Result<Vec<u8>, Fault> {
    let http::Answer { status, body, .. } = answer;
    let text = || quoter.quote(&String::from_utf8_lossy(&body));
    Err(match status {
        200 => return Ok(body),
        401 | 403 => Fault::Final(Error::Denied(format!(
            "rqlite denies access (HTTP status {status}): the DSN's user and password must be right, \
             and the user needs the permissions `execute` and `query`"
        ))),
        // The answers of rqlite without a leader, and of proxies in front of it.
        408 | 425 | 429 | 500..=599 => Fault::Passing(format!("HTTP status {status}: {}", text())),
        300..=399 => Fault::Node(Error::Other(format!(
            "HTTP status {status}: the node redirects; use the target's address in the DSN"
        ))),
        _ => Fault::Node(Error::Other(format!(
            "HTTP status {status}: {}; does the DSN name an rqlite node's HTTP port?",
            text()
        ))),
    })
}

/// The fault for a request without a usable answer.
fn fault(node: &Node, failure: Failure) -> Fault {
    let address = &node.address;
    Fault::Node(match failure {
        Failure::Late(limit) => {
            return Fault::Passing(format!("no answer within {} ms", limit.as_millis()));
        }
        Failure::Passing(reason) => return Fault::Passing(reason),
        Failure::Headers => {
            return Fault::Final(Error::Other(
                "the host does not let the engine set the headers that rqlite needs".into(),
            ));
        }
        Failure::Denied => Error::Denied(format!(
            "the host does not let the engine reach {address}; allow it, with int-host by \
             `--allow-host {address}`"
        )),
        Failure::Tls(reason) => Error::Denied(format!("TLS with {address} failed ({reason})")),
        Failure::Protocol(reason) => Error::Other(format!(
            "the host cannot send the request, or the node does not speak HTTP ({reason})"
        )),
        Failure::Address => Error::Other(format!("the host rejects the address `{address}`")),
        Failure::TooLong(most) => Error::Other(format!(
            "the answer is longer than {most} bytes; does the DSN name an rqlite node's HTTP port?"
        )),
        failure => Error::Other(format!("the request failed: {failure:?}")),
    })
}

/// Milliseconds for rqlite's durations: never 0, which would mean no limit or no time at all.
fn millis(limit: Duration) -> u128 {
    limit.as_millis().max(1)
}
