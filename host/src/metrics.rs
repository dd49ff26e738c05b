//! What a host counts: calls of engines, integers, errors, requests and connections.
//!
//! Names and units follow the conventions of Prometheus. Every number of labels has a bound: engines are
//! few, and sequences beyond a maximum share one label. No DSN, address or user is a label.

#[cfg(feature = "ledger")]
mod ledger;
#[cfg(feature = "ledger")]
mod members;
mod sequence;
#[cfg(feature = "serve")]
mod server;

#[cfg(feature = "serve")]
pub(crate) use sequence::kind;
pub(crate) use sequence::{Operation, SequenceMetrics};
#[cfg(feature = "serve")]
pub use server::serve;

use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, exponential_buckets,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many sequences have their own label `key`.
const MAX_KEYS: usize = 200;

/// The label of all further ones.
const OTHERS: &str = "(others)";

/// The counters of a [`Host`](crate::Host), and of the servers that count on it. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    families: Families,
    /// The keys that have a label, each with its engine.
    keys: Mutex<HashSet<(String, String)>>,
    /// The queues whose length is measured when the metrics are read.
    queues: Mutex<Vec<Queue>>,
}

/// The number of requests that wait for a sequence; None once the sequence is gone.
type Pending = Box<dyn Fn() -> Option<usize> + Send + Sync>;

struct Queue {
    gauge: IntGauge,
    pending: Pending,
}

