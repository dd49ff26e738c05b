//! Accepting a bounded number of connections until the shutdown.

use super::memory::OpenConnections;
use super::stream::Stream;
use super::tls::{Handshakes, Wire};
use super::{Limits, Listeners, Shutdown};
use crate::metrics::ServerMetrics;
use futures::future::join_all;
use intd::LogLimiter;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The pause after a failed accept, mostly caused by a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each connection in its own task, which begins with the TLS handshake if there is one. Returns after the
/// shutdown has begun, when the last connection is closed or the grace period is over.
pub(crate) async fn accept<F>(
    listeners: Listeners,
    wire: Wire,
    limits: &Limits,
    shutdown: &Shutdown,
    serve: impl Fn(Stream) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let most = limits
        .connections
        .clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
    let slots = Arc::new(Semaphore::new(most as usize));
    let (sockets, tls) = listeners.into_inner();
    let acceptor = Acceptor {
        slots: Arc::clone(&slots),
        connections: Arc::default(),
        nodelay: limits.nodelay,
        metrics: limits.metrics.server(),
        handshakes: tls.map(|tls| Arc::new(Handshakes::new(tls, wire, limits))),
        shutdown: shutdown.clone(),
        serve: Arc::new(serve),
    };
    let accepting = sockets.into_iter().map(|listener| {
        let acceptor = &acceptor;
        async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = acceptor.accept_from(&listener) => {}
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

/// What accepts the connections of all sockets of a server.
struct Acceptor<S> {
    slots: Arc<Semaphore>,
    connections: Arc<OpenConnections>,
    nodelay: bool,
    metrics: ServerMetrics,
    handshakes: Option<Arc<Handshakes>>,
    shutdown: Shutdown,
    serve: Arc<S>,
}

impl<S, F> Acceptor<S>
where
    S: Fn(Stream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn accept_from(&self, listener: &TcpListener) {
        let (full, failing) = (LogLimiter::default(), LogLimiter::default());
        loop {
            let slot = match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => slot,
                Err(_) => {
                    if full.allow().is_some() {
                        tracing::warn!("all allowed connections are in use; others wait");
                    }
                    match Arc::clone(&self.slots).acquire_owned().await {
                        Ok(slot) => slot,
                        Err(_) => return,
                    }
                }
            };
            match listener.accept().await {
                Ok((tcp, client)) => {
                    crate::runtime::note();
                    // An error is ignored: it only delays responses.
                    let _ = tcp.set_nodelay(self.nodelay);
                    self.spawn(tcp, client, slot);
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

    /// Serves a connection in its own task. `slot` is held until it is closed.
    fn spawn(&self, tcp: TcpStream, client: SocketAddr, slot: OwnedSemaphorePermit) {
        let open = (self.metrics.connected(), self.connections.count());
        let Some(handshakes) = &self.handshakes else {
            let connection = (self.serve)(Stream::Plain(tcp));
            tokio::spawn(async move {
                connection.await;
                drop((slot, open));
            });
            return;
        };
        let (handshakes, serve) = (Arc::clone(handshakes), Arc::clone(&self.serve));
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            // The handshake's state is dropped before the connection is served.
            let stream = Box::pin(handshakes.run(tcp, client, &shutdown)).await;
            if let Some(stream) = stream {
                serve(stream).await;
            }
            drop((slot, open));
        });
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
