//! WebSockets: publishers send batches, and clients follow keys.

use super::batches::{self, Sender};
use super::body::Events;
use super::elsewhere::Elsewhere;
use super::intake::Reader;
use super::parameters::Parameters;
use super::received::Received;
use super::route::Route;
use super::{Api, Body, Problem, answer_problem, handshake};
use crate::LINES;
use crate::frame::{MAX_ADDED, MAX_FRAME, PROTOCOL, PROTOCOL_1};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Response;
use http::request::Parts;
use intd::{LogLimiter, RequestId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How long a publisher may be silent.
pub(crate) const IDLE: Duration = Duration::from_secs(300);

/// How long a client may accept no part of what it is sent.
pub(crate) const WRITING: Duration = Duration::from_secs(30);

/// The maximum length of a message of a client that follows a key, in bytes. It has nothing to say.
const MAX_OF_FOLLOWER: usize = 1 << 10;

/// Limits what is logged of messages that are no batches.
static MALFORMED: LogLimiter = LogLimiter::with_burst(LINES);

/// What a WebSocket is for.
pub struct Session {
    api: Api,
    purpose: Purpose,
}

enum Purpose {
    Ingest(Sender),
    Follow(Box<Events>, OwnedSemaphorePermit),
    /// To follow a key that another member has.
    Elsewhere(Box<Elsewhere>, OwnedSemaphorePermit),
}

/// The answer to a request for a WebSocket, and the session to run on the connection after it.
pub(super) fn upgrade(
    api: &Api,
    request: &Parts,
    by: &str,
) -> Option<(Response<Body>, Option<Session>)> {
    handshake::asks(&request.headers).then(|| match accept(api, request, by) {
        Ok((response, session)) => (response, Some(session)),
        Err(problem) => {
            let id = RequestId::of(&request.headers);
            (answer_problem(problem, &id), None)
        }
    })
}

fn accept(api: &Api, request: &Parts, by: &str) -> Result<(Response<Body>, Session), Problem> {
    let headers = &request.headers;
    let (purpose, protocol) = match Route::find(request.uri.path())? {
        Route::Ingest => {
            let known = [PROTOCOL, PROTOCOL_1].into_iter();
            let offered = known.filter(|protocol| handshake::offers(headers, protocol));
            let protocol = offered.min_by_key(|protocol| *protocol != PROTOCOL);
            let protocol = protocol.ok_or_else(|| {
                Problem::invalid(format!(
                    "the WebSocket's subprotocol has to be {PROTOCOL} or {PROTOCOL_1}"
                ))
            })?;
            (Purpose::Ingest(Sender::of(headers)), Some(protocol))
        }
        Route::Events(name) => {
            let parameters = Parameters::read(request.uri.query(), &["strings", "from", "follow"])?;
            api.0.log.check_key(&name)?;
            let from = parameters.integer("from")?.unwrap_or(1).max(1);
            let slot = Arc::clone(&api.0.followers).try_acquire_owned();
            let slot = slot.map_err(|_| Problem::busy("too many clients follow keys"))?;
            let from = u64::try_from(from).unwrap_or(1);
            let strings = parameters.strings()?;
            let purpose = match api.elsewhere(request) {
                None => Purpose::Follow(Box::new(api.events(name, from, strings)), slot),
                Some(partition) => {
                    let elsewhere = Elsewhere::new(partition, request, by, from, strings)?;
                    Purpose::Elsewhere(Box::new(elsewhere), slot)
                }
            };
            (purpose, None)
        }
        _ => return Err(Problem::invalid("this path is no WebSocket")),
    };
    let response = handshake::accept(headers, protocol)?;
    let api = api.clone();
    Ok((response, Session { api, purpose }))
}

impl crate::endpoint::Session for Session {
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: S) {
        match self.purpose {
            Purpose::Ingest(sender) => {
                let inner = &self.api.0;
                let intake = if sender.is_member() {
                    &inner.intake_of_members
                } else {
                    &inner.intake
                };
                let socket = handshake::begin(intake.reader(stream), MAX_FRAME + MAX_ADDED).await;
                ingest(&self.api, &sender, socket).await;
            }
            Purpose::Follow(events, _slot) => {
                let socket = handshake::begin(stream, MAX_OF_FOLLOWER).await;
                follow(*events, socket).await;
            }
            Purpose::Elsewhere(elsewhere, _slot) => {
                let socket = handshake::begin(stream, MAX_OF_FOLLOWER).await;
                elsewhere.follow(&self.api, socket).await;
            }
        }
    }
}

async fn ingest<S: AsyncRead + AsyncWrite + Unpin>(
    api: &Api,
    sender: &Sender,
    mut socket: WebSocketStream<Reader<S>>,
) {
    let counts = &api.0.counts;
    let mut stopping = api.0.stopping.clone();
    counts.publishers.fetch_add(1, Ordering::Relaxed);
    loop {
        let message = tokio::select! {
            message = timeout(IDLE, socket.next()) => message.unwrap_or_default(),
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let stored = match Received::of(message) {
            Received::Message(bytes) => {
                let _permit = socket.get_mut().end_message();
                let reply = batches::store(api, sender, &bytes).await;
                reply.map_err(|malformed| (CloseCode::Policy, malformed.to_string()))
            }
            Received::Control(payload) => {
                socket.get_mut().skip_control(payload);
                continue;
            }
            Received::Refused(code, reason) => Err((code, reason)),
            Received::End => break,
        };
        match stored {
            Ok(reply) => {
                if !send(&mut socket, Message::Binary(reply.bytes())).await {
                    break;
                }
            }
            Err((code, reason)) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                if let Some(others) = MALFORMED.allow() {
                    let suppressed = (others > 0).then_some(others);
                    tracing::warn!(reason, suppressed, "a publisher sent what is no batch");
                }
                close(&mut socket, code, &reason).await;
                break;
            }
        }
    }
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
    counts.publishers.fetch_sub(1, Ordering::Relaxed);
}

async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    mut events: Events,
    mut socket: WebSocketStream<S>,
) {
    loop {
        let texts = tokio::select! {
            texts = events.wait() => texts,
            message = socket.next() => match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => None,
            },
        };
        let Some(texts) = texts else { break };
        if texts.is_empty() && !send(&mut socket, Message::Ping(Bytes::new())).await {
            return;
        }
        for (_, text) in texts {
            if !send(&mut socket, Message::text(text)).await {
                return;
            }
        }
    }
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
}

pub(crate) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    message: Message,
) -> bool {
    matches!(timeout(WRITING, socket.send(message)).await, Ok(Ok(())))
}

/// Closes a WebSocket and says why.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    code: CloseCode,
    reason: &str,
) {
    let reason: String = reason.chars().take(100).collect();
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::from(reason),
    };
    let _ = timeout(WRITING, socket.close(Some(frame))).await;
}
