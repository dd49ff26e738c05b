//! The server of a ledger, and of a publisher: HTTP, and WebSockets on the same port.

use crate::serve::connection::{builder, connection, log};
use crate::serve::connections::accept;
use crate::serve::http::{Unread, read};
use crate::serve::linger::RequestBody;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown};
use artisanal_ledger::Store;
use artisanal_ledger::api::{Api, Body, Problem, answer_problem};
use artisanal_ledger::endpoint::{Endpoint, Session};
use artisanal_ledger::publisher::Publisher;
use artisanal_ledger::relay::{self, Relay};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
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

/// Serves a store until the shutdown. Must run on a runtime with several threads, since questions wait for the disk.
pub async fn serve(listeners: Listeners, store: Store, limits: Limits, shutdown: Shutdown) {
    let api = Api::new(store, stopping(&shutdown));
    run(listeners, api, limits, shutdown).await;
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
    run(listeners, relay, limits, shutdown).await;
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

async fn run<E: Endpoint>(listeners: Listeners, api: E, limits: Limits, shutdown: Shutdown) {
    let server = builder();
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let by = stream.tcp().peer_addr().map(|address| address.to_string());
        let by: Arc<str> = by.unwrap_or_default().into();
        let upgraded = Upgraded::<E::Session>::default();
        let service = {
            let (api, limits, upgraded) = (api.clone(), each.clone(), Arc::clone(&upgraded));
            service_fn(move |request: Request<RequestBody>| {
                let (api, limits) = (api.clone(), limits.clone());
                let (by, upgraded) = (Arc::clone(&by), Arc::clone(&upgraded));
                async move { Ok::<_, Infallible>(answer(&api, request, &by, &limits, &upgraded).await) }
            })
        };
        let http = connection(&server, stream, service, &each, &ending);
        async move {
            http.await;
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

async fn answer<E: Endpoint>(
    api: &E,
    mut request: Request<RequestBody>,
    by: &Arc<str>,
    limits: &Limits,
    upgraded: &Upgraded<E::Session>,
) -> Response<Body> {
    let begun = limits.log_requests.then(Instant::now);
    let switch = request
        .headers()
        .contains_key(header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let response = match switch.and_then(|switch| Some((switch, api.upgrade(&parts, by)?))) {
        Some((switch, (response, session))) => {
            if let Some(session) = session {
                *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some((switch, session));
            }
            response
        }
        None => {
            let body = match E::body_bytes(&parts.method) {
                0 => Ok(Bytes::new()),
                most => read(body, most + 1, limits).await,
            };
            match body {
                Ok(body) => api.handle(&parts, body, by).await,
                Err(unread) => {
                    answer_problem(unread_problem(&unread), &RequestId::of(&parts.headers))
                }
            }
        }
    };
    if let Some(begun) = begun {
        let sent = RequestId::sent(&parts.headers);
        log(&parts.method, &parts.uri, sent.as_ref(), &response, begun);
    }
    response
}

fn unread_problem(unread: &Unread) -> Problem {
    match unread {
        Unread::Incomplete => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "the request's body is incomplete",
        ),
        Unread::Late => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid",
            "the request's body did not arrive in time",
        ),
    }
}