struct Families {
    calls: HistogramVec,
    batches: HistogramVec,
    integers: IntCounterVec,
    missed: IntGaugeVec,
    errors: IntCounterVec,
    refused: IntCounterVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    last: IntGaugeVec,
    broken: IntCounterVec,
    dials: IntCounterVec,
    refusals: IntCounterVec,
    requests: IntCounterVec,
    commands: IntCounter,
    connections: IntCounter,
    open: IntGauge,
    handshakes: IntCounterVec,
    certificate: IntGauge,
    limited: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters that begin at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::register(&registry);
        Self(Arc::new(Inner {
            registry,
            families,
            keys: Mutex::default(),
            queues: Mutex::default(),
        }))
    }

    /// All metrics in the text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        self.measure_queues();
        let mut text = String::new();
        // It fails only for a family without metrics or with a wrong type, and then leaves out the rest.
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text) {
            tracing::warn!(%error, "cannot write all metrics");
        }
        text
    }

    fn measure_queues(&self) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter() {
            queue.gauge.set(0);
        }
        // Several sequences may share a gauge.
        queues.retain(|queue| {
            let pending = (queue.pending)();
            queue.gauge.add(pending.map_or(0, signed));
            pending.is_some()
        });
    }

    /// The metrics of one sequence.
    pub(crate) fn sequence(&self, engine: &str, key: &str) -> SequenceMetrics {
        SequenceMetrics::new(&self.0.families, engine, self.label(engine, key))
    }

    /// Measures the length of a queue whenever the metrics are read, as long as there is one.
    pub(crate) fn watch(
        &self,
        engine: &str,
        key: &str,
        pending: impl Fn() -> Option<usize> + Send + Sync + 'static,
    ) {
        let labels = [engine, self.label(engine, key)];
        let queue = Queue {
            gauge: self.0.families.waiting.with_label_values(&labels),
            pending: Box::new(pending),
        };
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| (queue.pending)().is_some());
        queues.push(queue);
    }

    fn label<'a>(&self, engine: &str, key: &'a str) -> &'a str {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let named = (engine.to_owned(), key.to_owned());
        if keys.contains(&named) {
            return key;
        }
        if keys.len() < MAX_KEYS {
            keys.insert(named);
            return key;
        }
        OTHERS
    }

    /// Adds metrics that are read when they are asked for.
    #[cfg(feature = "serve")]
    pub(crate) fn register(&self, metrics: Box<dyn Collector>) -> prometheus::Result<()> {
        self.0.registry.register(metrics)
    }

    /// The metrics of the instances of one engine.
    pub(crate) fn engine(&self, engine: &str) -> EngineMetrics {
        let Families {
            broken,
            dials,
            refusals,
            ..
        } = &self.0.families;
        EngineMetrics {
            broken: broken.with_label_values(&[engine]),
            dials: dials.with_label_values(&[engine]),
            refusals: refusals.with_label_values(&[engine]),
        }
    }

    /// Counts commands of the Redis protocol.
    #[cfg(feature = "serve")]
    pub(crate) fn commands(&self) -> IntCounter {
        self.0.families.commands.clone()
    }

    /// Counts a request that is refused because of a limit of its token. A file has a maximum number of tokens, and
    /// the names of removed ones are forgotten.
    #[cfg(feature = "serve")]
    pub(crate) fn limited(&self, token: &str, limit: &'static str) {
        let labels = [token, limit];
        self.0.families.limited.with_label_values(&labels).inc();
    }

    /// Removes the labels of a token.
    #[cfg(feature = "serve")]
    pub(crate) fn forget_token(&self, token: &str) {
        for limit in [intd::Limit::Requests, intd::Limit::Integers] {
            // It may have no labels.
            let labels = [token, limit.as_str()];
            let _ = self.0.families.limited.remove_label_values(&labels);
        }
    }

    /// Records when the certificate of the servers expires.
    #[cfg(feature = "serve")]
    pub(crate) fn certificate(&self, expires: Option<std::time::SystemTime>) {
        let since = expires.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let seconds = since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        self.0.families.certificate.set(seconds);
    }

    /// The metrics of a server.
    #[cfg(feature = "serve")]
    pub(crate) fn server(&self) -> ServerMetrics {
        let families = &self.0.families;
        ServerMetrics {
            ok: families.requests.with_label_values(&["200"]),
            requests: families.requests.clone(),
            connections: families.connections.clone(),
            open: families.open.clone(),
            handshakes: families.handshakes.clone(),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What the instances of one engine count.
#[derive(Clone)]
pub(crate) struct EngineMetrics {
    /// Instances that were dropped because they trapped, took too long, or broke their contract.
    pub(crate) broken: IntCounter,
    dials: IntCounter,
    refusals: IntCounter,
}

impl EngineMetrics {
    /// Counts a connection that an instance was or was not allowed to open.
    pub(crate) fn connected(&self, allowed: bool) {
        if allowed {
            self.dials.inc();
        } else {
            self.refusals.inc();
        }
    }
}

/// What a server counts.
#[cfg(feature = "serve")]
#[derive(Clone)]
pub(crate) struct ServerMetrics {
    /// The most frequent of `requests`.
    ok: IntCounter,
    requests: IntCounterVec,
    connections: IntCounter,
    open: IntGauge,
    handshakes: IntCounterVec,
}

#[cfg(feature = "serve")]
impl ServerMetrics {
    /// Counts a request that was answered with this status.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        if status == http::StatusCode::OK {
            self.ok.inc();
        } else {
            self.requests.with_label_values(&[status.as_str()]).inc();
        }
    }

    /// Counts a TLS handshake that failed for one of a few reasons.
    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.handshakes.with_label_values(&[reason]).inc();
    }

    /// Counts a connection, which is open until the result is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        self.open.inc();
        Connected(self.open.clone())
    }
}

/// An open connection.
#[cfg(feature = "serve")]
pub(crate) struct Connected(IntGauge);

