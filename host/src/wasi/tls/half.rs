//! One direction of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use wasmtime_wasi::p2::{Pollable, StreamError, StreamResult};

/// A stream of WASI that is asked, and waited for if it has nothing to say.
pub(super) enum Half<S> {
    Idle(S),
    /// The future owns the stream, so that what it has registered for a wake-up lasts.
    Waiting(Pin<Box<dyn Future<Output = S> + Send>>),
    Closed,
}

impl<S: Pollable> Half<S> {
    /// Attempts something until it has a result. None if the stream is closed.
    pub(super) fn poll<T>(
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
