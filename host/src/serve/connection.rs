//! One HTTP/1.1 connection, for any service.

use super::idle_timeout::{Activity, IdleTimeout};
use super::linger::RequestBody;
use super::stream::Stream;
use super::write_timeout::WriteTimeout;
use super::{Limits, Shutdown};
use ::http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use intd::RequestId;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
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
        micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id = answered.as_ref().or(sent).map(RequestId::as_str),
    );
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

/// The HTTP/1.1 settings of all connections.
pub(crate) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Without vectored writes hyper copies head and body into a buffer that the connection keeps
    // until it is closed, and that grows to the largest body. `WriteTimeout` joins short writes.
    builder.max_buf_size(64 << 10).writev(true);
    // A client that shuts down its sending side after its request still gets its response.
    builder.half_close(true);
    builder
}

/// Serves one connection until it is closed, until its idle timeout, or, when the server is shutting
/// down, until its request in flight is answered.
pub(crate) fn connection<S, B>(
    builder: &http1::Builder,
    stream: Stream,
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Arc::new(Activity::default());
    let stream = WriteTimeout::new(stream, limits.writing, Arc::clone(&activity));
    let metrics = Arc::new(limits.metrics.server());
    let mut idle = IdleTimeout::new(Arc::clone(&activity), limits.reading);
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
    let connection = builder.serve_connection(stream, service);
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
                    connection.as_mut().graceful_shutdown();
                }
            }
            match connection.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => idle.poll(context).map(|()| None),
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
