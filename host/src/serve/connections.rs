//! Accepting a bounded number of connections until the shutdown.

use super::{Limits, Listeners, Shutdown};
use crate::metrics::ServerMetrics;
use futures::future::join_all;
use intd::LogLimiter;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The pause after a failed accept, mostly caused by a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each connection in its own task. Returns after the shutdown has begun, when the last connection
/// is closed or the grace period is over.
pub(crate) async fn accept<F>(
    listeners: Listeners,
    limits: &Limits,
    shutdown: &Shutdown,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let most = limits
        .connections
        .clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
    let slots = Arc::new(Semaphore::new(most as usize));
    let metrics = limits.metrics.server();
    let accepting = listeners.into_inner().into_iter().map(|listener| {
        let (slots, serve, metrics) = (&slots, &serve, &metrics);
        async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = accept_from(&listener, limits.nodelay, slots, metrics, serve) => {}
            }
        }
    });
    join_all(accepting).await;
    // The listening sockets are closed at this point, so further connections are refused.
    if tokio::time::timeout(limits.grace, slots.acquire_many(most))
        .await
        .is_err()
    {
        let open = most as usize - slots.available_permits();
        tracing::warn!(
            "{open} connections did not finish within {} s and are closed",
            limits.grace.as_secs()
        );
    }
}

async fn accept_from<F>(
    listener: &TcpListener,
    nodelay: bool,
    slots: &Arc<Semaphore>,
    metrics: &ServerMetrics,
    serve: &impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (full, failing) = (LogLimiter::default(), LogLimiter::default());
    loop {
        let slot = match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                if full.allow().is_some() {
                    tracing::warn!("all allowed connections are in use; others wait");
                }
                match Arc::clone(slots).acquire_owned().await {
                    Ok(slot) => slot,
                    Err(_) => return,
                }
            }
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                crate::runtime::note();
                // An error is ignored: it only delays responses.
                let _ = stream.set_nodelay(nodelay);
                let connection = serve(stream);
                let open = metrics.connected();
                tokio::spawn(async move {
                    connection.await;
                    drop((slot, open));
                });
            }
            Err(error) if is_the_clients(error.kind()) => {}
            Err(error) => {
                if failing.allow().is_some() {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether an error concerns only the connection to be accepted, and not the listener.
fn is_the_clients(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
