//! Conversions between `wasi:http` and the types of the crate `http`.

use super::bindings::wasi::http::types::{self, ErrorCode, Fields, Request, Response};
use super::bindings::{wit_future, wit_stream};
use super::engine::Engine;
use crate::{App, Cause, Content, LogLimiter, RequestId};
use artisanal_core::Error;
use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use std::cell::RefCell;
use std::io::Write;
use wit_bindgen::{StreamResult, spawn_local};

/// How much of a body is read at a time, in bytes.
const CHUNK: usize = 4096;

/// Whether this is `GET /` without a query.
pub(super) fn is_plain(request: &Request) -> bool {
    matches!(request.get_method(), types::Method::Get)
        && request
            .get_path_with_query()
            .is_some_and(|path| path == "/")
}

/// The request-id headers of a request. Reading all headers takes longer.
pub(super) fn request_id(request: &Request) -> HeaderMap {
    let values = request.get_headers().get(RequestId::HEADER.as_str());
    values
        .into_iter()
        .filter_map(|value| HeaderValue::from_maybe_shared(Bytes::from(value)).ok())
        .map(|value| (RequestId::HEADER, value))
        .collect()
}

/// The parts of a request that the app needs, and no others: each access is a call to the host. `id`
/// is the result of [`request_id`].
pub(super) async fn receive(
    app: &App<Engine>,
    request: Request,
    id: &HeaderMap,
) -> Result<(Parts, Bytes), Error> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = method(request.get_method())?;
    if let Some(path) = request.get_path_with_query() {
        parts.uri = Uri::try_from(path)
            .map_err(|error| Error::Invalid(format!("the path is invalid: {error}")))?;
    }
    parts.headers = if app.ignores_headers(&parts.method) {
        id.clone()
    } else {
        headers(request.get_headers())?
    };
    let body = match app.body_bytes(&parts.method) {
        0 => Bytes::new(),
        most => read(request, most).await?,
    };
    Ok((parts, body))
}

fn method(method: types::Method) -> Result<Method, Error> {
    Ok(match method {
        types::Method::Get => Method::GET,
        types::Method::Head => Method::HEAD,
        types::Method::Post => Method::POST,
        types::Method::Put => Method::PUT,
        types::Method::Delete => Method::DELETE,
        types::Method::Connect => Method::CONNECT,
        types::Method::Options => Method::OPTIONS,
        types::Method::Trace => Method::TRACE,
        types::Method::Patch => Method::PATCH,
        types::Method::Other(name) => Method::from_bytes(name.as_bytes())
            .map_err(|error| Error::Invalid(format!("the method is invalid: {error}")))?,
    })
}

fn headers(fields: Fields) -> Result<HeaderMap, Error> {
    fields
        .copy_all()
        .into_iter()
        .map(|(name, value)| {
            Ok((
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_maybe_shared(Bytes::from(value))?,
            ))
        })
        .collect::<Result<_, http::Error>>()
        .map_err(|error| Error::Invalid(format!("a header is invalid: {error}")))
}

/// The beginning of the body: up to `most` bytes, and perhaps a few more.
async fn read(request: Request, most: usize) -> Result<Bytes, Error> {
    // Whether the body was read successfully is not reported to the host.
    let (_done, told) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Request::consume_body(request, told);
    let mut body = Vec::new();
    while body.len() < most {
        let (result, chunk) = stream.read(Vec::with_capacity(CHUNK)).await;
        body.extend_from_slice(&chunk);
        if !matches!(result, StreamResult::Complete(_)) {
            // A truncated body may look complete.
            trailers
                .await
                .map_err(|error| Error::Invalid(format!("the body did not arrive: {error}")))?;
            break;
        }
    }
    Ok(body.into())
}

thread_local! {
    /// Limits the log lines of an instance about failed requests: every request fails while the backend
    /// is unavailable.
    static FAILURES: LogLimiter = const { LogLimiter::with_burst(16) };
}

