//! Closing a connection whose request was answered before its body was read.
//!
//! A system that closes a socket with unread data resets the connection, and a reset discards data that the
//! client has not read yet: it would see a broken connection instead of the response that says why its body
//! was refused. So such a connection is closed for writing first, and the rest of the body is read and
//! discarded, within bounds, until the client closes it too.

use super::idle_timeout::Activity;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long the rest of a body is discarded.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of bytes that are discarded.
const MOST: usize = 16 << 20;

/// The body of a request, which records when it was read to its end.
pub(crate) struct RequestBody {
    incoming: Incoming,
    /// None if there is no body.
    activity: Option<Arc<Activity>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, activity: &Arc<Activity>) -> Self {
        let unread = !incoming.is_end_stream();
        activity.set_unread(unread);
        Self {
            incoming,
            activity: unread.then(|| Arc::clone(activity)),
        }
    }
}

impl RequestBody {
    /// The body of a request whose connection goes on if it is not read.
    pub(super) fn of_stream(incoming: Incoming) -> Self {
        Self {
            incoming,
            activity: None,
        }
    }
}

impl Body for RequestBody {
    type Data = hyper::body::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(activity) = self.activity.take()
        {
            activity.set_unread(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Discards what a client still sends.
pub(super) struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    /// Must be called within a runtime.
    pub(super) fn new() -> Self {
        Self {
            timer: Box::pin(sleep(TIMEOUT)),
            left: MOST,
        }
    }

    /// Resolves when the client has closed the connection, and at the latest at a bound.
    pub(super) fn poll(&mut self, stream: &TcpStream, context: &mut Context<'_>) -> Poll<()> {
        let mut discarded = [0; 8 << 10];
        while self.timer.as_mut().poll(context).is_pending() {
            if ready!(stream.poll_read_ready(context)).is_err() {
                break;
            }
            match stream.try_read(&mut discarded) {
                Ok(read @ 1..) if read < self.left => self.left -= read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}
