//! Requests to the server, the engine's only I/O.

use crate::codec::{Call, Codec, Fault, State};
use crate::settings::Settings;
use artisanal_core::{Lattice, Span};
use engine_guest::Error;
use engine_guest::retry::Retry;
use engine_http_client::{Failure, Method, Quoter, Request, sleep};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;

/// The maximum size of an answer, in bytes: an order of magnitude above the longest.
const MOST: usize = 16 * 1024;

/// One sequence of the server.
pub(crate) struct Server {
    secure: bool,
    authority: String,
    path: String,
    mint: Option<Vec<u8>>,
    admin: Option<Vec<u8>>,
    codec: Codec,
}

impl Server {
    pub(crate) fn new(settings: Settings) -> Self {
        let path = utf8_percent_encode(&settings.key, NON_ALPHANUMERIC);
        let bearer = |token: &Option<String>| {
            let token = token.as_ref()?;
            Some(format!("Bearer {token}").into_bytes())
        };
        Self {
            path: format!("/v1/sequences/{path}"),
            secure: settings.secure,
            authority: settings.authority,
            mint: bearer(&settings.mint_token),
            admin: bearer(&settings.admin_token),
            codec: Codec {
                key: settings.key,
                quoter: Quoter::new(
                    [settings.mint_token, settings.admin_token]
                        .into_iter()
                        .flatten(),
                ),
            },
        }
    }

    /// Asks for the state of the sequence.
    pub(crate) async fn read(&self, retry: &mut Retry) -> Result<State, Error> {
        self.exchange(Call::Read, retry, |body| self.codec.state(body))
            .await
    }

    /// Mints integers of this lattice.
    pub(crate) async fn next(
        &self,
        count: u32,
        lattice: Lattice,
        retry: &mut Retry,
    ) -> Result<Span, Error> {
        self.exchange(Call::Next(count), retry, |body| {
            self.codec.span(body, count, lattice)
        })
        .await
    }

    /// Raises the sequence.
    pub(crate) async fn raise(&self, to: i64, retry: &mut Retry) -> Result<State, Error> {
        if self.admin.is_none() {
            return Err(Error::Denied(
                "raising a sequence needs the server's admin token: `http://TOKEN:ADMIN_TOKEN@…`, or \
                 `http://:ADMIN_TOKEN@…` if minting needs no token"
                    .into(),
            ));
        }
        self.exchange(Call::Raise(to), retry, |body| self.codec.raised(body, to))
            .await
    }

    /// Sends a request, again after faults that may pass, and reads the answer.
    async fn exchange<T>(
        &self,
        call: Call,
        retry: &mut Retry,
        read: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        loop {
            let attempt = self.attempt(call, retry).await;
            let fault = match attempt.and_then(|body| read(&body)) {
                Ok(read) => return Ok(read),
                Err(fault) => fault,
            };
            let wait = match fault {
                Fault::Final(error) => return Err(error),
                Fault::Passing { why, wait: None } => {
                    retry.failed(why);
                    Duration::ZERO
                }
                Fault::Passing {
                    why,
                    wait: Some(wait),
                } => {
                    retry.failed(format!("{why}; the server asks to wait {wait:?}"));
                    wait
                }
                // The time that was left says nothing about the server, an earlier fault does.
                Fault::Late(why) => {
                    retry.failed_first(why);
                    return Err(retry.late());
                }
            };
            if !wait.is_zero() && wait >= retry.left() {
                return Err(retry.late());
            }
            sleep(retry.next_pause().max(wait)).await;
            retry.check()?;
        }
    }

    /// Sends a request once, and returns the body of the answer if that is a success.
    async fn attempt(&self, call: Call, retry: &Retry) -> Result<Vec<u8>, Fault> {
        let (method, query, token) = match call {
            Call::Read => (Method::Get, String::new(), &self.mint),
            Call::Next(count) => (Method::Post, format!("&count={count}"), &self.mint),
            Call::Raise(_) => (Method::Put, String::new(), &self.admin),
        };
        let (next, body) = match call {
            Call::Read => ("", None),
            Call::Next(_) => ("/next", None),
            // As a string, so that nothing in between reads it as a float.
            Call::Raise(to) => ("", Some(format!("{{\"last\":\"{to}\"}}"))),
        };
        let request = Request {
            method,
            secure: self.secure,
            authority: &self.authority,
            path: &format!("{}{next}?strings=true{query}", self.path),
            authorization: token.as_deref(),
            body: body.as_deref().map(str::as_bytes),
        };
        match request.send(retry.left(), MOST, &self.codec.quoter).await {
            Ok(answer) => self.codec.success(call, answer),
            Err(failure) => Err(self.fault(failure)),
        }
    }

    /// The fault for a request without a usable answer.
    fn fault(&self, failure: Failure) -> Fault {
        let authority = &self.authority;
        Fault::Final(match failure {
            Failure::Late(limit) => {
                let limit = limit.as_millis();
                return Fault::Late(format!("{authority}: no answer within {limit} ms"));
            }
            Failure::Passing(why) => {
                let why = format!("{authority}: {why}");
                return Fault::Passing { why, wait: None };
            }
            Failure::Denied => Error::Denied(format!(
                "the host does not let the engine reach {authority}; allow it, with int-host by \
                 `--allow-host {authority}`"
            )),
            Failure::Tls(reason) => {
                Error::Denied(format!("TLS with {authority} failed ({reason})"))
            }
            Failure::Protocol(reason) => Error::Other(format!(
                "the host cannot send the request, or the server does not speak HTTP ({reason})"
            )),
            Failure::Address => Error::Other(format!("the host rejects the address `{authority}`")),
            Failure::Headers => Error::Other(
                "the host does not let the engine set the headers that the server needs".into(),
            ),
            Failure::TooLong(most) => Error::Other(format!(
                "the answer is longer than {most} bytes; is this the address of `int-host serve`?"
            )),
            failure => Error::Other(format!("the request failed: {failure:?}")),
        })
    }
}
