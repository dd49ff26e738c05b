//! Integers over plain TCP: a client connects and reads one line.

use super::connections::accept;
use super::recorder::Name;
use super::stream::Stream;
use super::tls::Wire;
use super::{Limits, Listeners, Shutdown};
use crate::{Error, Sequence};
use intd::LogLimiter;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::time::timeout;

/// How long a client may take to close its side after its line was sent.
const LINGER: Duration = Duration::from_secs(1);

/// Sends one integer and a newline to each connection and closes it; input is ignored. If minting fails,
/// the connection is closed without a line, and the reason goes to a rate-limited log.
pub async fn tcp(listeners: Listeners, sequence: Sequence, limits: Limits, shutdown: Shutdown) {
    let key = Name::from(sequence.key());
    let failing = Arc::new(LogLimiter::default());
    let each = limits.clone();
    accept(listeners, Wire::Line, &limits, &shutdown, move |stream| {
        let (sequence, limits) = (sequence.clone(), each.clone());
        let failing = Arc::clone(&failing);
        let key = key.clone();
        async move {
            match answer(stream, &sequence, &key, &limits).await {
                Ok(Some(integer)) if limits.log_requests => {
                    tracing::info!(target: "int_host::requests", integer)
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(others) = failing.allow() {
                        tracing::warn!(%error, others, "closed a connection without an integer");
                    }
                }
            }
        }
    })
    .await;
}

/// Mints and sends one integer and returns it; None if the client disconnected before it was minted.
async fn answer(
    mut stream: Stream,
    sequence: &Sequence,
    key: &Name,
    limits: &Limits,
) -> Result<Option<i64>, Error> {
    let client = limits.recorder.client(&stream);
    let span = tokio::select! {
        biased;
        span = sequence.next(1) => span?,
        () = reset(&stream) => return Ok(None),
    };
    limits.recorder.minted(key, &client, None, span).await?;
    let integer = span.first();
    let line = format!("{integer}\n");
    let sent = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    // A failed write is ignored, since the client is gone.
    if let Ok(Ok(())) = timeout(limits.writing, sent).await {
        // Closing a connection with unread input resets it, and the line might be lost.
        let _ = timeout(LINGER, ignore_rest(stream)).await;
    }
    Ok(Some(integer))
}

/// Resolves when the client resets the connection. A client that shut down only its sending side still
/// waits for its line.
async fn reset(stream: &Stream) {
    let _ = stream.tcp().ready(Interest::ERROR).await;
}

/// Reads until the client closes its side.
async fn ignore_rest(mut stream: Stream) {
    let mut ignored = [0; 1024];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}
