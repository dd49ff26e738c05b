//! One direction of a connection, as tokio's traits.

use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, Pollable, StreamError, StreamResult};

/// How many bytes are copied for one write. Requests of engines are shorter.
const JOINED: usize = 32 << 10;

/// A stream of WASI that is asked, and waited for if it has nothing to say.
enum Half<S> {
    Idle(S),
    /// The future owns the stream, so that what it has registered for a wake-up lasts.
    Waiting(Pin<Box<dyn Future<Output = S> + Send>>),
    Closed,
}

impl<S: Pollable> Half<S> {
    /// Attempts something until it has a result. None if the stream is closed.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut S) -> StreamResult<Option<T>>,
    ) -> Poll<io::Result<Option<T>>> {
        loop {
            match std::mem::replace(self, Self::Closed) {
                Self::Closed => return Poll::Ready(Ok(None)),
                Self::Idle(mut stream) => match attempt(&mut stream) {
                    Ok(None) => {
                        *self = Self::Waiting(Box::pin(async move {
                            stream.ready().await;
                            stream
                        }));
                    }
                    Ok(done) => {
                        *self = Self::Idle(stream);
                        return Poll::Ready(Ok(done));
                    }
                    Err(StreamError::Closed) => return Poll::Ready(Ok(None)),
                    Err(error) => return Poll::Ready(Err(io::Error::other(error.to_string()))),
                },
                Self::Waiting(mut waiting) => match waiting.as_mut().poll(context) {
                    Poll::Ready(stream) => *self = Self::Idle(stream),
                    Poll::Pending => {
                        *self = Self::Waiting(waiting);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

/// Both directions.
pub(super) struct Plain {
    input: Half<DynInputStream>,
    output: Half<DynOutputStream>,
}

impl Plain {
    pub(super) fn new(input: DynInputStream, output: DynOutputStream) -> Self {
        Self {
            input: Half::Idle(input),
            output: Half::Idle(output),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let read = self.input.poll(context, |stream| {
            stream
                .read(room)
                .map(|bytes| (!bytes.is_empty()).then_some(bytes))
        });
        if let Some(bytes) = ready!(read)? {
            buffer.put_slice(bytes.get(..room).unwrap_or(&bytes));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    /// One write for all records of a message. Of several small ones, the second would wait until the server has
    /// confirmed the first (Nagle's algorithm), which takes up to 40 ms in each handshake.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        chunks: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
        let written = self.output.poll(context, |stream| {
            let count = stream.check_write()?.min(all).min(JOINED);
            if count == 0 && all > 0 {
                return Ok(None);
            }
            let mut joined = BytesMut::with_capacity(count);
            for chunk in chunks {
                let room = count - joined.len();
                joined.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
            }
            stream.write(joined.freeze())?;
            Ok(Some(count))
        });
        match ready!(written)? {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sockets of WASI send what they are given.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
