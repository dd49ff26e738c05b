//! One WebSocket of a relay.

use super::Relay;
use super::original::{self, ACKNOWLEDGED, MAX_MESSAGE};
use crate::LINES;
use crate::api::handshake;
use crate::api::ingest::{IDLE, close, send};
use crate::api::intake::Reader;
use crate::api::received::Received;
use crate::frame::{Batch, MAX_FRAME, Reply};
use crate::publisher::Name;
use artisanal_core::Span;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use intd::LogLimiter;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How many messages of one client may be without an answer. It can send further ones, which are not read.
const PENDING: usize = 256;

/// How many batches of one client may be without an answer; each has up to 4 MiB.
const PENDING_BATCHES: usize = 4;

/// How long a batch may be on its way. A publisher sends it again after up to 30 s without an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long a client gets for the answers to what it sent before the shutdown.
const END: Duration = Duration::from_secs(9);

/// Limits what is logged of messages that are no events.
static MALFORMED: LogLimiter = LogLimiter::with_burst(LINES);

/// Why a client has to send something again.
const UNCONFIRMED: &str = "the ledger did not answer the publisher in time; send it again";

/// A WebSocket.
pub struct Session {
    relay: Relay,
    kind: Kind,
    by: Name,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Frames of the original format.
    Original,
    /// Batches.
    Batches,
}

/// What a message led to: an answer, or the reason to end the connection.
type Answer = Result<Message, (CloseCode, String)>;

impl Session {
    pub(super) fn new(relay: &Relay, kind: Kind, by: &Arc<str>) -> Self {
        Self {
            relay: relay.clone(),
            kind,
            by: by.as_ref().into(),
        }
    }

    /// What a message leads to, in time. It keeps its permit until then.
    fn take(
        &self,
        bytes: Bytes,
        permit: Option<OwnedSemaphorePermit>,
    ) -> BoxFuture<'static, Answer> {
        let (relay, by) = (self.relay.clone(), self.by.clone());
        match self.kind {
            Kind::Original => Box::pin(async move { relay.frame(&bytes, &by).await }),
            Kind::Batches => Box::pin(async move {
                let _permit = permit;
                relay.batch(bytes).await
            }),
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        socket: &mut WebSocketStream<Reader<S>>,
    ) {
        let most = match self.kind {
            Kind::Original => PENDING,
            Kind::Batches => PENDING_BATCHES,
        };
        let mut stopping = self.relay.0.stopping.clone();
        // Answers are in the order of the messages.
        let mut answers = FuturesOrdered::new();
        loop {
            let message = tokio::select! {
                biased;
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    if !tell(socket, answer).await {
                        return;
                    }
                    continue;
                }
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => break,
                message = timeout(IDLE, socket.next()), if answers.len() < most => {
                    message.unwrap_or_default()
                }
            };
            match Received::of(message) {
                Received::Message(bytes) => {
                    let permit = socket.get_mut().end_message();
                    answers.push_back(self.take(bytes, permit));
                }
                Received::Control(payload) => socket.get_mut().skip_control(payload),
                // The answers to what came before are sent first.
                Received::Refused(code, reason) => {
                    let refused = self.relay.malformed(code, &reason);
                    answers.push_back(Box::pin(ready(Err(refused))));
                    break;
                }
                Received::End => break,
            }
        }
        // What was read is answered, also after the client or the server began to end.
        let rest = async {
            while let Some(answer) = answers.next().await {
                if !tell(socket, answer).await {
                    return;
                }
            }
        };
        let _ = timeout(END, rest).await;
    }
}

impl crate::endpoint::Session for Session {
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: S) {
        let most = match self.kind {
            Kind::Original => MAX_MESSAGE,
            Kind::Batches => MAX_FRAME,
        };
        let connections = &self.relay.0.counts.connections;
        connections.fetch_add(1, Ordering::Relaxed);
        let mut socket = handshake::begin(self.relay.0.intake.reader(stream), most).await;
        self.exchange(&mut socket).await;
        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
        connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends an answer. False if the connection ends.
async fn tell<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    answer: Answer,
) -> bool {
    match answer {
        Ok(message) => send(socket, message).await,
        Err((code, reason)) => {
            close(socket, code, &reason).await;
            false
        }
    }
}

impl Relay {
    /// Publishes the integer of a frame of the original format.
    async fn frame(&self, bytes: &[u8], by: &Name) -> Answer {
        let inner = &self.0;
        let span = match original::read(bytes) {
            Ok(integer) => Span::checked(integer, inner.options.step, 1),
            Err(malformed) => return Err(self.malformed(CloseCode::Policy, &malformed)),
        };
        let Some(span) = span else {
            let reason = "the integer is none of a sequence";
            return Err(self.malformed(CloseCode::Policy, &reason));
        };
        inner.counts.frames.fetch_add(1, Ordering::Relaxed);
        let key = &inner.options.key;
        match inner.publisher.minted(key, by, None, span).await {
            Ok(()) => Ok(Message::Text(Utf8Bytes::from_static(ACKNOWLEDGED))),
            // The format has no word for this, and a client that gets no acknowledgement has to send again.
            Err(_) => Err((CloseCode::Again, UNCONFIRMED.to_owned())),
        }
    }

    /// Sends a batch to the ledger, as it came.
    async fn batch(&self, bytes: Bytes) -> Answer {
        let inner = &self.0;
        let (version, first, count) = match Batch::read(&bytes) {
            Ok(batch) => (batch.version, batch.first, batch.count().unwrap_or(0)),
            Err(malformed) => return Err(self.malformed(CloseCode::Policy, &malformed)),
        };
        inner.counts.batches.fetch_add(1, Ordering::Relaxed);
        let reply = inner.publisher.relay(bytes, first, count, PATIENCE).await;
        let reply = reply.unwrap_or_else(|_| Reply {
            version,
            ..Reply::refused(first, count, "unavailable", UNCONFIRMED.into(), true)
        });
        Ok(Message::Binary(reply.bytes()))
    }

    /// Counts and logs what a client must not send.
    fn malformed(&self, code: CloseCode, why: &dyn std::fmt::Display) -> (CloseCode, String) {
        self.0.counts.malformed.fetch_add(1, Ordering::Relaxed);
        let reason = why.to_string();
        if let Some(others) = MALFORMED.allow() {
            let suppressed = (others > 0).then_some(others);
            tracing::warn!(reason, suppressed, "a client sent what is no event");
        }
        (code, reason)
    }
}
