//! The metrics of publishing to a ledger, which are read when they are asked for.

use super::Metrics;
use crate::ledger::Publisher;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge};
use std::sync::atomic::Ordering;

/// Reads the counts of a publisher.
struct Published {
    publisher: Publisher,
    counters: [IntCounter; 5],
    gauges: [IntGauge; 7],
}

impl Metrics {
    /// Adds the metrics of a publisher, of which there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn publishes(&self, publisher: Publisher) {
        let made = Published::new(publisher).map(Box::new);
        if let Err(error) = made.and_then(|metrics| self.0.registry.register(metrics)) {
            tracing::warn!(%error, "there are no metrics of the ledger");
        }
    }
}

impl Published {
    fn new(publisher: Publisher) -> prometheus::Result<Self> {
        let counter =
            |name: &str, help: &str| IntCounter::new(format!("artisanal_ledger_{name}"), help);
        let gauge =
            |name: &str, help: &str| IntGauge::new(format!("artisanal_ledger_{name}"), help);
        Ok(Self {
            publisher,
            counters: [
                counter("events_total", "Events that the ledger acknowledged.")?,
                counter("dropped_total", "Events for which the ring had no room.")?,
                counter("refused_total", "Events that the ledger refused.")?,
                counter("waits_total", "Mints that waited for room in the ring.")?,
                counter("reconnects_total", "Connections opened after a failure.")?,
            ],
            gauges: [
                gauge(
                    "unacknowledged",
                    "Events that were sent and are not acknowledged.",
                )?,
                gauge("ring_events", "Events in the ring.")?,
                gauge(
                    "ring_high_water",
                    "The greatest number of events in the ring so far.",
                )?,
                gauge("ring_size", "How many events the ring has room for.")?,
                gauge(
                    "ring_bytes",
                    "Bytes of batches of other publishers that are not delivered.",
                )?,
                gauge("ring_bytes_high_water", "Their greatest number so far.")?,
                gauge("ring_bytes_size", "How many of them there is room for.")?,
            ],
        })
    }
}

impl Collector for Published {
    fn desc(&self) -> Vec<&Desc> {
        let counters = self.counters.iter().flat_map(Collector::desc);
        counters
            .chain(self.gauges.iter().flat_map(Collector::desc))
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.publisher.stats();
        let counts = [
            &stats.acknowledged,
            &stats.dropped,
            &stats.refused,
            &stats.waited,
            &stats.reconnects,
        ];
        for (counter, count) in self.counters.iter().zip(counts) {
            let more = count.load(Ordering::Relaxed).saturating_sub(counter.get());
            counter.inc_by(more);
        }
        let [length, most, size] = self.publisher.ring().map(super::signed);
        let unacknowledged = stats.unacknowledged.load(Ordering::Relaxed);
        let unacknowledged = i64::try_from(unacknowledged).unwrap_or(i64::MAX);
        let [bytes, most_bytes, bytes_size] = self.publisher.bytes().map(super::signed);
        let values = [
            unacknowledged,
            length,
            most,
            size,
            bytes,
            most_bytes,
            bytes_size,
        ];
        for (gauge, value) in self.gauges.iter().zip(values) {
            gauge.set(value);
        }
        let counters = self.counters.iter().flat_map(Collector::collect);
        counters
            .chain(self.gauges.iter().flat_map(Collector::collect))
            .collect()
    }
}
