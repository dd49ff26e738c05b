//! The families of metrics: their names, help texts, labels and buckets.

use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

/// The metrics by name, each with its labels.
pub(super) struct Families {
    pub(super) calls: HistogramVec,
    pub(super) batches: HistogramVec,
    pub(super) integers: IntCounterVec,
    pub(super) missed: IntGaugeVec,
    pub(super) errors: IntCounterVec,
    pub(super) refused: IntCounterVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) waiting: IntGaugeVec,
    pub(super) last: IntGaugeVec,
    pub(super) broken: IntCounterVec,
    pub(super) dials: IntCounterVec,
    pub(super) failovers: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) commands: IntCounter,
    pub(super) connections: IntCounter,
    pub(super) open: IntGauge,
    pub(super) handshakes: IntCounterVec,
    pub(super) certificate: IntGauge,
    pub(super) limited: IntCounterVec,
}

impl Families {
    /// Adds all of them to a registry.
    #[expect(
        clippy::expect_used,
        reason = "the names are literals, each of which is used once; a test makes all of them"
    )]
    pub(super) fn register(registry: &Registry) -> Self {
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
            failovers: counters(
                "backend_failovers_total",
                "How often the engine went on with another server than before.",
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
