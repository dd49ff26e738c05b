//! Sends spans to a collector, in batches, and drops what it cannot send.

use super::message::{Export, Span};
use bytes::Bytes;
use engine_dsn::Address;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use intd::LogLimiter;
use prometheus::IntCounter;
use prost::Message;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// The default port of collectors for OTLP over HTTP.
const PORT: u16 = 4318;

/// How many requests may wait with their spans.
const QUEUE: usize = 4096;

/// After how many spans a batch is sent.
const BATCH: usize = 512;

/// How long a span waits for others.
const WAIT: Duration = Duration::from_secs(1);

/// The time limit of one export, and for sending what is left at the end.
const LIMIT: Duration = Duration::from_secs(5);

/// The maximum size of a collector's answer, in bytes.
const MOST: usize = 64 * 1024;

/// Where a collector takes spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Uri);

impl Target {
    /// Parses `http://HOST[:4318][/PATH]`. `/v1/traces` is added to the path.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected `http://HOST:4318`, the address of a collector".to_owned();
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            if text.starts_with("https://") {
                "https:// is not supported here; run a collector or a TLS proxy on this machine"
                    .into()
            } else {
                expected()
            }
        })?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = Address::parse(address).map_err(|_| expected())?;
        let address = Address {
            port: Some(address.port_or(PORT)),
            ..address
        };
        let path = path.trim_end_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let uri = format!("http://{address}{slash}{path}/v1/traces");
        uri.parse().map(Self).map_err(|_| expected())
    }
}

/// The queue of spans, and the task that sends them.
pub(super) struct Exporter {
    queue: Sender<Vec<Span>>,
    ending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    counts: Counts,
}

/// Spans by what became of them.
#[derive(Clone)]
struct Counts {
    sent: IntCounter,
    dropped: IntCounter,
    failed: IntCounter,
}

impl Counts {
    #[expect(
        clippy::expect_used,
        reason = "the names are literals; a test makes them"
    )]
    fn new() -> Self {
        let counter = |name: &str, help: &str| {
            IntCounter::new(format!("artisanal_traces_spans_{name}_total"), help)
                .expect("valid names")
        };
        Self {
            sent: counter("sent", "Spans that the collector took."),
            dropped: counter("dropped", "Spans for which the queue had no room."),
            failed: counter("failed", "Spans that the collector did not take."),
        }
    }
}

impl Exporter {
    pub(super) fn start(target: Target) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let counts = Counts::new();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(LIMIT));
        let worker = Worker {
            spans,
            target,
            client: Client::builder(TokioExecutor::new()).build(connector),
            counts: counts.clone(),
            limiter: LogLimiter::with_burst(1),
        };
        let task = tokio::spawn(worker.run(ended));
        Self {
            queue,
            ending: Mutex::new(Some((end, task))),
            counts,
        }
    }

    pub(super) fn counters(&self) -> [IntCounter; 3] {
        let Counts {
            sent,
            dropped,
            failed,
        } = self.counts.clone();
        [sent, dropped, failed]
    }

    /// Queues the spans of one request, or drops them: a request never waits for the collector.
    pub(super) fn queue(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped.inc_by(count);
        }
    }

    /// Sends what is queued, within a time limit.
    pub(super) async fn end(&self) {
        let ending = self
            .ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((end, task)) = ending {
            let _ = end.send(());
            if timeout(LIMIT, task).await.is_err() {
                tracing::warn!("the collector did not take the last spans in time");
            }
        }
    }
}

struct Worker {
    spans: Receiver<Vec<Span>>,
    target: Target,
    client: Client<HttpConnector, Full<Bytes>>,
    counts: Counts,
    limiter: LogLimiter,
}

impl Worker {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let mut ending = false;
        loop {
            let first = tokio::select! {
                first = self.spans.recv() => first,
                _ = &mut ended, if !ending => {
                    ending = true;
                    // What is in the queue can still be received.
                    self.spans.close();
                    continue;
                }
            };
            let Some(mut batch) = first else { return };
            let due = Instant::now() + WAIT;
            while batch.len() < BATCH {
                let next = tokio::select! {
                    next = timeout_at(due, self.spans.recv()) => next,
                    _ = &mut ended, if !ending => {
                        ending = true;
                        self.spans.close();
                        continue;
                    }
                };
                match next {
                    Ok(Some(more)) => batch.extend(more),
                    Ok(None) | Err(_) => break,
                }
            }
            self.send(batch).await;
        }
    }

    async fn send(&self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let body = Export::of(batch).encode_to_vec();
        let why = match timeout(LIMIT, self.post(body)).await {
            Ok(Ok(status)) if status.is_success() => {
                self.counts.sent.inc_by(count);
                return;
            }
            Ok(Ok(status)) => format!("it answered {status}"),
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        self.counts.failed.inc_by(count);
        if self.limiter.allow().is_some() {
            let to = &self.target.0;
            tracing::warn!("the collector at {to} did not take {count} spans: {why}");
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<StatusCode, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.target.0.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })?;
        let status = response.status();
        // The connection can be used again once the answer is read.
        let _ = Limited::new(response.into_body(), MOST).collect().await;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_have_a_default_port_and_path() {
        let parse = |text: &str| Target::parse(text).map(|target| target.0.to_string());
        for (text, uri) in [
            ("http://h", "http://h:4318/v1/traces"),
            ("http://h/", "http://h:4318/v1/traces"),
            (
                "http://127.0.0.1:9/a/b/",
                "http://127.0.0.1:9/a/b/v1/traces",
            ),
            ("http://[::1]", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(parse(text), Ok(uri.to_owned()));
        }
        for bad in [
            "",
            "h:4318",
            "http://",
            "http://h:0",
            "http://u@h",
            "http://h/a b",
            "grpc://h",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("https://h").is_err_and(|why| why.contains("TLS")));
    }
}