#[cfg(feature = "serve")]
impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Families {
    #[expect(
        clippy::expect_used,
        reason = "the names are literals, each of which is used once; a test makes all of them"
    )]
    fn register(registry: &Registry) -> Self {
        fn add<C: Collector + Clone + 'static>(
            registry: &Registry,
            made: prometheus::Result<C>,
        ) -> C {
            let made = made.expect("valid names");
            registry
                .register(Box::new(made.clone()))
                .expect("new names");
            made
        }
        let opts = |name: &str, help: &str| Opts::new(format!("artisanal_{name}"), help);
        let counters = |name, help, labels: &[&str]| {
            add(registry, IntCounterVec::new(opts(name, help), labels))
        };
        let gauges =
            |name, help, labels: &[&str]| add(registry, IntGaugeVec::new(opts(name, help), labels));
        let histograms = |name: &str, help, buckets, labels: &[&str]| {
            let opts = HistogramOpts::new(format!("artisanal_{name}"), help).buckets(buckets);
            add(registry, HistogramVec::new(opts, labels))
        };
        let sequence = ["engine", "key"];
        // 50 µs to 13 s: an embedded store answers within microseconds, an election takes seconds.
        let seconds = exponential_buckets(50e-6, 4.0, 10).expect("valid buckets");
        // 1 to 65 536; a call mints at most 100 000.
        let sizes = exponential_buckets(1.0, 4.0, 9).expect("valid buckets");
        let families = Self {
            calls: histograms(
                "engine_call_duration_seconds",
                "How long calls of the engine took, with retries; one call serves many requests.",
                seconds,
                &["engine", "key", "operation"],
            ),
            batches: histograms(
                "engine_call_integers",
                "How many integers one call of the engine minted.",
                sizes,
                &sequence,
            ),
            integers: counters(
                "integers_minted_total",
                "Integers that the engine returned to this process.",
                &sequence,
            ),
            missed: gauges(
                "integers_missed",
                "Integers between those that this process minted: minted by others, or skipped.",
                &sequence,
            ),
            errors: counters(
                "engine_errors_total",
                "Failed calls of the engine, by kind of error.",
                &["engine", "key", "kind"],
            ),
            refused: counters(
                "request_errors_total",
                "Failed requests of the sequence, by kind of error; one failed call can fail many.",
                &["engine", "key", "kind"],
            ),
            in_flight: gauges(
                "engine_calls_in_flight",
                "Calls of the engine that have not returned.",
                &sequence,
            ),
            waiting: gauges(
                "requests_waiting",
                "Requests that wait for a call of the engine or for its end.",
                &sequence,
            ),
            last: gauges(
                "sequence_last",
                "The greatest integer of the sequence that this process has seen.",
                &sequence,
            ),
            broken: counters(
                "engine_instances_dropped_total",
                "Instances that trapped, did not answer in time, or broke their contract.",
                &["engine"],
            ),
            dials: counters(
                "backend_connections_total",
                "Connections that the engine opened: more than one for each call in flight are reconnects.",
                &["engine"],
            ),
            refusals: counters(
                "backend_connections_refused_total",
                "Connections that the host refused to the engine, since its DSN does not name the address.",
                &["engine"],
            ),
            requests: counters(
                "http_requests_total",
                "Answered HTTP requests, by status.",
                &["code"],
            ),
            commands: add(
                registry,
                IntCounter::with_opts(opts(
                    "redis_commands_total",
                    "Commands of clients with the Redis protocol.",
                )),
            ),
            connections: add(
                registry,
                IntCounter::with_opts(opts("connections_total", "Accepted connections.")),
            ),
            open: add(
                registry,
                IntGauge::with_opts(opts("connections_open", "Open connections.")),
            ),
            handshakes: counters(
                "tls_handshakes_failed_total",
                "TLS handshakes of clients that failed, by reason.",
                &["reason"],
            ),
            limited: counters(
                "requests_limited_total",
                "Requests that were refused because of a limit of their token.",
                &["token", "limit"],
            ),
            certificate: add(
                registry,
                IntGauge::with_opts(opts(
                    "tls_certificate_expiry_timestamp_seconds",
                    "When the certificate of the server expires; 0 without one.",
                )),
            ),
        };
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("new names");
        let info = gauges(
            "build_info",
            "The version of this program; the value is 1.",
            &["version"],
        );
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        families
    }
}

/// A number of things as a metric has it.
fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
