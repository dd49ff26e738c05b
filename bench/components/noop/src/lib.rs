//! Answers every request with the same seven bytes: the yardstick for the composed endpoint.
//!
//! It makes only the `wasi:http` calls that a response needs. Unlike the endpoint it does not read the request,
//! call an engine, or wait.
#![cfg(target_family = "wasm")]

mod bindings;

use artisanal_core::yield_once;
use bindings::exports::wasi::http::handler::Guest;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};
use bindings::{wit_future, wit_stream};
use futures::FutureExt;
use wit_bindgen::spawn_local;

/// A body of the length of an integer in the millions.
const BODY: &[u8] = b"1234567";

/// The headers of a response with an integer.
const HEADERS: [(&str, &str); 3] = [
    ("content-type", "text/plain"),
    ("cache-control", "no-store"),
    ("content-length", "7"),
];

struct Noop;

impl Guest for Noop {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        // As in the endpoint: a task that begins to write its response in its first turn leaves handles behind.
        yield_once().await;
        let fields: Vec<_> = HEADERS
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .collect();
        let fields = Fields::from_list(&fields)
            .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        let (trailers, no_trailers) = wit_future::new(|| Ok(None));
        let (mut writer, contents) = wit_stream::new();
        let mut sending = Box::pin(async move {
            let _unread = writer.write_all(BODY.to_vec()).await;
            let _unread = trailers.write(Ok(None)).await;
        });
        let (response, _sent) = Response::new(fields, Some(contents), no_trailers);
        // As in the endpoint: otherwise a host without `TCP_NODELAY`, such as Spin, sends the head alone, and the body
        // waits for the client's delayed acknowledgement.
        if sending.as_mut().now_or_never().is_none() {
            spawn_local(sending);
        }
        Ok(response)
    }
}

bindings::export!(Noop with_types_in bindings);
