//! HTTP/1.1, and a component behind it.

use super::beginning::{Begun, whole};
use super::connections::accept;
use super::endpoint::Endpoint;
use super::http::{builder, connection, log};
use super::{Limits, Listeners, Shutdown};
use crate::Error;
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use wasmtime_wasi_http::WasiBody;

/// Serves a component. When it has no answer there is one in its place, `application/problem+json`.
pub async fn proxy(listeners: Listeners, endpoint: Endpoint, limits: Limits, shutdown: Shutdown) {
    let server = builder();
    let shared = Arc::new((endpoint, limits.clone()));
    accept(listeners, &limits, &shutdown, |stream| {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move {
                let (endpoint, limits) = &*shared;
                Ok::<_, Infallible>(match limits.log_requests {
                    true => logged(endpoint, limits, request).await,
                    false => answer(endpoint, limits, request).await,
                })
            }
        });
        connection(&server, stream, service, &limits, &shutdown)
    })
    .await;
}

async fn answer(
    endpoint: &Endpoint,
    limits: &Limits,
    request: Request<Incoming>,
) -> Response<Begun> {
    let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::from).boxed_unsync());
    let response = endpoint.call(request).await.unwrap_or_else(instead);
    whole(response, limits.gathering).await
}

async fn logged(
    endpoint: &Endpoint,
    limits: &Limits,
    request: Request<Incoming>,
) -> Response<Begun> {
    let begun = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = answer(endpoint, limits, request).await;
    log(&method, &uri, response.status(), begun);
    response
}

/// The answer in place of one that the component did not give.
fn instead(error: Error) -> Response<WasiBody> {
    intd::refuse(error).map(|body: Bytes| {
        Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync()
    })
}
