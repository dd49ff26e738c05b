//! The part of the crate `tokio-native-tls` that `mysql_async` uses, done by the host of the component; see the
//! crate `native-tls` beside this one. A stream is the socket itself, which the host encrypts.

pub use native_tls;

use engine_tls::Session;
use native_tls::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct TlsConnector(native_tls::TlsConnector);

impl From<native_tls::TlsConnector> for TlsConnector {
    fn from(connector: native_tls::TlsConnector) -> Self {
        Self(connector)
    }
}

impl TlsConnector {
    /// Starts TLS. The handshake takes place while the stream is first written.
    ///
    /// # Errors
    /// When the host refuses.
    #[expect(clippy::unused_async, reason = "the signature is that of the original")]
    pub async fn connect(
        &self,
        domain: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let unfit = |error: io::Error| Error::new(error.to_string());
        let local = stream.local_addr().map_err(unfit)?;
        let peer = stream.peer_addr().map_err(unfit)?;
        Session::start(local, peer, domain, self.0.verification).map_err(Error::new)?;
        Ok(TlsStream(Middle(Inner(stream))))
    }
}

/// A stream with TLS. The layers are those of the original, by which the socket is reached.
#[derive(Debug)]
pub struct TlsStream<S>(Middle<S>);

/// The second layer.
#[derive(Debug)]
pub struct Middle<S>(Inner<S>);

/// The third layer.
#[derive(Debug)]
pub struct Inner<S>(S);

macro_rules! layer {
    ($outer:ident => $inner:ty) => {
        impl<S> $outer<S> {
            /// The next layer.
            pub fn get_ref(&self) -> &$inner {
                &self.0
            }

            /// The next layer.
            pub fn get_mut(&mut self) -> &mut $inner {
                &mut self.0
            }
        }
    };
}

layer!(TlsStream => Middle<S>);
layer!(Middle => Inner<S>);
layer!(Inner => S);

impl<S> TlsStream<S> {
    fn socket(self: Pin<&mut Self>) -> Pin<&mut S>
    where
        S: Unpin,
    {
        Pin::new(&mut self.get_mut().0.0.0)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}
