//! The server of a ledger: HTTP, and WebSockets on the same port.

use crate::serve::connection::{builder, connection, log};
use crate::serve::connections::accept;
use crate::serve::http::{Unread, read};
use crate::serve::linger::RequestBody;
use crate::serve::tls::Wire;
use crate::serve::{Limits, Listeners, Shutdown};
use artisanal_ledger::Store;
use artisanal_ledger::api::{Api, Body, MAX_BODY, Problem, Session, answer_problem, upgrade};
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
type Upgraded = Arc<Mutex<Option<(OnUpgrade, Session)>>>;

/// Serves a store until the shutdown. Must run on a runtime with several threads, since questions wait for the disk.
pub async fn serve(listeners: Listeners, store: Store, limits: Limits, shutdown: Shutdown) {
    let (stop, stopping) = watch::channel(false);
    let requested = shutdown.requested();
    tokio::spawn(async move {
        requested.await;
        let _ = stop.send(true);
    });
    let api = Api::new(store, stopping);
    let server = builder();
    let (each, ending) = (limits.clone(), shutdown.clone());
    accept(listeners, Wire::Http, &limits, &shutdown, move |stream| {
        let by = stream.tcp().peer_addr().map(|address| address.to_string());
        let by: Arc<str> = by.unwrap_or_default().into();
        let upgraded = Upgraded::default();
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

async fn answer(
    api: &Api,
    mut request: Request<RequestBody>,
    by: &str,
    limits: &Limits,
    upgraded: &Upgraded,
) -> Response<Body> {
    let begun = limits.log_requests.then(Instant::now);
    let switch = request
        .headers()
        .contains_key(header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let response = match switch.and_then(|switch| Some((switch, upgrade(api, &parts)?))) {
        Some((switch, (response, session))) => {
            if let Some(session) = session {
                *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some((switch, session));
            }
            response
        }
        None => {
            let body = match Api::has_body(&parts.method) {
                true => read(body, MAX_BODY + 1, limits).await,
                false => Ok(Bytes::new()),
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
