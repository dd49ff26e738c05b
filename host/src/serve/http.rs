//! HTTP/1.1, and sequences behind it.

use super::connections::accept;
use super::idle::{Activity, Idle};
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
use intd::App;
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
    let shared = Arc::new((app, limits.clone()));
    accept(listeners, &limits, &shutdown, |stream| {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            // What is kept for the most frequent request is small; all others share a large state.
            if short && App::<Sequence>::is_plain(request.method(), request.uri()) {
                let mut headers = request.into_parts().0.headers;
                // At once: they hold on to the memory that the next request is read to.
                headers.clear();
                Either::Left(async move { Ok::<_, Infallible>(mint(&shared.0, headers).await) })
            } else {
                Either::Right(Box::pin(async move {
                    Ok::<_, Infallible>(answer(&shared.0, &shared.1, request).await)
                }))
            }
        });
        connection(&server, stream, service, &limits, &shutdown)
    })
    .await;
}

/// The answer to `GET /`. Its headers go to an empty map that was the request's: a new one costs more
/// than what it holds.
async fn mint(app: &App<Sequence>, mut headers: HeaderMap) -> Response<Full<Bytes>> {
    match app.mint().await {
        Ok(text) => {
            for (name, value) in App::<Sequence>::TEXT_HEADERS {
                headers.insert(name, value);
            }
            let mut response = Response::new(Full::new(text));
            *response.headers_mut() = headers;
            response
        }
        Err(response) => response.map(Full::new),
    }
}

async fn answer(
    app: &App<Sequence>,
    limits: &Limits,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let begun = limits.log_requests.then(Instant::now);
    let body = match app.body_bytes(&parts.method) {
        0 => Bytes::new(),
        most => match read(body, most, limits).await {
            Ok(body) => body,
            Err(response) => return response.map(Full::new),
        },
    };
    let response = app.handle(&parts, body).await;
    if let Some(begun) = begun {
        log(&parts.method, &parts.uri, response.status(), begun);
    }
    response.map(Full::new)
}

/// The body, or as much of it as is asked for, so that one that is too long is noticed.
async fn read(body: Incoming, most: usize, limits: &Limits) -> Result<Bytes, Response<Bytes>> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match timeout(limits.reading, first(body, most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(intd::refuse(Error::Invalid(
            "the request's body ended before its end".into(),
        ))),
        Err(_) => {
            let mut response = intd::refuse(Error::Invalid(
                "the request's body did not come in time".into(),
            ));
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            Err(response)
        }
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

/// One line for one request. Its query and headers may hold what is nobody's business.
pub(super) fn log(method: &Method, uri: &Uri, status: StatusCode, begun: Instant) {
    tracing::info!(
        target: "int_host::requests",
        %method,
        path = uri.path(),
        status = status.as_u16(),
        micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    );
}

/// How connections are treated.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Answers are short: to copy the body behind the head costs less than to write both as a list.
    builder.max_buf_size(64 << 10).writev(false);
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
            Some(Err(error)) => tracing::debug!(%error, "a connection broke off"),
            None => tracing::debug!("a connection was idle for too long"),
        }
    }
}
