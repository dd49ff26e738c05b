//! One TCP connection of a component, in plain text at first and perhaps with TLS later.

use super::explain::{explain, inside};
use super::half::Plain;
use super::streams::{Input, Output};
use crate::wasi::server::{LastWritten, Server};
use bytes::Bytes;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{Connect, TlsConnector};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

/// How many decrypted bytes are taken at a time. Replies to engines are short.
const CHUNK: usize = 4 << 10;

/// A connection. The component's two streams and the list of its connections share it.
pub(crate) struct Link {
    /// Taken out when TLS starts. A lock of tokio's, since it is held while the component waits.
    pub(super) input: tokio::sync::Mutex<Option<DynInputStream>>,
    pub(super) output: tokio::sync::Mutex<Option<DynOutputStream>>,
    tls: OnceLock<Mutex<Session>>,
    /// The address of the server.
    pub(super) peer: SocketAddr,
    written: LastWritten,
}

/// What a handshake needs.
pub(super) struct Secured {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
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

    /// Starts TLS.
    pub(super) fn secure(&self, secured: Secured) -> Result<(), &'static str> {
        const BUSY: &str = "the connection has TLS already, or is in use";
        let mut input = self.input.try_lock().map_err(|_| BUSY)?;
        let mut output = self.output.try_lock().map_err(|_| BUSY)?;
        let (Some(input), Some(output)) = (input.take(), output.take()) else {
            return Err(BUSY);
        };
        let name = secured.name.to_str().into_owned();
        let connecting =
            TlsConnector::from(secured.config).connect(secured.name, Plain::new(input, output));
        let session = Session {
            phase: Phase::Handshake(Box::new(connecting)),
            name,
            decrypted: Bytes::new(),
            unsent: Bytes::new(),
            ended: false,
            failure: None,
        };
        self.tls.set(Mutex::new(session)).map_err(|_| BUSY)
    }

    /// The TLS connection, if TLS was started.
    pub(super) fn tls(&self) -> Option<MutexGuard<'_, Session>> {
        self.tls
            .get()
            .map(|session| session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why TLS failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.tls()?.failure.clone()
    }

    /// Whether the component has dropped its streams, and there is no failure that it may ask about.
    pub(super) fn is_useless(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.failure().is_none()
    }
}

enum Phase {
    Handshake(Box<Connect<Plain>>),
    Open(Box<TlsStream<Plain>>),
    Failed,
}

/// The TLS of one connection. Its functions are polled by both streams of the component, which one task drives.
pub(super) struct Session {
    phase: Phase,
    /// The server's name, for messages.
    name: String,
    /// What the component has not read yet.
    decrypted: Bytes,
    /// What the component has written, and TLS has not taken yet.
    unsent: Bytes,
    /// Whether the server has closed the connection.
    ended: bool,
    failure: Option<String>,
}

impl Session {
    fn failed(&mut self, error: io::Error) -> io::Error {
        self.phase = Phase::Failed;
        match inside(&error) {
            Some(cause) => {
                let why = explain(cause, &self.name);
                self.failure = Some(why.clone());
                io::Error::other(why)
            }
            None => error,
        }
    }

    /// Waits for the end of the handshake.
    fn poll_open(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut TlsStream<Plain>>>> {
        if let Phase::Handshake(connecting) = &mut self.phase {
            match ready!(Pin::new(&mut **connecting).poll(context)) {
                Ok(stream) => self.phase = Phase::Open(Box::new(stream)),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
        match &mut self.phase {
            Phase::Open(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Waits until everything that was written is on its way.
    pub(super) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let unsent = self.unsent.clone();
            let mut stream = ready!(self.poll_open(context))?;
            if unsent.is_empty() {
                return match ready!(stream.poll_flush(context)) {
                    Ok(()) => Poll::Ready(Ok(())),
                    Err(error) => Poll::Ready(Err(self.failed(error))),
                };
            }
            match ready!(stream.as_mut().poll_write(context, &unsent)) {
                Ok(count) => drop(self.unsent.split_to(count.min(unsent.len()))),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
    }

    /// Waits until there is something to read, or the end.
    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.decrypted.is_empty() || self.ended {
            return Poll::Ready(Ok(()));
        }
        // A reply can only come once the request is on its way.
        if let Poll::Ready(Err(error)) = self.poll_sent(context) {
            return Poll::Ready(Err(error));
        }
        let mut stream = ready!(self.poll_open(context))?;
        // Not `poll_read`, which would ask the socket once more to fill the rest of a buffer.
        match ready!(stream.as_mut().poll_fill_buf(context)) {
            Ok([]) => self.ended = true,
            Ok(filled) => {
                let decrypted = Bytes::copy_from_slice(filled.get(..CHUNK).unwrap_or(filled));
                stream.consume(decrypted.len());
                self.decrypted = decrypted;
            }
            // A server that goes away without a farewell: protocols of databases have their own end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.ended = true,
            Err(error) => return Poll::Ready(Err(self.failed(error))),
        }
        Poll::Ready(Ok(()))
    }

    /// Up to this many bytes that were decrypted; None at the end.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        if self.decrypted.is_empty() && self.ended {
            return None;
        }
        Some(self.decrypted.split_to(most.min(self.decrypted.len())))
    }

    /// Takes what the component writes, after [`Session::poll_sent`] was ready.
    pub(super) fn put(&mut self, bytes: Bytes) {
        self.unsent = bytes;
    }
}
