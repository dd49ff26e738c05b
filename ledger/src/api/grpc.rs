//! The same questions over gRPC, with health and reflection.

pub mod bindings;
mod caller;
mod convert;
mod deadline;
mod forward;
mod health;
mod service;
mod status;

pub use caller::{Caller, May};
pub use status::status;

use super::{Api, MAX_BODY};
use crate::Error;
use bindings::ledger_server::LedgerServer;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header};
use service::Service;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;

/// The name of the service, which is the first part of its paths.
const LEDGER: &str = LedgerServer::<Service>::NAME;

/// What the names of the services for reflection begin with.
const REFLECTION: &str = "grpc.reflection.";

/// The services of a ledger. Clones are the same.
#[derive(Clone)]
pub struct Grpc {
    api: Api,
    services: Arc<[(&'static str, Handler)]>,
}

type Handler = Box<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

impl Grpc {
    /// The services of a ledger.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if the program is broken: the descriptions of its messages cannot be read.
    pub fn new(api: Api) -> Result<Self, Error> {
        let ledger = LedgerServer::new(Service(api.clone()))
            // JSON that is escaped has more bytes than what it stands for.
            .max_decoding_message_size(MAX_BODY);
        let health = HealthServer::new(health::Serving(api.clone()));
        let broken = |error| Error::Misconfigured(format!("gRPC reflection: {error}"));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(bindings::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let services = [
            handler(ledger),
            handler(health),
            handler(reflection().build_v1().map_err(broken)?),
            handler(reflection().build_v1alpha().map_err(broken)?),
        ];
        Ok(Self {
            api,
            services: services.into(),
        })
    }

    /// Whether a request is one of gRPC.
    pub fn is_meant(headers: &HeaderMap) -> bool {
        let kind = headers.get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    }

    /// Whether a caller needs a token, where the ledger has a file of them.
    pub fn needs_token(path: &str) -> bool {
        service_of(path) == Some(LEDGER)
    }

    /// Whether the request with this path has a body without an end, and not one message.
    pub fn takes_stream(path: &str) -> bool {
        service_of(path).is_some_and(|service| service.starts_with(REFLECTION))
    }

    /// Answers a request.
    pub async fn handle(&self, request: Request<Body>, mut caller: Caller) -> Response<Body> {
        self.api.0.counts.requests.fetch_add(1, Ordering::Relaxed);
        let wanted = service_of(request.uri().path());
        let known = self.services.iter().find(|(name, _)| wanted == Some(name));
        let Some((_, handler)) = known else {
            return Status::unimplemented("there is no such service").into_http();
        };
        let deadline = deadline::of(request.headers());
        let late = || Status::deadline_exceeded("the client's deadline is over").into_http();
        if deadline.is_some_and(|time| time.is_zero()) {
            return late();
        }
        caller.by = self.api.origin(request.headers(), &caller.by).into();
        let answer = self.answer(handler, request, caller);
        match deadline {
            None => answer.await,
            Some(time) => match tokio::time::timeout(time, answer).await {
                Ok(answer) => answer,
                Err(_) => late(),
            },
        }
    }

    /// Answers a request, or passes it on.
    async fn answer(
        &self,
        handler: &Handler,
        request: Request<Body>,
        caller: Caller,
    ) -> Response<Body> {
        let (mut request, elsewhere) = self.elsewhere(request, &caller.by).await;
        request.extensions_mut().insert(caller);
        let Some(call) = elsewhere else {
            return handler(request).await;
        };
        if self.is_elsewhere(&call) {
            return self.forward(&call).await;
        }
        let answer = handler(request).await;
        // A partition that another member got in the meantime may have been read when it was half there.
        if call.is_repeatable() && self.is_elsewhere(&call) {
            return self.forward(&call).await;
        }
        answer
    }
}

/// The service of a path, `/SERVICE/METHOD`.
fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split('/').next()
}

fn handler<S>(service: S) -> (&'static str, Handler)
where
    S: tonic::codegen::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let handle: Handler = Box::new(move |request| {
        // It is always ready: it has no queue.
        let answer = service.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    });
    (S::NAME, handle)
}

#[cfg(test)]
mod tests;
