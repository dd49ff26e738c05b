//! What a host counts: calls of engines, integers, errors, requests and connections.
//!
//! Names and units follow the conventions of Prometheus. Every number of labels has a bound: engines are
//! few, and sequences beyond a maximum share one label. No DSN, address or user is a label.

mod families;
#[cfg(feature = "ledger")]
mod ledger;
#[cfg(feature = "ledger")]
mod members;
#[cfg(feature = "serve")]
mod requests;
mod sequence;
#[cfg(feature = "serve")]
mod server;

use families::Families;
#[cfg(feature = "serve")]
pub(crate) use requests::ServerMetrics;
#[cfg(feature = "serve")]
pub(crate) use sequence::kind;
pub(crate) use sequence::{Operation, SequenceMetrics};
#[cfg(feature = "serve")]
pub use server::serve;

#[cfg(feature = "serve")]
use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};
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
            failovers,
            refusals,
            ..
        } = &self.0.families;
        EngineMetrics {
            broken: broken.with_label_values(&[engine]),
            dials: dials.with_label_values(&[engine]),
            failovers: failovers.with_label_values(&[engine]),
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
    /// Calls that succeeded on another server than the one before.
    pub(crate) failovers: IntCounter,
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

/// A number of things as a metric has it.
fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
