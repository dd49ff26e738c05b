//! Integers over plain TCP: connect, read one line, done.

use super::connections::accept;
use super::seldom::Seldom;
use super::{Limits, Listeners, Shutdown};
use crate::{Error, Sequence};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends each connection one integer and a newline, and closes it; nothing is read. Where there
/// is no integer to send it is closed at once, and the reason is logged now and then.
pub async fn tcp(listeners: Listeners, sequence: Sequence, limits: Limits, shutdown: Shutdown) {
    let failing = Arc::new(Seldom::default());
    accept(listeners, &limits, &shutdown, |stream| {
        let (sequence, limits) = (sequence.clone(), limits.clone());
        let failing = Arc::clone(&failing);
        async move {
            match answer(stream, &sequence, &limits).await {
                Ok(integer) if limits.log_requests => {
                    tracing::info!(target: "int_host::requests", integer)
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(others) = failing.tell() {
                        tracing::warn!(%error, others, "no integer for a connection");
                    }
                }
            }
        }
    })
    .await;
}

async fn answer(mut stream: TcpStream, sequence: &Sequence, limits: &Limits) -> Result<i64, Error> {
    let integer = sequence.next(1).await?.first;
    let line = format!("{integer}\n");
    let sent = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    // Who went away does not want to know.
    let _ = timeout(limits.writing, sent).await;
    Ok(integer)
}