/// Logs the details that the client does not get, to standard error, which is the host's log.
fn report(cause: &Cause) {
    let Some(suppressed) = FAILURES.with(LogLimiter::allow) else {
        return;
    };
    let Cause { id, code, text } = cause;
    let others = match suppressed {
        0 => String::new(),
        others => format!("; {others} earlier failures were not logged"),
    };
    // A log that cannot be written is ignored: there is no other place to report that.
    let _ = writeln!(
        std::io::stderr(),
        "request {} failed: {code}: {text:?}{others}",
        id.as_str()
    );
}

/// Converts the response for the host and begins to write its body, which continues after this returns.
pub(super) fn send(response: http::Response<Content>) -> Result<Response, ErrorCode> {
    let (parts, body) = response.into_parts();
    if let Some(cause) = parts.extensions.get::<Cause>() {
        report(cause);
    }
    let mut fields = Vec::with_capacity(parts.headers.len() + 1);
    for (name, value) in &parts.headers {
        // Only answers to HEAD have this header, and hosts would compare it with the empty body.
        if name != header::CONTENT_LENGTH {
            fields.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
        }
    }
    if !parts.headers.contains_key(header::CONTENT_LENGTH) && !body.is_empty() {
        let length = itoa::Buffer::new().format(body.len()).as_bytes().to_vec();
        fields.push((header::CONTENT_LENGTH.as_str().to_owned(), length));
    }
    respond(parts.status, fields_of(&fields)?, body)
}

thread_local! {
    /// The headers of text answers, by text length in bytes. A copy is cheaper than building them again.
    static TEXTS: RefCell<[Option<Fields>; LONGEST + 1]> = const { RefCell::new([const { None }; LONGEST + 1]) };
}

/// The number of digits of the greatest integer.
const LONGEST: usize = 19;

/// The answer with the text of one integer.
pub(super) fn send_text(text: Bytes) -> Result<Response, ErrorCode> {
    let fields = TEXTS.with_borrow_mut(|texts| match texts.get_mut(text.len()) {
        Some(Some(fields)) => Ok(fields.clone()),
        place => {
            let fields = text_fields(text.len())?;
            if let Some(place) = place {
                *place = Some(fields.clone());
            }
            Ok(fields)
        }
    })?;
    respond(StatusCode::OK, fields, text.into())
}

fn text_fields(length: usize) -> Result<Fields, ErrorCode> {
    let mut fields: Vec<_> = App::<Engine>::TEXT_HEADERS
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let length = itoa::Buffer::new().format(length).as_bytes().to_vec();
    fields.push((header::CONTENT_LENGTH.as_str().to_owned(), length));
    fields_of(&fields)
}

fn fields_of(fields: &[(String, Vec<u8>)]) -> Result<Fields, ErrorCode> {
    Fields::from_list(fields).map_err(|error| ErrorCode::InternalError(Some(error.to_string())))
}

fn respond(status: StatusCode, fields: Fields, mut body: Content) -> Result<Response, ErrorCode> {
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (writer, contents) = if body.is_empty() {
        (None, None)
    } else {
        let (writer, contents) = wit_stream::new();
        (Some(writer), Some(contents))
    };
    // If the client stops reading, the rest is discarded.
    let mut sending = Box::pin(async move {
        if let Some(mut writer) = writer {
            let mut piece = Vec::new();
            while body.fill(&mut piece) {
                piece = writer.write_all(piece).await;
                if !piece.is_empty() {
                    // The client stopped reading.
                    break;
                }
            }
        }
        // After the body: a host that finds both begun reads them one by one, and the head must not wait
        // for the trailers.
        let _unread = trailers.write(Ok(None)).await;
    });
    let (response, _sent) = Response::new(fields, contents, no_trailers);
    if status != StatusCode::OK {
        response.set_status_code(status.as_u16()).map_err(|()| {
            ErrorCode::InternalError(Some("the host rejected the status code".into()))
        })?;
    }
    // Starts to write the body before the response is returned: otherwise hosts send the head alone.
    if sending.as_mut().now_or_never().is_none() {
        spawn_local(sending);
    }
    Ok(response)
}
