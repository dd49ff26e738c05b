//! Integers over plain TCP: connect, read one line, done.

use super::connections::accept;
use super::{Limits, Listeners, Shutdown};
use crate::{Error, Sequence};
use intd::LogLimiter;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a client may take to close its side after it got its line.
const LINGER: Duration = Duration::from_secs(1);

/// Sends each connection one integer and a newline, and closes it; what it sends is ignored. Where there
/// is no integer to send it is closed at once, and the reason is logged now and then.
pub async fn tcp(listeners: Listeners, sequence: Sequence, limits: Limits, shutdown: Shutdown) {
    let failing = Arc::new(LogLimiter::default());
    accept(listeners, &limits, &shutdown, |stream| {
        let (sequence, limits) = (sequence.clone(), limits.clone());
        let failing = Arc::clone(&failing);
        async move {
            match answer(stream, &sequence, &limits).await {
                Ok(Some(integer)) if limits.log_requests => {
                    tracing::info!(target: "int_host::requests", integer)
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(others) = failing.allow() {
                        tracing::warn!(%error, others, "no integer for a connection");
                    }
                }
            }
        }
    })
    .await;
}

/// The integer that was sent; None when the client went away before there was one.
async fn answer(
    mut stream: TcpStream,
    sequence: &Sequence,
    limits: &Limits,
) -> Result<Option<i64>, Error> {
    let integer = tokio::select! {
        biased;
        span = sequence.next(1) => span?.first(),
        () = reset(&stream) => return Ok(None),
    };
    let line = format!("{integer}\n");
    let sent = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    // Who went away does not want to know.
    if let Ok(Ok(())) = timeout(limits.writing, sent).await {
        // To close a connection before everything is read resets it, and the line may be lost.
        let _ = timeout(LINGER, ignore_rest(stream)).await;
    }
    Ok(Some(integer))
}

/// Resolves when the client is gone. One that only ended its own side still waits for its line.
async fn reset(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}

/// Reads until the client closes its side.
async fn ignore_rest(mut stream: TcpStream) {
    let mut ignored = [0; 1024];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}
