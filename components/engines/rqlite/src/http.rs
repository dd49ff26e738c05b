//! Requests over `wasi:http/client`, the engine's only I/O.

use crate::codec::{self, Answer, Member, Request};
use crate::fault::Fault;
use crate::nodes::Node;
use crate::quote::Quoter;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine_guest::{Dsn, Error};
use futures::future::{Either, join, select};
use std::pin::pin;
use std::time::Duration;
use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{
    ErrorCode, Fields, Method, Request as Outgoing, RequestOptions, Response, Scheme,
};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{wit_future, wit_stream};

/// The maximum size of a body, in bytes. The longest valid answer, a list of 64 nodes, is a quarter
/// of it.
const MOST: usize = 64 * 1024;

/// How much is read at a time, in bytes; the answer with an integer is 80.
const CHUNK: usize = 4 * 1024;

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
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let exchange = pin!(async {
            let (status, body) = self.exchange(node, path, body, nanos).await?;
            success(status, body, &self.quoter)
        });
        // The timeouts in the request's options cover parts of it, and a host may ignore them; this
        // timer covers all of it. Whichever loses the race is cancelled.
        let timer = pin!(monotonic_clock::wait_for(nanos));
        match select(exchange, timer).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(Fault::Passing(format!(
                "no answer within {} ms",
                limit.as_millis()
            ))),
        }
    }

    async fn exchange(
        &self,
        node: &Node,
        path: &str,
        body: Option<Vec<u8>>,
        nanos: u64,
    ) -> Result<(u16, Vec<u8>), Fault> {
        let fields = self.fields(body.as_ref().map(Vec::len))?;
        let method = match body {
            Some(_) => Method::Post,
            None => Method::Get,
        };
        let (contents, to_write) = match body {
            Some(body) => {
                let (writer, reader) = wit_stream::new();
                (Some(reader), Some((writer, body)))
            }
            None => (None, None),
        };
        // There are no trailers: the writer is dropped.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (request, _sent) = Outgoing::new(fields, contents, trailers, Some(options(nanos)));
        let scheme = match node.secure {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        request
            .set_method(&method)
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(&node.address.to_string())))
            .and_then(|()| request.set_path_with_query(Some(path)))
            .map_err(|()| {
                Fault::Node(Error::Other(format!(
                    "the host rejects the address `{}`",
                    node.address
                )))
            })?;
        let write = async {
            if let Some((mut writer, body)) = to_write {
                // If the node does not read all of it, its answer, or the lack of one, shows that.
                writer.write_all(body).await;
            }
        };
        let (response, ()) = join(client::send(request), write).await;
        receive(response.map_err(|code| refused(node, &code, &self.quoter))?).await
    }

    fn fields(&self, length: Option<usize>) -> Result<Fields, Fault> {
        let mut entries = Vec::with_capacity(3);
        if let Some(authorization) = &self.authorization {
            entries.push(("authorization".to_owned(), authorization.clone()));
        }
        if let Some(length) = length {
            entries.push(("content-type".to_owned(), b"application/json".to_vec()));
            entries.push(("content-length".to_owned(), length.to_string().into_bytes()));
        }
        Fields::from_list(&entries).map_err(|_| {
            Fault::Final(Error::Other(
                "the host does not let the engine set the headers that rqlite needs".into(),
            ))
        })
    }
}

/// Timeouts for the parts of a request. A host that does not support them returns an error, which is
/// ignored.
fn options(nanos: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(nanos));
    let _ = options.set_first_byte_timeout(Some(nanos));
    let _ = options.set_between_bytes_timeout(Some(nanos));
    options
}

/// Reads the whole answer. A truncated one is detected when its JSON is parsed.
async fn receive(response: Response) -> Result<(u16, Vec<u8>), Fault> {
    let status = response.get_status_code();
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut stream, _trailers) = Response::consume_body(response, done);
    let mut body = Vec::new();
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        let (result, mut chunk) = stream.read(buffer).await;
        body.append(&mut chunk);
        if body.len() > MOST {
            return Err(Fault::Node(Error::Other(format!(
                "the answer is longer than {MOST} bytes; does the DSN name an rqlite node's HTTP port?"
            ))));
        }
        match result {
            StreamResult::Complete(_) => buffer = chunk,
            StreamResult::Dropped | StreamResult::Cancelled => return Ok((status, body)),
        }
    }
}

/// The body of an answer with status 200, or the fault for any other status.
fn success(status: u16, body: Vec<u8>, quoter: &Quoter) -> Result<Vec<u8>, Fault> {
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

/// The fault for an error code of the host.
fn refused(node: &Node, code: &ErrorCode, quoter: &Quoter) -> Fault {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            Fault::Node(Error::Denied(format!(
                "the host does not let the engine reach {0}; allow it, with int-host by \
                 `--allow-host {0}`",
                node.address
            )))
        }
        ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => Fault::Node(Error::Other(format!(
            "the TLS connection failed ({})",
            describe(code, quoter)
        ))),
        ErrorCode::HttpProtocolError | ErrorCode::ConfigurationError => {
            Fault::Node(Error::Other(format!(
                "the host cannot send the request, or the node does not speak HTTP ({})",
                describe(code, quoter)
            )))
        }
        _ => Fault::Passing(describe(code, quoter)),
    }
}

fn describe(code: &ErrorCode, quoter: &Quoter) -> String {
    match code {
        ErrorCode::ConnectionRefused => "connection refused".into(),
        ErrorCode::ConnectionTerminated => "connection lost".into(),
        ErrorCode::ConnectionTimeout => "connection timeout".into(),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => "read timeout".into(),
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => "the host name cannot be resolved".into(),
        ErrorCode::InternalError(Some(text)) => quoter.quote(text),
        code => quoter.quote(&format!("{code:?}")),
    }
}

/// Milliseconds for rqlite's durations: never 0, which would mean no limit or no time at all.
fn millis(limit: Duration) -> u128 {
    limit.as_millis().max(1)
}
