//! The server of a ledger, and of a publisher: HTTP, and WebSockets and gRPC on the same port.

use super::{access, grpc};
use crate::serve::connection::{builder, connection, log};
use crate::serve::connections::accept;
use crate::serve::linger::RequestBody;
use crate::serve::preface;
use crate::serve::request_body::read;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown, TokenFile};
use artisanal_ledger::Log;
use artisanal_ledger::api::grpc::Grpc;
use artisanal_ledger::api::{Api, Body, answer_problem};
use artisanal_ledger::endpoint::{Endpoint, Session};
use artisanal_ledger::members::Members;
use artisanal_ledger::publisher::Publisher;
use artisanal_ledger::reducer::Reducers;
use artisanal_ledger::relay::{self, Relay};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, header};
use http_body_util::Either;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use intd::RequestId;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// The WebSocket that a connection becomes after its answer.
type Upgraded<S> = Arc<Mutex<Option<(OnUpgrade, S)>>>;

/// An answer, over HTTP or gRPC.
type Answer = Response<Either<Body, tonic::body::Body>>;

/// Serves a log until the shutdown. Must run on a runtime with several threads, since questions wait for the disk.
/// With `tokens` only their holders may use it. Of [`Members::alone`] nothing is passed on to others.
pub async fn serve(
    listeners: Listeners,
    log: impl Into<Log>,
    reducers: Reducers,
    tokens: Option<TokenFile>,
    limits: Limits,
    shutdown: Shutdown,
    members: Members,
) {
    let api = Api::of_member(log, reducers, stopping(&shutdown), members);
    let grpc = match Grpc::new(api.clone()) {
        Ok(grpc) => Some(grpc),
        Err(error) => {
            tracing::error!(%error, "there is no gRPC");
            None
        }
    };
    run(listeners, api, grpc, tokens, limits, shutdown).await;
}

/// Serves a publisher of its own until the shutdown. What is in its ring then is still there.
pub async fn serve_publisher(
    listeners: Listeners,
    publisher: Publisher,
    options: relay::Options,
    limits: Limits,
    shutdown: Shutdown,
) {
    let relay = Relay::new(publisher, options, stopping(&shutdown));
    run(listeners, relay, None, None, limits, shutdown).await;
}

/// Becomes true when the shutdown begins.
fn stopping(shutdown: &Shutdown) -> watch::Receiver<bool> {
    let (stop, stopping) = watch::channel(false);
    let requested = shutdown.requested();
    tokio::spawn(async move {
        requested.await;
        let _ = stop.send(true);
    });
    stopping
}

async fn run<E: Endpoint>(
    listeners: Listeners,
    api: E,
    grpc: Option<Grpc>,
    tokens: Option<TokenFile>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let server = Arc::new(builder());
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let by = stream.tcp().peer_addr().map(|address| address.to_string());
        let by: Arc<str> = by.unwrap_or_default().into();
        let upgraded = Upgraded::<E::Session>::default();
        let service = {
            let served = Arc::new(Served {
                api: api.clone(),
                grpc: grpc.clone(),
                tokens: tokens.clone(),
                limits: each.clone(),
                upgraded: Arc::clone(&upgraded),
                by,
            });
            service_fn(move |request: Request<RequestBody>| {
                let served = Arc::clone(&served);
                async move { Ok::<_, Infallible>(served.answer(request).await) }
            })
        };
        let (server, each, ending) = (Arc::clone(&server), each.clone(), ending.clone());
        async move {
            let stream = tokio::select! {
                stream = preface::look(stream, each.reading) => stream,
                () = ending.requested() => return,
            };
            connection(&server, stream, service, &each, &ending).await;
            // The connection counts until its WebSocket ends.
            let session = upgraded
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some((upgrade, session)) = session
                && let Ok(stream) = upgrade.await
            {
                session.run(TokioIo::new(stream)).await;
            }
        }
    })
    .await;
}

/// What a connection is served with.
struct Served<E: Endpoint> {
    api: E,
    /// None for a publisher.
    grpc: Option<Grpc>,
    tokens: Option<TokenFile>,
    limits: Limits,
    upgraded: Upgraded<E::Session>,
    /// The address of the client.
    by: Arc<str>,
}

impl<E: Endpoint> Served<E> {
    async fn answer(&self, mut request: Request<RequestBody>) -> Answer {
        let begun = self.limits.log_requests.then(Instant::now);
        if let Some(grpc) = &self.grpc
            && Grpc::is_meant(request.headers())
        {
            let (tokens, limits) = (self.tokens.as_ref(), &self.limits);
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let sent = RequestId::sent(request.headers());
            let response = grpc::answer(grpc, tokens, limits, &self.by, request).await;
            if let Some(begun) = begun {
                log(&method, &uri, sent.as_ref(), &response, begun);
            }
            return response.map(Either::Right);
        }
        let switch = request
            .headers()
            .contains_key(header::UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let response = match access::check(self.tokens.as_ref(), &parts) {
            Ok(grant) => {
                let by = grant.map_or_else(|| Arc::clone(&self.by), |grant| grant.name().into());
                self.allowed(&parts, body, switch, &by).await
            }
            Err(refused) => *refused,
        };
        if let Some(begun) = begun {
            let sent = RequestId::sent(&parts.headers);
            log(&parts.method, &parts.uri, sent.as_ref(), &response, begun);
        }
        response.map(Either::Left)
    }

    async fn allowed(
        &self,
        parts: &Parts,
        body: RequestBody,
        switch: Option<OnUpgrade>,
        by: &Arc<str>,
    ) -> Response<Body> {
        if let Some((switch, (response, session))) =
            switch.and_then(|switch| Some((switch, self.api.upgrade(parts, by)?)))
        {
            if let Some(session) = session {
                let mut upgraded = self.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
                *upgraded = Some((switch, session));
            }
            return response;
        }
        let body = match E::body_bytes(&parts.method) {
            0 => Ok(Bytes::new()),
            most => read(body, most + 1, &self.limits).await,
        };
        match body {
            Ok(body) => self.api.handle(parts, body, by).await,
            Err(unread) => answer_problem(unread.into(), &RequestId::of(&parts.headers)),
        }
    }
}
