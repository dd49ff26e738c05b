//! The Redis protocol: `INCR` mints.
//!
//! Requests that arrive together are run together: mints of one sequence that follow each other share one
//! call, and calls of all connections are coalesced.

mod command;
mod reply;
mod request;
mod session;

use super::connections::accept;
use super::idle_timeout::{Activity, IdleTimeout};
use super::linger::Linger;
use super::report::Report;
use super::stream::Stream;
use super::tls::Wire;
use super::{Limits, Listeners, Shutdown};
use crate::Sequence;
use intd::App;
use prometheus::IntCounter;
use reply::{Replies, Version};
use request::{MAX_REQUEST, Request};
use session::Session;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

/// How long a connection may be idle, or take to send a request. Clients keep idle connections in pools, so
/// this is longer than over HTTP.
const IDLE: Duration = Duration::from_secs(300);

/// The size of a connection's buffers while there is not much to read.
const SMALL: usize = 1 << 10;

/// Replies of a pipeline are sent when they have this size, in bytes, so that long pipelines fill no memory.
const PIECE: usize = 32 << 10;

/// Serves the sequences of [`App`] over the Redis protocol. The token for minting is the password.
pub async fn resp(
    listeners: Listeners,
    app: Arc<App<Sequence>>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let shared = Arc::new(Server {
        app,
        report: Report::new(limits.log_requests),
        limits: limits.clone(),
        ids: AtomicU64::new(1),
        commands: limits.metrics.commands(),
    });
    let ending = shutdown.clone();
    accept(listeners, Wire::Resp, &limits, &shutdown, move |stream| {
        let (shared, shutdown) = (Arc::clone(&shared), ending.clone());
        async move {
            if let Err(error) = shared.connection(stream, &shutdown).await {
                tracing::debug!(%error, "a connection failed");
            }
        }
    })
    .await;
}

/// The state that all connections share.
struct Server {
    app: Arc<App<Sequence>>,
    report: Report,
    limits: Limits,
    ids: AtomicU64,
    commands: IntCounter,
}

impl Server {
    async fn connection(&self, stream: Stream, shutdown: &Shutdown) -> io::Result<()> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let client = self.limits.recorder.client(&stream);
        let mut session = Session::new(&self.app, &self.report, &self.limits.recorder, client, id);
        let mut connection = Connection::new(stream, self.limits.writing);
        while connection.receive(shutdown).await? {
            let served = self.serve(&mut connection, &mut session).await;
            connection.send().await?;
            match served {
                Ok(()) if !session.is_ending() => {}
                Ok(()) => break,
                Err(malformed) => {
                    if self.limits.log_requests {
                        tracing::info!(target: "int_host::requests", connection = id, "{malformed}");
                    }
                    connection.fail(&malformed.to_string()).await?;
                    break;
                }
            }
        }
        connection.close().await
    }

    /// Runs all complete requests that were received.
    async fn serve(
        &self,
        connection: &mut Connection,
        session: &mut Session<'_>,
    ) -> Result<(), request::Malformed> {
        let mut request = std::mem::take(&mut connection.request);
        let input = std::mem::take(&mut connection.input);
        let mut at = 0;
        let read = loop {
            let rest = input.get(at..).unwrap_or_default();
            match request.read(rest) {
                Ok(Some(length)) => {
                    let (bytes, more) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    let arguments = request.arguments(bytes);
                    let minted = session.run(arguments, &mut connection.output).await;
                    let repeated = minted.map_or(0, |count| session.repeat(count, bytes, more));
                    self.commands.inc_by(1 + repeated as u64);
                    at += length * (1 + repeated);
                }
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(malformed),
            }
            if session.is_ending() {
                break Ok(());
            }
            // The client may not read its replies, which is noticed after the pipeline.
            if connection.output.len() >= PIECE && connection.send().await.is_err() {
                break Ok(());
            }
        };
        session.finish(&mut connection.output).await;
        // Parts of a request are no activity: a client cannot send it byte by byte for ever.
        if at > 0 {
            connection.activity.note();
        }
        connection.request = request;
        connection.input = input;
        connection.input.drain(..at);
        read
    }
}

/// A connection with its buffers.
struct Connection {
    stream: Stream,
    writing: Duration,
    activity: Arc<Activity>,
    idle: IdleTimeout,
    /// Bytes that are not run yet.
    input: Vec<u8>,
    /// Replies that are not sent yet.
    output: Vec<u8>,
    request: Request,
}

impl Connection {
    fn new(stream: Stream, writing: Duration) -> Self {
        let activity = Arc::new(Activity::default());
        Self {
            stream,
            writing,
            idle: IdleTimeout::new(Arc::clone(&activity), IDLE),
            activity,
            input: Vec::new(),
            output: Vec::new(),
            request: Request::default(),
        }
    }

    /// Receives more bytes. False once the client has closed its side, was idle for too long, or the server is
    /// shutting down.
    async fn receive(&mut self, shutdown: &Shutdown) -> io::Result<bool> {
        if self.input.is_empty() && self.input.capacity() > SMALL {
            self.input = Vec::new();
        }
        let free = SMALL.min(MAX_REQUEST.saturating_sub(self.input.len()).max(1));
        if self.input.capacity() - self.input.len() < free {
            self.input.reserve(free.max(self.input.len()));
        }
        let mut requested = pin!(shutdown.requested());
        let Self {
            stream,
            idle,
            input,
            ..
        } = self;
        poll_fn(|context| {
            if let Poll::Ready(read) = poll_read_buf(Pin::new(&mut *stream), context, input) {
                return Poll::Ready(read.map(|bytes| bytes > 0));
            }
            if requested.as_mut().poll(context).is_ready() || idle.poll(context).is_ready() {
                return Poll::Ready(Ok(false));
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the replies.
    async fn send(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            let sending = async {
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await
            };
            timeout(self.writing, sending)
                .await
                .map_err(|_| ErrorKind::TimedOut)??;
            self.output.clear();
            self.output.shrink_to(SMALL);
        }
        Ok(())
    }

    /// Sends the error for bytes that are no request.
    async fn fail(&mut self, why: &str) -> io::Result<()> {
        let mut replies = Replies {
            buffer: &mut self.output,
            version: Version::default(),
        };
        replies.error(&format!("ERR {why}"));
        self.send().await
    }

    /// Closes the connection so that the client gets the last replies.
    async fn close(mut self) -> io::Result<()> {
        timeout(self.writing, self.stream.shutdown())
            .await
            .map_err(|_| ErrorKind::TimedOut)??;
        let mut linger = Linger::new();
        poll_fn(|context| linger.poll(self.stream.tcp(), context)).await;
        Ok(())
    }
}
