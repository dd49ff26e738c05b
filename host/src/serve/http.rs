//! The HTTP/1.1 server for sequences.

use super::body::{Outgoing, outgoing};
use super::connection::{builder, connection, log};
use super::connections::accept;
use super::linger::RequestBody;
use super::recorder::{Client, Name};
use super::repeat::{InFlight, Repeating};
use super::report::Report;
use super::request_body::read;
use super::tls::Wire;
use super::{Limits, Listeners, Shutdown};
use crate::Sequence;
use crate::traces::Minted;
use ::http::request::Parts;
use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures::future::Either;
use http_body_util::Full;
use hyper::service::service_fn;
use intd::{App, Content, Granted, Problem, Raised, RequestId, refuse};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

/// Serves the routes of [`App`].
pub async fn http(
    listeners: Listeners,
    app: impl Into<Arc<App<Sequence>>>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let app = app.into();
    let server = builder();
    let recorder = limits.recorder.clone();
    let short = app.mints_for_all() && !limits.log_requests && limits.traces.is_none();
    let shared = Arc::new(Server {
        key: app.settings().key.as_str().into(),
        app,
        report: Report::new(limits.log_requests),
        in_flight: InFlight::default(),
        limits: limits.clone(),
    });
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let shared = Arc::clone(&shared);
        let client = recorder.client(&stream);
        let service = service_fn(move |request: Request<RequestBody>| {
            let (shared, client) = (Arc::clone(&shared), client.clone());
            // The most frequent request has a small future; all others have a large, boxed one.
            if short
                && App::<Sequence>::is_plain(request.method(), request.uri())
                && !request.headers().contains_key(RequestId::HEADER)
            {
                let mut headers = request.into_parts().0.headers;
                // Cleared early: they refer to the buffer into which the next request is read.
                headers.clear();
                Either::Left(
                    async move { Ok::<_, Infallible>(shared.mint(headers, &client).await) },
                )
            } else {
                Either::Right(Box::pin(async move {
                    Ok::<_, Infallible>(shared.answer(request, &client).await)
                }))
            }
        });
        connection(&server, stream, service, &each, &ending)
    })
    .await;
}

/// The state that all connections share.
struct Server {
    app: Arc<App<Sequence>>,
    /// The key behind `/`.
    key: Name,
    limits: Limits,
    report: Report,
    in_flight: InFlight,
}

impl Server {
    /// The response to `GET /`. Reuses the request's emptied header map, since allocating a new one costs more
    /// than filling it.
    async fn mint(&self, mut headers: HeaderMap, client: &Client) -> Response<Outgoing> {
        match self.app.mint_span().await {
            Ok((span, text)) => {
                let recorder = &self.limits.recorder;
                if recorder.is_instant() {
                    recorder.note(&self.key, client, span);
                } else if let Err(error) =
                    Box::pin(recorder.minted(&self.key, client, None, span)).await
                {
                    let response = refuse(error, &headers);
                    self.report.tell(response.extensions());
                    return response.map(outgoing);
                }
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

    async fn answer(&self, request: Request<RequestBody>, client: &Client) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let begun = self.limits.log_requests.then(Instant::now);
        let traces = self.limits.traces.as_ref();
        let traced = traces.and_then(|traces| Some((traces, traces.begin(&parts.headers)?)));
        let body = match self.app.body_bytes(&parts.method) {
            0 => Ok(Bytes::new()),
            most => read(body, most, &self.limits).await,
        };
        let response = match body {
            Ok(body) => self.respond(&parts, body, client).await,
            Err(unread) => {
                Problem::from(unread).into_response(false, RequestId::of(&parts.headers))
            }
        };
        self.report.tell(response.extensions());
        if let Some((traces, traced)) = traced {
            let granted = response.extensions().get::<Granted>();
            let minted = granted.map(|Granted { key, span, .. }| Minted { key, span: *span });
            let (method, path) = (&parts.method, parts.uri.path());
            traces.finish(&traced, method, path, response.status(), minted);
        }
        if let Some(begun) = begun {
            let sent = RequestId::sent(&parts.headers);
            log(&parts.method, &parts.uri, sent.as_ref(), &response, begun);
        }
        response.map(outgoing)
    }
}

impl Server {
    /// The response to a request that was read. Its integers are published.
    async fn respond(&self, parts: &Parts, body: Bytes, client: &Client) -> Response<Content> {
        let repeating = Repeating {
            app: &self.app,
            recorder: &self.limits.recorder,
            in_flight: &self.in_flight,
            client,
        };
        if let Some(response) = repeating.answer(parts).await {
            return response;
        }
        let response = self.app.handle(parts, body).await;
        if self.limits.recorder.is_on() {
            self.record(response, &parts.headers, client).await
        } else {
            response
        }
    }

    /// Publishes the integers of a response. Returns another response if the client must not get them.
    async fn record(
        &self,
        response: Response<Content>,
        headers: &HeaderMap,
        client: &Client,
    ) -> Response<Content> {
        let recorder = &self.limits.recorder;
        if let Some(Granted { key, span, token }) = response.extensions().get() {
            let key = if **key == *self.key {
                self.key.clone()
            } else {
                key.as_str().into()
            };
            let sent = RequestId::sent(headers);
            let request = sent.as_ref().map(RequestId::as_str);
            let client = client.named(token.as_deref());
            if let Err(error) = recorder.minted(&key, &client, request, *span).await {
                return refuse(error, headers);
            }
        } else if let Some(Raised {
            id,
            key,
            last,
            token,
        }) = response.extensions().get()
        {
            let client = client.named(token.as_deref());
            recorder.raised(key, &client, id.as_str(), *last).await;
        }
        response
    }
}
