//! One TCP connection of a component, in plain text at first and perhaps with TLS later.

use super::session::Session;
use super::streams::{Input, Output};
use crate::wasi::server::{LastWritten, Server};
use rustls::ClientConnection;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

/// Why the TLS of a connection failed, once it did. It outlives the connection.
pub(super) type Failure = Arc<OnceLock<String>>;

/// A connection. The component's two streams share it.
pub(crate) struct Link {
    /// Taken out when TLS starts. A lock of tokio's, since it is held while the component waits.
    pub(super) input: tokio::sync::Mutex<Option<DynInputStream>>,
    pub(super) output: tokio::sync::Mutex<Option<DynOutputStream>>,
    tls: OnceLock<Mutex<Session>>,
    /// The address of the server.
    pub(super) peer: SocketAddr,
    written: LastWritten,
    pub(super) failure: Failure,
}

impl Link {
    /// A connection to `peer`. Sets `written` whenever the component writes to it.
    pub(super) fn new(
        input: DynInputStream,
        output: DynOutputStream,
        peer: SocketAddr,
        written: LastWritten,
    ) -> Self {
        Self {
            input: tokio::sync::Mutex::new(Some(input)),
            output: tokio::sync::Mutex::new(Some(output)),
            tls: OnceLock::new(),
            peer,
            written,
            failure: Failure::default(),
        }
    }

    /// Notes that the component writes.
    pub(super) fn note_write(&self) {
        self.written.set(Server::Tcp(self.peer));
    }

    /// The streams for the component.
    pub(super) fn streams(self: &Arc<Self>) -> (DynInputStream, DynOutputStream) {
        (
            Box::new(Input(Arc::clone(self))),
            Box::new(Output(Arc::clone(self))),
        )
    }

    /// Starts TLS with the server of this name.
    pub(super) fn secure(&self, tls: ClientConnection, name: String) -> Result<(), &'static str> {
        const BUSY: &str = "the connection has TLS already, or is in use";
        let mut input = self.input.try_lock().map_err(|_| BUSY)?;
        let mut output = self.output.try_lock().map_err(|_| BUSY)?;
        let (Some(input), Some(output)) = (input.take(), output.take()) else {
            return Err(BUSY);
        };
        let session = Session::new(tls, name, Arc::clone(&self.failure), input, output);
        self.tls.set(Mutex::new(session)).map_err(|_| BUSY)
    }

    /// Whether TLS was started.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// The TLS connection, if TLS was started.
    pub(super) fn tls(&self) -> Option<MutexGuard<'_, Session>> {
        self.tls
            .get()
            .map(|session| session.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
