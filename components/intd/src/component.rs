//! The component: exports `wasi:http/handler`, serves the routes, and calls the composed engine.
//!
//! One instance serves many requests concurrently. They share the settings, the sequences and the
//! coalescers of the instance.

mod bindings;
mod engine;
mod http;
mod settings;

use crate::App;
use artisanal_core::Error;
use bindings::exports::wasi::http::handler::Guest;
use bindings::wasi::http::types::{ErrorCode, Request, Response};
use engine::Engine;
use std::cell::OnceCell;
use std::rc::Rc;

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let app = match app() {
            Ok(app) => app,
            Err(error) => return http::send(crate::refuse(error, &http::request_id(&request))),
        };
        if app.mints_for_all() && http::is_plain(&request) {
            return match app.mint().await {
                Ok(text) => http::send_text(text),
                Err(error) => http::send(crate::refuse(error, &http::request_id(&request))),
            };
        }
        let id = http::request_id(&request);
        let (parts, body) = match http::receive(&app, request, &id).await {
            Ok(received) => received,
            Err(error) => return http::send(crate::refuse(error, &id)),
        };
        http::send(app.handle(&parts, body).await)
    }
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
