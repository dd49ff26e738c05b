//! Servers over HTTP and TCP in front of sequences. For components that are HTTP endpoints
//! themselves, see [`endpoint`](crate::endpoint).
//!
//! A server is a future that ends after its [`Shutdown`] was begun:
//!
//! ```no_run
//! use int_host::serve::{self, Limits, Listeners, Shutdown};
//! use int_host::{Builtin, Config, Error, Host, Options};
//!
//! # async fn run() -> Result<(), Error> {
//! let host = Host::new(Options::default())?;
//! let sequence = host.open(Builtin::Memory.into(), Config::default()).await?;
//! let listeners = Listeners::bind("localhost", 8080).await?;
//! let app = intd::App::new(intd::Settings::default(), |_| sequence.clone());
//! serve::http(listeners, app, Limits::default(), Shutdown::new()).await;
//! # Ok(())
//! # }
//! ```

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod first_frame;
mod http;
mod idle_timeout;
mod listeners;
pub(crate) mod report;
mod shutdown;
mod tcp;
mod write_timeout;

pub use self::http::http;
pub use listeners::Listeners;
pub use shutdown::Shutdown;
pub use tcp::tcp;

use std::time::Duration;

/// What clients may use up, and how long they may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The most connections at one time; more wait to be accepted. Default 16 384.
    pub connections: u32,
    /// How long a client may take to send a request's head, also after the one before it, and
    /// then its body. For heads that is looked at so often only, so they may take up to twice as
    /// long. Default 30 s.
    pub reading: Duration,
    /// How long a client may take to accept any part of an answer. Default 30 s.
    pub writing: Duration,
    /// How long the head of a component's answer may wait for its body to begin, so that both are sent
    /// together. Default 50 ms.
    pub gathering: Duration,
    /// How long requests in flight may take to end once the server is shutting down. Default 10 s.
    pub grace: Duration,
    /// Whether what is written leaves at once even when it is small (`TCP_NODELAY`). Without, the kernel may
    /// hold it back until the client has acknowledged what came before it. Default yes.
    pub nodelay: bool,
    /// Whether each request is logged, with the target `int_host::requests`. Default no.
    pub log_requests: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            reading: Duration::from_secs(30),
            writing: Duration::from_secs(30),
            gathering: Duration::from_millis(50),
            grace: Duration::from_secs(10),
            nodelay: true,
            log_requests: false,
        }
    }
}

#[cfg(test)]
mod tests;
