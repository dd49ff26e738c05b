//! A connection whose other side must keep reading.

use super::idle_timeout::Activity;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The head of an answer and an integer fit into so many bytes.
const SHORT: usize = 512;

/// Copies the parts to one, if they fit, and returns its length. For the system to look at a list of
/// parts takes longer than to copy short ones.
fn join(parts: &[IoSlice<'_>], joined: &mut [u8; SHORT]) -> Option<usize> {
    let mut length = 0;
    for part in parts {
        let end = length + part.len();
        joined.get_mut(length..end)?.copy_from_slice(part);
        length = end;
    }
    Some(length)
}

/// Fails a write that makes no progress for too long. Reading is bounded elsewhere.
pub(super) struct WriteTimeout {
    stream: TokioIo<TcpStream>,
    patience: Duration,
    activity: Arc<Activity>,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(stream: TcpStream, patience: Duration, activity: Arc<Activity>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            patience,
            activity,
            waiting: None,
        }
    }

    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TokioIo<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let ready @ Poll::Ready(_) = write(Pin::new(&mut self.stream), context) {
            self.waiting = None;
            return ready;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl WriteTimeout {
    /// Whether the client reset the connection; if not, the task is woken when it does.
    ///
    /// A client that only ended its own side may still wait for its answer, and nothing tells one that
    /// closed both from it. What such a one asked for is finished, and noticed when it is written.
    fn is_reset(&self, context: &mut Context<'_>) -> bool {
        let stream = self.stream.inner();
        if stream.poll_read_ready(context).is_pending() {
            return false;
        }
        // The next request, or the end of the client's side: nothing else will be told of after it.
        self.activity.stop_watching();
        !matches!(stream.take_error(), Ok(None))
    }

    /// Takes note when the client took something. To flush is not that.
    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.note();
        }
        written
    }
}

impl Read for WriteTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for WriteTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.write(context, |stream, context| stream.poll_write(context, bytes));
        self.noted(written)
    }

    /// hyper flushes each time it is polled, also while it waits for an answer, when it does not read:
    /// so this is where clients are noticed that are gone.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.watches() && self.is_reset(context) {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; SHORT];
        if let Some(length) = join(parts, &mut joined) {
            return self.poll_write(context, joined.get(..length).unwrap_or_default());
        }
        let written = self.write(context, |stream, context| {
            stream.poll_write_vectored(context, parts)
        });
        self.noted(written)
    }
}
