//! HTTP and TCP servers for sequences. For components that are HTTP endpoints themselves, see
//! [`endpoint`](crate::endpoint).
//!
//! A server is a future that completes after its [`Shutdown`] has begun:
//!
//! ```no_run
//! use int_host::serve::{self, Limits, Listeners, Shutdown};
//! use int_host::{Builtin, Config, Error, Host, Options};
//!
//! # async fn run() -> Result<(), Error> {
//! let host = Host::new(Options::default())?;
//! let sequence = host.open(Builtin::Memory, Config::default()).await?;
//! let listeners = Listeners::bind("localhost", 8080).await?;
//! let app = serve::App::new(serve::Settings::default(), |_| sequence.clone());
//! serve::http(listeners, app, Limits::default(), Shutdown::new()).await;
//! # Ok(())
//! # }
//! ```

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod first_frame;
pub(crate) mod hangups;
pub(crate) mod http;
mod idle_timeout;
pub(crate) mod linger;
mod listeners;
mod memory;
#[cfg(feature = "ledger")]
pub(crate) mod preface;
mod recorder;
mod repeat;
pub(crate) mod report;
pub(crate) mod request_body;
mod resp;
mod shutdown;
pub(crate) mod stream;
mod streams;
mod tcp;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod watch;
mod write_timeout;

pub use self::http::http;
pub use intd::{App, Settings};
pub use listeners::Listeners;
pub use resp::resp;
pub use shutdown::Shutdown;
pub use tcp::tcp;
pub use tls::{Tls, TlsFiles};
pub use tokens::TokenFile;

use crate::Metrics;
use crate::traces::Traces;
use recorder::Recorder;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Limits and timeouts for client connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of connections at a time; further ones wait to be accepted. Default 16 384.
    pub connections: u32,
    /// The timeout for a client to send the head of a request, including the idle time before it, and then
    /// its body. For heads this is also the interval of the check, so they may take up to twice as long.
    /// Default 30 s.
    pub reading: Duration,
    /// The write timeout: how long a client may accept no part of a response. Default 30 s.
    pub writing: Duration,
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake: Duration,
    /// How long the head of a component's response waits for the first frame of its body, so that both are
    /// sent together. Default 50 ms.
    pub gathering: Duration,
    /// The grace period for requests in flight once the server is shutting down. Default 10 s.
    pub grace: Duration,
    /// Whether small writes are sent at once (`TCP_NODELAY`). Otherwise the kernel may delay them until the
    /// client has acknowledged the previous data. Default yes.
    pub nodelay: bool,
    /// Whether to log each request, with the target `int_host::requests`. Default no.
    pub log_requests: bool,
    /// What counts connections and requests, such as [`Host::metrics`](crate::Host::metrics). Default: new
    /// counters.
    pub metrics: Metrics,
    /// The bodies of requests that may be in memory, apart from short ones.
    pub(crate) long_bodies: Arc<Semaphore>,
    /// What publishes the integers of each response to a ledger.
    pub(crate) recorder: Recorder,
    /// What traces requests. For the spans of mints the [`App`] has to be [`recording`](App::recording), and the host to
    /// have the options of [`Traces::tracing`]. Default: nothing.
    pub traces: Option<Traces>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            reading: Duration::from_secs(30),
            writing: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            gathering: Duration::from_millis(50),
            grace: Duration::from_secs(10),
            nodelay: true,
            log_requests: false,
            metrics: Metrics::new(),
            long_bodies: Arc::new(Semaphore::new(request_body::LONG)),
            recorder: Recorder::default(),
            traces: None,
        }
    }
}

#[cfg(feature = "ledger")]
impl Limits {
    /// Publishes the integers of each response to a ledger. For HTTP the [`App`] has to be
    /// [`recording`](App::recording).
    #[must_use]
    pub fn publishing(self, publisher: crate::ledger::Publisher) -> Self {
        Self {
            recorder: Recorder::new(publisher),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
