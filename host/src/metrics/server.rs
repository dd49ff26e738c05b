//! The server of `/metrics`, on a port of its own: metrics tell strangers more than they need to know.

use super::Metrics;
use crate::serve::connection::{builder, connection};
use crate::serve::connections::accept;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use std::convert::Infallible;

/// The maximum number of connections: a few scrapers, and an operator with curl.
const CONNECTIONS: u32 = 32;

/// The text format of Prometheus.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves `GET /metrics` until the shutdown.
pub async fn serve(listeners: Listeners, metrics: Metrics, shutdown: Shutdown) {
    let limits = Limits {
        connections: CONNECTIONS,
        ..Limits::default()
    };
    let server = builder();
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let metrics = metrics.clone();
        let service = service_fn(move |request: Request<_>| {
            let response = answer(request.method(), request.uri().path(), &metrics);
            async move { Ok::<_, Infallible>(response) }
        });
        connection(&server, stream, service, &each, &ending)
    })
    .await;
}

fn answer(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (path, method) {
        ("/metrics", &Method::GET | &Method::HEAD) => (StatusCode::OK, FORMAT, metrics.text()),
        ("/metrics", _) => (
            StatusCode::METHOD_NOT_ALLOWED,
            HeaderValue::from_static("text/plain"),
            "only GET and HEAD are allowed here\n".into(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            HeaderValue::from_static("text/plain"),
            "there is only /metrics here\n".into(),
        ),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
