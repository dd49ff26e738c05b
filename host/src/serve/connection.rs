//! One HTTP connection, for any service.

use super::idle_timeout::{Activity, IdleTimeout};
use super::linger::RequestBody;
use super::stream::Stream;
use super::streams::{Listed, Streams};
use super::write_timeout::WriteTimeout;
use super::{Limits, Shutdown};
use ::http::{Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use futures::future::Either;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use intd::RequestId;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Instant;

/// Logs one line for a request, without its query and headers, which may contain secrets. The request id
/// is that of the response if there is one, as with errors, and otherwise the client's.
pub(crate) fn log<B>(
    method: &Method,
    uri: &Uri,
    sent: Option<&RequestId>,
    response: &Response<B>,
    begun: Instant,
) {
    let answered = RequestId::sent(response.headers());
    tracing::info!(
        target: "int_host::requests",
        %method,
        path = uri.path(),
        status = response.status().as_u16(),
        micros = micros_since(begun),
        request_id = answered.as_ref().or(sent).map(RequestId::as_str),
    );
}

/// The time since then, in microseconds.
pub(super) fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Logs a request whose head hyper could not parse. hyper itself answers it.
fn log_bad_head(error: &hyper::Error) {
    let status = if error.is_parse_too_large() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    tracing::info!(
        target: "int_host::requests",
        status = status.as_u16(),
        "{error}"
    );
}

/// How many requests of one HTTP/2 connection may be in flight, their answers included until they are written.
const STREAMS: u32 = 100;

/// How many requests a client may reset before they are looked at, and how many of its streams may be reset because of
/// its mistakes. Beyond that the connection is closed.
const RESETS: usize = 20;

/// The settings of all connections.
pub(crate) struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

pub(crate) fn builder() -> Builders {
    let mut http1 = http1::Builder::new();
    // Without vectored writes hyper copies head and body into a buffer that the connection keeps
    // until it is closed, and that grows to the largest body. `WriteTimeout` joins short writes.
    http1.max_buf_size(64 << 10).writev(true);
    // A client that shuts down its sending side after its request still gets its response.
    http1.half_close(true);
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(16 << 10)
        .max_frame_size(16 << 10)
        // What a client may send before somebody reads it. Bodies have at most 4 KiB, except for components.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        // What waits of each answer: one piece.
        .max_send_buf_size(16 << 10);
    Builders { http1, http2 }
}

/// Serves one connection until it is closed, until its idle timeout, or, when the server is shutting
/// down, until its requests in flight are answered.
pub(crate) fn connection<S, B>(
    builders: &Builders,
    stream: Stream,
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if stream.is_http2() {
        return Either::Right(Box::pin(second(
            builders, stream, service, limits, shutdown,
        )));
    }
    let activity = Arc::new(Activity::default());
    let stream = WriteTimeout::new(stream, limits.writing, Arc::clone(&activity));
    let metrics = Arc::new(limits.metrics.server());
    let idle = IdleTimeout::new(Arc::clone(&activity), limits.reading);
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(|body| RequestBody::new(body, &activity));
        let response = activity.request(service.call(request));
        let metrics = metrics.clone();
        async move {
            let response = response.await;
            if let Ok(response) = &response {
                metrics.answered(response.status());
            }
            response
        }
    });
    // Upgrades are for the WebSockets of a ledger.
    let connection = builders
        .http1
        .serve_connection(stream, service)
        .with_upgrades();
    let end =
        |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| connection.graceful_shutdown();
    Either::Left(drive(connection, end, false, idle, limits, shutdown))
}

/// Serves one connection over HTTP/2.
fn second<S, B>(
    builders: &Builders,
    stream: Stream,
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (activity, streams) = (Arc::new(Activity::default()), Arc::new(Streams::default()));
    // Its writes are not activity: a client that sends nothing but pings, which are answered, is idle.
    let stream = WriteTimeout::new(stream, limits.writing, Arc::default());
    let metrics = Arc::new(limits.metrics.server());
    let idle = IdleTimeout::of_streams(Arc::clone(&activity), Arc::clone(&streams), limits.reading);
    let service = service_fn(move |request: Request<Incoming>| {
        activity.note();
        let response = streams.request(service.call(request.map(RequestBody::of_stream)));
        let (metrics, streams) = (Arc::clone(&metrics), Arc::clone(&streams));
        async move {
            let response = response.await?;
            metrics.answered(response.status());
            Ok::<_, S::Error>(response.map(|body| Listed::new(body, &streams)))
        }
    });
    let connection = builders.http2.serve_connection(stream, service);
    let end = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
    drive(connection, end, true, idle, limits, shutdown)
}

/// Polls a connection. `end` asks it to end once its requests in flight are answered.
///
/// If `gently`, an idle connection gets another idle timeout to end, so that a request which comes at that moment is
/// not lost.
fn drive<C, E>(
    connection: C,
    end: E,
    gently: bool,
    mut idle: IdleTimeout,
    limits: &Limits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<C, E>
where
    C: Future<Output = hyper::Result<()>> + Send,
    E: Fn(Pin<&mut C>) + Send + Sync,
{
    let requested = shutdown.requested();
    let shutdown = shutdown.clone();
    let log_requests = limits.log_requests;
    async move {
        let mut connection = pin!(connection);
        let mut requested = pin!(requested);
        // One poll of `requested` registers the waker; after that only the flag is checked, which
        // is cheaper to do for each request.
        let mut asked = false;
        let mut ending = false;
        let ended = std::future::poll_fn(|context| {
            if !ending && (!asked || shutdown.begun()) {
                asked = true;
                if requested.as_mut().poll(context).is_ready() {
                    ending = true;
                    end(connection.as_mut());
                }
            }
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(Some(ended));
                }
                ready!(idle.poll(context));
                if ending || !gently {
                    return Poll::Ready(None);
                }
                ending = true;
                end(connection.as_mut());
            }
        })
        .await;
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                if log_requests && error.is_parse() {
                    log_bad_head(&error);
                }
                tracing::debug!(%error, "a connection failed");
            }
            None => tracing::debug!("closed a connection after its idle timeout"),
        }
    }
}
