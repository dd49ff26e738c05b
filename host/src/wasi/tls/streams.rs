//! The streams that a component gets for a connection. They pass everything on until TLS starts.

use super::link::Link;
use super::session::Session;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// How many bytes may be written before TLS has taken them.
const PERMIT: usize = 16 << 10;

pub(super) struct Input(pub(super) Arc<Link>);

pub(super) struct Output(pub(super) Arc<Link>);

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// Waits until a poll of TLS is ready. The next operation fails if that did.
async fn until(link: &Link, poll: fn(&mut Session, &mut Context<'_>) -> Poll<io::Result<()>>) {
    poll_fn(|context| match link.tls() {
        Some(mut tls) => poll(&mut tls, context).map(drop),
        None => Poll::Ready(()),
    })
    .await;
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        if self.0.has_tls() {
            return until(&self.0, Session::poll_readable).await;
        }
        if let Some(stream) = &mut *self.0.input.lock().await {
            stream.ready().await;
        }
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(mut tls) = self.0.tls() else {
            let mut stream = self.0.input.try_lock().map_err(|_| StreamError::Closed)?;
            return stream.as_mut().ok_or(StreamError::Closed)?.read(size);
        };
        match tls.poll_readable(&mut noop()) {
            Poll::Ready(Ok(())) => tls.take(size).ok_or(StreamError::Closed),
            Poll::Ready(Err(error)) => Err(failed(error)),
            Poll::Pending => Ok(Bytes::new()),
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if self.0.has_tls() {
            return until(&self.0, Session::poll_sent).await;
        }
        if let Some(stream) = &mut *self.0.output.lock().await {
            stream.ready().await;
        }
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.note_write();
        let Some(mut tls) = self.0.tls() else {
            let mut stream = self.0.output.try_lock().map_err(|_| StreamError::Closed)?;
            return stream.as_mut().ok_or(StreamError::Closed)?.write(bytes);
        };
        match tls.poll_sent(&mut noop()) {
            Poll::Ready(Ok(())) if bytes.len() <= PERMIT => {
                tls.put(&bytes).map_err(failed)?;
                match tls.poll_sent(&mut noop()) {
                    Poll::Ready(Err(error)) => Err(failed(error)),
                    _ => Ok(()),
                }
            }
            Poll::Ready(Err(error)) => Err(failed(error)),
            _ => Err(StreamError::trap("writing without a permit")),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.0.tls().is_some() {
            return Ok(());
        }
        let mut stream = self.0.output.try_lock().map_err(|_| StreamError::Closed)?;
        stream.as_mut().ok_or(StreamError::Closed)?.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let Some(mut tls) = self.0.tls() else {
            let mut stream = self.0.output.try_lock().map_err(|_| StreamError::Closed)?;
            return stream.as_mut().ok_or(StreamError::Closed)?.check_write();
        };
        match tls.poll_sent(&mut noop()) {
            Poll::Ready(Ok(())) => Ok(PERMIT),
            Poll::Ready(Err(error)) => Err(failed(error)),
            Poll::Pending => Ok(0),
        }
    }
}
