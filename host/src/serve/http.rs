//! HTTP/1.1, and sequences behind it.

use super::connections::accept;
use super::idle::{Activity, Idle};
use super::paced::{Outgoing, outgoing};
use super::report::Report;
use super::stall::Stall;
use super::{Limits, Listeners, Shutdown};
use crate::{Error, Sequence};
use ::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use futures::future::Either;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use intd::{App, Content, RequestId, refuse};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Serves the routes of [`App`].
pub async fn http(listeners: Listeners, app: App<Sequence>, limits: Limits, shutdown: Shutdown) {
    let server = builder();
    let short = app.mints_for_all() && !limits.log_requests;
    let shared = Arc::new(Server {
        app,
        report: Report::new(limits.log_requests),
        limits: limits.clone(),
    });
    accept(listeners, &limits, &shutdown, |stream| {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            // What is kept for the most frequent request is small; all others share a large state.
            if short
                && App::<Sequence>::is_plain(request.method(), request.uri())
                && !request.headers().contains_key(RequestId::HEADER)
            {
                let mut headers = request.into_parts().0.headers;
                // At once: they hold on to the memory that the next request is read to.
                headers.clear();
                Either::Left(async move { Ok::<_, Infallible>(shared.mint(headers).await) })
            } else {
                Either::Right(Box::pin(async move {
                    Ok::<_, Infallible>(shared.answer(request).await)
                }))
            }
        });
        connection(&server, stream, service, &limits, &shutdown)
    })
    .await;
}

/// What all connections share.
struct Server {
    app: App<Sequence>,
    limits: Limits,
    report: Report,
}

impl Server {
    /// The answer to `GET /`. Its headers go to an empty map that was the request's: a new one costs
    /// more than what it holds.
    async fn mint(&self, mut headers: HeaderMap) -> Response<Outgoing> {
        match self.app.mint().await {
            Ok(text) => {
                for (name, value) in App::<Sequence>::TEXT_HEADERS {
                    headers.insert(name, value);
                }
                let mut response = Response::new(Outgoing::Left(Full::new(text)));
                *response.headers_mut() = headers;
                response
            }
            Err(error) => {
                let response = refuse(error, &headers);
                self.report.tell(response.extensions());
                response.map(outgoing)
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let begun = self.limits.log_requests.then(Instant::now);
        let body = match self.app.body_bytes(&parts.method) {
            0 => Ok(Bytes::new()),
            most => read(body, most, &self.limits).await,
        };
        let response = match body {
            Ok(body) => self.app.handle(&parts, body).await,
            Err(unread) => unread.answer(&parts.headers),
        };
        self.report.tell(response.extensions());
        if let Some(begun) = begun {
            let sent = RequestId::sent(&parts.headers);
            log(&parts.method, &parts.uri, sent.as_ref(), &response, begun);
        }
        response.map(outgoing)
    }
}

/// Why a body was not read.
enum Unread {
    Incomplete,
    Late,
}

impl Unread {
    fn answer(&self, headers: &HeaderMap) -> Response<Content> {
        let (text, status) = match self {
            Self::Incomplete => (
                "the request's body ended before its end",
                StatusCode::BAD_REQUEST,
            ),
            Self::Late => (
                "the request's body did not come in time",
                StatusCode::REQUEST_TIMEOUT,
            ),
        };
        let mut response = refuse(Error::Invalid(text.into()), headers);
        *response.status_mut() = status;
        response
    }
}

/// The body, or as much of it as is asked for, so that one that is too long is noticed.
async fn read(body: Incoming, most: usize, limits: &Limits) -> Result<Bytes, Unread> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match timeout(limits.reading, first(body, most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Unread::Incomplete),
        Err(_) => Err(Unread::Late),
    }
}

async fn first(mut body: Incoming, most: usize) -> Result<Bytes, hyper::Error> {
    let mut start = Vec::new();
    while start.len() < most
        && let Some(frame) = body.frame().await
    {
        if let Some(data) = frame?.data_ref() {
            start.extend_from_slice(data.get(..most - start.len()).unwrap_or(data));
        }
    }
    Ok(start.into())
}

/// One line for one request. Its query and headers may hold what is nobody's business. An error is
/// named as its answer is; what was answered well, as the client named it.
pub(super) fn log<B>(
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

/// The same for a request whose head is not understood. It is answered below us.
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

/// How connections are treated.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Otherwise hyper copies bodies behind heads, to a buffer that a connection keeps for as long as
    // it lasts and that is as large as the largest of them. `Stall` joins short ones.
    builder.max_buf_size(64 << 10).writev(true);
    // A client that ends its side after its request gets its answer.
    builder.half_close(true);
    builder
}

/// Serves one connection until it ends, until its client owes a request for too long, or until its
/// request in flight is answered when the server is shutting down.
pub(super) fn connection<S, B>(
    builder: &http1::Builder,
    stream: TcpStream,
    service: S,
    limits: &Limits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Arc::new(Activity::default());
    let stream = Stall::new(stream, limits.writing, Arc::clone(&activity));
    let mut idle = Idle::new(Arc::clone(&activity), limits.reading);
    let service = service_fn(move |request| activity.request(service.call(request)));
    let connection = builder.serve_connection(stream, service);
    let requested = shutdown.requested();
    let shutdown = shutdown.clone();
    let log_requests = limits.log_requests;
    async move {
        let mut connection = pin!(connection);
        let mut requested = pin!(requested);
        // To be woken by the shutdown it is enough to have asked for it once; after that the
        // flag tells, which is cheaper to look at for each request.
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
                tracing::debug!(%error, "a connection broke off");
            }
            None => tracing::debug!("a connection was idle for too long"),
        }
    }
}
