//! A WebSocket that follows a key which another member has. That member sends server-sent events.

use super::ingest::{close, send};
use super::{Api, Body, Problem};
use crate::members::forward::{FORWARDED, Question, Unanswered, Web};
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The maximum length of one event with what belongs to it, in bytes; its payload has 64 KiB.
const MAX_EVENT: usize = 1 << 20;

/// How long the other member may send nothing. It sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// What ends an event.
const END: &[u8] = b"\n\n";

/// A follower of a key that another member has.
pub(super) struct Elsewhere {
    partition: u16,
    question: Question,
}

impl Elsewhere {
    /// The follower that a request asks for.
    ///
    /// # Errors
    /// For a request that another member passed on: it is not passed on again.
    pub(super) fn new(
        partition: u16,
        request: &Parts,
        by: &str,
        from: u64,
        strings: bool,
    ) -> Result<Self, Problem> {
        let nobody = || super::forward::problem(Unanswered::Nobody);
        if request.headers.contains_key(FORWARDED) {
            return Err(nobody());
        }
        let path = request.uri.path();
        let target = format!("{path}?follow=true&from={from}&strings={strings}");
        let question = Question {
            method: Method::GET,
            target: target.parse().map_err(|_| nobody())?,
            headers: request.headers.clone(),
            body: Bytes::new(),
            by: by.to_owned(),
            repeatable: true,
        };
        Ok(Self {
            partition,
            question,
        })
    }

    /// Passes events on until one of both ends.
    pub(super) async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        api: &Api,
        mut socket: WebSocketStream<S>,
    ) {
        let members = &api.0.members;
        let answer = members.forward::<Web>(self.partition, &self.question);
        let status = match answer.await.map(http::Response::into_parts) {
            Ok((head, Body::Forwarded(events))) if head.status == StatusCode::OK => {
                return pass(api, *events, socket).await;
            }
            Ok((head, _)) => head.status,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = format!("the member of the ledger that has this key answered {status}");
        close(&mut socket, CloseCode::Again, &text).await;
    }
}

/// Passes the events of an answer on to a WebSocket.
async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    api: &Api,
    mut events: Incoming,
    mut socket: WebSocketStream<S>,
) {
    let mut stopping = api.0.stopping.clone();
    let mut buffer = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = timeout(SILENCE, events.frame()) => frame,
            _ = stopping.wait_for(|stopping| *stopping) => break,
            message = socket.next() => match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => break,
            },
        };
        let Ok(Some(Ok(frame))) = frame else { break };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        buffer.extend_from_slice(&data);
        while let Some(event) = next(&mut buffer) {
            let message = match event {
                Some(text) => Message::text(text),
                None => Message::Ping(Bytes::new()),
            };
            if !send(&mut socket, message).await {
                return;
            }
        }
        if buffer.len() > MAX_EVENT {
            break;
        }
    }
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
}

/// Takes the next event; None if it is not complete. An event without data is a comment.
fn next(buffer: &mut BytesMut) -> Option<Option<String>> {
    let end = buffer.windows(END.len()).position(|two| two == END)?;
    let event = buffer.split_to(end);
    buffer.advance(END.len());
    let text = String::from_utf8_lossy(&event);
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    Some(data.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_in_any_pieces() {
        let text = "id: 1\ndata: {\"a\":1}\n\n: alive\n\nid: 2\ndata: {\"data: \":2}\n\n";
        for size in [1, 2, 7, text.len()] {
            let mut buffer = BytesMut::new();
            let mut all = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(event) = next(&mut buffer) {
                    all.push(event);
                }
            }
            let expected = [Some("{\"a\":1}"), None, Some("{\"data: \":2}")];
            assert_eq!(all, expected.map(|text| text.map(str::to_owned)));
            assert!(buffer.is_empty());
        }
    }
}
