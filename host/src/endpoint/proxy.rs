//! The HTTP/1.1 server in front of a component.

use super::Endpoint;
use crate::Error;
use crate::serve::body::{Paced, outgoing};
use crate::serve::connection::{builder, connection, log};
use crate::serve::connections::accept;
use crate::serve::first_frame::{Buffered, with_first_frame};
use crate::serve::linger::RequestBody;
use crate::serve::report::Report;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown};
use ::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use intd::RequestId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime_wasi_http::WasiBody;

/// Serves a component over HTTP/1.1. If the component gives no response, the client gets an
/// `application/problem+json` one instead.
pub async fn proxy(listeners: Listeners, endpoint: Endpoint, limits: Limits, shutdown: Shutdown) {
    let server = builder();
    let shared = Arc::new(Server {
        endpoint,
        report: Report::new(limits.log_requests),
        log_requests: limits.log_requests,
        gathering: limits.gathering,
    });
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move {
                Ok::<_, Infallible>(if shared.log_requests {
                    shared.logged(request).await
                } else {
                    shared.answer(request).await
                })
            }
        });
        connection(&server, stream, service, &each, &ending)
    })
    .await;
}

/// The state that all connections share.
struct Server {
    endpoint: Endpoint,
    report: Report,
    log_requests: bool,
    /// How long the head of a response waits for the first frame of its body.
    gathering: Duration,
}

/// A response whose body is written one piece at a time.
type Answer = Response<Paced<Buffered>>;

impl Server {
    async fn answer(&self, request: Request<RequestBody>) -> Answer {
        let sent = RequestId::sent(request.headers());
        let request =
            request.map(|body| body.map_err(wasmtime_wasi_http::Error::from).boxed_unsync());
        let response = match self.endpoint.call(request).await {
            Ok(response) => response,
            Err(error) => self.instead(error, sent),
        };
        let response = with_first_frame(response, self.gathering).await;
        response.map(|body| Paced::new(body, None))
    }

    async fn logged(&self, request: Request<RequestBody>) -> Answer {
        let begun = Instant::now();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let sent = RequestId::sent(request.headers());
        let response = self.answer(request).await;
        log(&method, &uri, sent.as_ref(), &response, begun);
        response
    }

    /// The error response to send when the component gave none.
    fn instead(&self, error: Error, sent: Option<RequestId>) -> Response<WasiBody> {
        let named = sent.map(|id| (RequestId::HEADER, id.value()));
        let response = intd::refuse(error, &named.into_iter().collect());
        self.report.tell(response.extensions());
        response.map(|content| {
            outgoing(content)
                .map_err(|never| wasmtime_wasi_http::Error::InternalError(Some(never.to_string())))
                .boxed_unsync()
        })
    }
}
