//! The write timeout of connections, and the detection of disconnects.

use super::idle_timeout::Activity;
use super::linger::Linger;
use super::stream::Stream;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// The size of the buffer that joins short writes: the head of a response and an integer fit into it.
const SHORT: usize = 512;

/// Copies the parts into one buffer if they fit, and returns their total length. A vectored write takes
/// the system longer than copying short parts.
fn join(parts: &[IoSlice<'_>], joined: &mut [u8; SHORT]) -> Option<usize> {
    let mut length = 0;
    for part in parts {
        let end = length + part.len();
        joined.get_mut(length..end)?.copy_from_slice(part);
        length = end;
    }
    Some(length)
}

/// A stream whose writes fail after too long without progress. Reads are limited by
/// [`IdleTimeout`](super::idle_timeout::IdleTimeout) and by the reader of the body.
pub(super) struct WriteTimeout {
    stream: TokioIo<Stream>,
    timeout: Duration,
    activity: Arc<Activity>,
    /// The timer of a pending write.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Set once the stream is closed for writing while a body is unread.
    linger: Option<Linger>,
}

impl WriteTimeout {
    pub(super) fn new(stream: Stream, timeout: Duration, activity: Arc<Activity>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            timeout,
            activity,
            waiting: None,
            linger: None,
        }
    }

    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TokioIo<Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let ready @ Poll::Ready(_) = write(Pin::new(&mut self.stream), context) {
            self.waiting = None;
            return ready;
        }
        let timeout = self.timeout;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl WriteTimeout {
    /// Whether the client reset the connection; if not, the task is woken when it does.
    ///
    /// A client that shut down only its sending side may still wait for its response, and it cannot be
    /// distinguished from one that closed the connection. So the request is finished in both cases, and the
    /// write of the response fails if the connection is closed.
    fn is_reset(&self, context: &mut Context<'_>) -> bool {
        let stream = self.stream.inner().tcp();
        if stream.poll_read_ready(context).is_pending() {
            return false;
        }
        // The next request, or the end of the client's data: after this, readiness reports nothing new.
        self.activity.stop_watching();
        !matches!(stream.take_error(), Ok(None))
    }

    /// Records activity when the client accepted data. A flush is no activity.
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

    /// Also detects disconnects: hyper flushes every time it is polled, even while it waits for a response
    /// and does not read.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.watches() && self.is_reset(context) {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.write(context, |stream, context| stream.poll_shutdown(context)))?;
            if !self.activity.has_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        let Self { stream, linger, .. } = self.get_mut();
        linger
            .get_or_insert_with(Linger::new)
            .poll(stream.inner().tcp(), context)
            .map(Ok)
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
