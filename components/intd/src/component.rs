//! The component: exports `wasi:http/handler`, serves the routes, and calls the composed engine.
//!
//! One instance serves many requests concurrently. They share the settings, the sequences and the
//! coalescers of the instance.

mod bindings;
mod engine;
mod http;
mod settings;

use crate::{App, Content};
use artisanal_core::{Error, yield_once};
use bindings::exports::wasi::http::handler::Guest;
use bindings::wasi::http::types::{ErrorCode, Request, Response};
use bytes::Bytes;
use engine::Engine;
use std::cell::OnceCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match in_a_later_turn(answer(request)).await {
            Answer::Text(text) => http::send_text(text),
            Answer::Other(response) => http::send(response),
        }
    }
}

enum Answer {
    /// An integer, which most answers are.
    Text(Bytes),
    Other(::http::Response<Content>),
}

async fn answer(request: Request) -> Answer {
    let app = match app() {
        Ok(app) => app,
        Err(error) => return Answer::Other(crate::refuse(error, &http::request_id(&request))),
    };
    if app.mints_for_all() && http::is_plain(&request) {
        return match app.mint().await {
            Ok(text) => Answer::Text(text),
            Err(error) => Answer::Other(crate::refuse(error, &http::request_id(&request))),
        };
    }
    let id = http::request_id(&request);
    Answer::Other(match http::receive(&app, request, &id).await {
        Ok((parts, body)) => app.handle(&parts, body).await,
        Err(error) => crate::refuse(error, &id),
    })
}

/// The result of a future, but not in the first turn of its task.
///
/// A task that begins to write its response in its first turn leaves three handles behind (seen with wit-bindgen 0.61 and
/// wasmtime 48), and a host limits the handles of an instance. After some 35,000 requests that were answered without
/// waiting for anything, such as health checks, the instance would trap, with all requests that it was handling.
async fn in_a_later_turn<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut turns = 0_u32;
    let result = poll_fn(|context| {
        turns = turns.saturating_add(1);
        future.as_mut().poll(context)
    })
    .await;
    if turns == 1 {
        yield_once().await;
    }
    result
}

bindings::export!(Component with_types_in bindings);

thread_local! {
    static APP: OnceCell<Rc<App<Engine>>> = const { OnceCell::new() };
}

/// The app of this instance. Only a success is cached: settings that cannot be read at first may be
/// readable later.
fn app() -> Result<Rc<App<Engine>>, Error> {
    APP.with(|app| {
        if let Some(app) = app.get() {
            return Ok(Rc::clone(app));
        }
        let settings = settings::read()?;
        let common = settings.clone();
        let new = App::new(settings, |key| Engine::new(&common, key));
        // Of the engine it is not known whether its sequences survive that they are closed.
        let new = new.opening(false, move |key| {
            let (common, key) = (common.clone(), key.to_owned());
            Box::pin(async move { Ok(Engine::new(&common, &key)) })
        });
        Ok(Rc::clone(app.get_or_init(|| Rc::new(new))))
    })
}
