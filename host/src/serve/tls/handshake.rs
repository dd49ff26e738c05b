//! Handshakes, each with an end, and what is counted and logged when one fails.

use super::{Tls, Wire};
use crate::metrics::ServerMetrics;
use crate::serve::linger::Linger;
use crate::serve::stream::Stream;
use crate::serve::{Limits, Shutdown};
use intd::LogLimiter;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// The first byte of a TLS connection: the type of a handshake record.
const HANDSHAKE: u8 = 22;

/// How many bytes of answers wait within TLS for a client that does not read: one record.
const BUFFER: usize = 16 << 10;

/// Why there is no connection. The names are the labels of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It took too long.
    Timeout,
    /// The client speaks without TLS.
    Plain,
    /// The client's certificate is missing or not accepted.
    Certificate,
    /// The client does not accept the server's certificate, or has another reason.
    Alert,
    /// The client went away.
    Closed,
    /// What the client sent is no TLS that this server has.
    Protocol,
}

impl Failed {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Plain => "plain",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }

    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                Self::Certificate
            }
            Some(rustls::Error::AlertReceived(_)) => Self::Alert,
            Some(_) => Self::Protocol,
            None => match error.kind() {
                ErrorKind::InvalidData => Self::Protocol,
                _ => Self::Closed,
            },
        }
    }
}

/// The handshakes of a server.
pub(crate) struct Handshakes {
    tls: Tls,
    wire: Wire,
    longest: Duration,
    metrics: ServerMetrics,
    limiter: LogLimiter,
}

impl Handshakes {
    pub(crate) fn new(tls: Tls, wire: Wire, limits: &Limits) -> Self {
        Self {
            tls,
            wire,
            longest: limits.handshake,
            metrics: limits.metrics.server(),
            limiter: LogLimiter::default(),
        }
    }

    /// Makes the handshake; None if there is no connection in the end, or the server is shutting down.
    pub(crate) async fn run(
        &self,
        tcp: TcpStream,
        client: SocketAddr,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let made = tokio::select! {
            made = timeout(self.longest, self.make(tcp)) => made,
            () = shutdown.requested() => return None,
        };
        let (failed, why) = match made {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => match error {
                Refused::Plain => (Failed::Plain, "the client speaks without TLS".to_owned()),
                Refused::Io(error) => (Failed::of(&error), error.to_string()),
            },
            Err(_) => (Failed::Timeout, "it took too long".to_owned()),
        };
        self.metrics.handshake_failed(failed.label());
        if let Some(others) = self.limiter.allow() {
            tracing::warn!(
                %client,
                kind = failed.label(),
                reason = why,
                suppressed = (others > 0).then_some(others),
                "a TLS handshake failed"
            );
        }
        None
    }

    async fn make(&self, tcp: TcpStream) -> Result<Stream, Refused> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            // The client does not read the answer if it is gone.
            let _ = self.refuse(tcp).await;
            return Err(Refused::Plain);
        }
        let acceptor = TlsAcceptor::from(self.tls.config(self.wire));
        let stream = acceptor
            .accept_with(tcp, |session| session.set_buffer_limit(Some(BUFFER)))
            .await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Tells the client that it has to use TLS, and closes the connection so that it gets to read that.
    async fn refuse(&self, mut tcp: TcpStream) -> io::Result<()> {
        tcp.write_all(self.wire.needs_tls()).await?;
        tcp.shutdown().await?;
        let mut linger = Linger::new();
        poll_fn(|context| linger.poll(&tcp, context)).await;
        Ok(())
    }
}

enum Refused {
    Plain,
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
