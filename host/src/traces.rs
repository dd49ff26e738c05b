//! Traces of requests, which are sent to a collector with OTLP over HTTP.
//!
//! A request that mints has three spans: the request itself, its wait for a permit to call the engine, and the call. One
//! call serves all requests that wait, so requests that were served together have calls with the same times.

mod context;
mod exporter;
mod message;

use crate::call_log::{Call, CallLog};
use crate::{Error, Metrics, Options};
use ::http::{HeaderMap, Method, StatusCode};
use context::{Ids, Parent};
use exporter::Exporter;
pub use exporter::Target;
use message::{KeyValue, Kind, Span, Status};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// What traces requests. Clones share the queue of spans.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    exporter: Exporter,
    calls: CallLog,
    ids: Ids,
    /// The part of the requests without a parent that is traced.
    ratio: f64,
}

/// A request that is traced, from its begin.
pub(crate) struct Traced {
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    begun: SystemTime,
}

/// What a request minted.
pub(crate) struct Minted<'a> {
    pub(crate) key: &'a str,
    pub(crate) span: artisanal_core::Span,
}

impl Traces {
    /// Starts to send spans to a collector. Of the requests that come without a parent, this part is traced.
    pub fn start(target: Target, ratio: f64) -> Self {
        Self(Arc::new(Inner {
            exporter: Exporter::start(target),
            calls: CallLog::default(),
            ids: Ids::default(),
            ratio,
        }))
    }

    /// Adds what it counts to the metrics.
    pub fn report_to(&self, metrics: &Metrics) {
        for counter in self.0.exporter.counters() {
            if let Err(error) = metrics.register(Box::new(counter)) {
                tracing::warn!(%error, "there are no metrics of traces");
            }
        }
    }

    /// Sends the spans that are left.
    pub async fn end(&self) {
        self.0.exporter.end().await;
    }

    /// Options for a host whose calls of engines are traced.
    #[must_use]
    pub fn tracing(&self, options: Options) -> Options {
        Options {
            call_log: Some(self.0.calls.clone()),
            ..options
        }
    }

    /// Begins to trace a request; None if it is not traced. A parent in its headers decides, otherwise the ratio.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Option<Traced> {
        let ids = &self.0.ids;
        let parent = Parent::of(headers);
        let sampled = match &parent {
            Some(parent) => parent.sampled,
            None => ids.chance() < self.0.ratio,
        };
        sampled.then(|| Traced {
            trace: parent.as_ref().map_or_else(|| ids.trace(), |p| p.trace),
            span: ids.span(),
            parent: parent.map(|parent| parent.span),
            begun: SystemTime::now(),
        })
    }

    /// Ends a request, and queues its spans.
    pub(crate) fn finish(
        &self,
        traced: &Traced,
        method: &Method,
        path: &str,
        status: StatusCode,
        minted: Option<Minted<'_>>,
    ) {
        let ended = SystemTime::now();
        let call = minted
            .as_ref()
            .and_then(|minted| self.0.calls.find(minted.key, minted.span.first()));
        let mut spans = vec![request(traced, ended, method, path, status, minted)];
        if let Some(call) = call {
            // The clock of the machine may have been set back meanwhile.
            let begun = call.begun.max(traced.begun);
            spans.push(self.child(
                traced,
                "wait for permit",
                Kind::Internal,
                traced.begun,
                begun,
            ));
            let mut span = self.child(traced, "engine call", Kind::Client, begun, call.ended);
            span.attributes = about(&call);
            spans.push(span);
        }
        self.0.exporter.queue(spans);
    }

    fn child(
        &self,
        traced: &Traced,
        name: &str,
        kind: Kind,
        begun: SystemTime,
        ended: SystemTime,
    ) -> Span {
        Span {
            trace_id: traced.trace.to_vec(),
            span_id: self.0.ids.span().to_vec(),
            parent_span_id: traced.span.to_vec(),
            name: name.to_owned(),
            kind: kind as i32,
            start_time_unix_nano: nanos(begun),
            end_time_unix_nano: nanos(ended.max(begun)),
            ..Span::default()
        }
    }
}

fn request(
    traced: &Traced,
    ended: SystemTime,
    method: &Method,
    path: &str,
    status: StatusCode,
    minted: Option<Minted<'_>>,
) -> Span {
    let route = intd::path_template(path);
    let (method, name) = match (known(method), route) {
        // What a client invents is neither a name nor an attribute: there may be any number of it.
        (None, _) => ("_OTHER", "HTTP".to_owned()),
        (Some(method), None) => (method, method.to_owned()),
        (Some(method), Some(route)) => (method, format!("{method} {route}")),
    };
    let mut attributes = vec![
        KeyValue::text("http.request.method", method),
        KeyValue::number("http.response.status_code", status.as_u16().into()),
    ];
    attributes.extend(route.map(|route| KeyValue::text("http.route", route)));
    if let Some(Minted { key, span }) = minted {
        attributes.push(KeyValue::text("artisanal.key", key));
        attributes.push(KeyValue::number("artisanal.first", span.first()));
        attributes.push(KeyValue::number("artisanal.count", span.count().into()));
    }
    Span {
        trace_id: traced.trace.to_vec(),
        span_id: traced.span.to_vec(),
        parent_span_id: traced.parent.map(Vec::from).unwrap_or_default(),
        name,
        kind: Kind::Server as i32,
        start_time_unix_nano: nanos(traced.begun),
        end_time_unix_nano: nanos(ended.max(traced.begun)),
        attributes,
        // As the conventions for HTTP servers say: mistakes of clients are no errors of the server.
        status: status.is_server_error().then(Status::error),
    }
}

fn about(call: &Call) -> Vec<KeyValue> {
    vec![
        KeyValue::text("artisanal.engine", &call.engine),
        KeyValue::text("artisanal.key", &call.key),
        KeyValue::number("artisanal.first", call.span.first()),
        KeyValue::number("artisanal.count", call.span.count().into()),
    ]
}

fn known(method: &Method) -> Option<&'static str> {
    let all = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    all.into_iter().find(|known| *known == method.as_str())
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Parses a part of the requests: 0 to 1.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub fn ratio(text: &str) -> Result<f64, Error> {
    let ratio = text
        .parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| Error::Invalid("expected a number from 0 to 1".into()))
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/last", Some("/last")),
            ("/v1/sequences", Some("/v1/sequences")),
            ("/v1/sequences/a%2Fb", Some("/v1/sequences/{key}")),
            ("/v1/sequences/a/next", Some("/v1/sequences/{key}/next")),
            ("/v1/sequences/a/b", None),
            ("/v1/sequences/a/next/", None),
            ("/secret", None),
            ("", None),
        ] {
            assert_eq!(intd::path_template(path), expected, "{path}");
        }
        let traced = Traced {
            trace: [1; 16],
            span: [2; 8],
            parent: None,
            begun: SystemTime::now(),
        };
        let name = |method: &str, path| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let span = request(
                &traced,
                SystemTime::UNIX_EPOCH,
                &method,
                path,
                StatusCode::OK,
                None,
            );
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            span.name
        };
        assert_eq!(name("GET", "/"), "GET /");
        assert_eq!(name("GET", "/secret"), "GET");
        assert_eq!(name("BREW", "/"), "HTTP");
    }

    #[test]
    fn parts_are_between_nothing_and_all() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        assert_eq!((ratio("0"), ratio("1")), (Ok(0.0), Ok(1.0)));
        for bad in ["", "-0.1", "1.1", "NaN", "inf", "1%"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
