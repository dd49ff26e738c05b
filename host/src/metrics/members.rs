//! The metrics of a ledger about its members, which are read when they are asked for.

use super::Metrics;
use crate::ledger::members::Members;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

/// Reads what a member knows and counts.
struct Known {
    members: Members,
    gauges: [IntGauge; 4],
    forwarded: IntCounterVec,
    packets: [IntCounter; 2],
}

impl Metrics {
    /// Adds the metrics of a member, of which there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn members(&self, members: Members) {
        let made = Known::new(members).map(Box::new);
        if let Err(error) = made.and_then(|metrics| self.0.registry.register(metrics)) {
            tracing::warn!(%error, "there are no metrics of the members");
        }
    }
}

impl Known {
    fn new(members: Members) -> prometheus::Result<Self> {
        let name = |name: &str| format!("artisanal_ledger_{name}");
        let gauge = |of: &str, help: &str| IntGauge::new(name(of), help);
        let counter = |of: &str, help: &str| IntCounter::new(name(of), help);
        let forwarded = Opts::new(
            name("forwarded_total"),
            "Questions for other members, by what became of them.",
        );
        Ok(Self {
            members,
            gauges: [
                gauge("members", "Members that this one remembers.")?,
                gauge("members_alive", "Members that are alive.")?,
                gauge(
                    "partitions_owned",
                    "Partitions that this member should hold.",
                )?,
                gauge("partitions_held", "Partitions that this member holds.")?,
            ],
            forwarded: IntCounterVec::new(forwarded, &["outcome"])?,
            packets: [
                counter("gossip_packets_total", "Packets of gossip that came.")?,
                counter(
                    "gossip_packets_ignored_total",
                    "Packets that were no gossip, or had no proof of the secret.",
                )?,
            ],
        })
    }

    fn parts(&self) -> impl Iterator<Item = &dyn Collector> {
        let gauges = self.gauges.iter().map(|gauge| gauge as &dyn Collector);
        let packets = self.packets.iter().map(|count| count as &dyn Collector);
        let forwarded: &dyn Collector = &self.forwarded;
        gauges.chain(packets).chain([forwarded])
    }
}

/// Raises a counter to what was counted.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

impl Collector for Known {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let view = self.members.view();
        let partitions = view.me().map(|me| [me.owned.len(), me.held.len()]);
        let [owned, held] = partitions.unwrap_or_default();
        let values = [view.members.len(), view.alive(), owned, held];
        for (gauge, value) in self.gauges.iter().zip(values) {
            gauge.set(super::signed(value));
        }
        let counted = self.members.counted();
        for (outcome, count) in [
            ("answered", counted.answered),
            ("repeated", counted.repeated),
            ("nobody", counted.nobody),
            ("lost", counted.lost),
        ] {
            raise(&self.forwarded.with_label_values(&[outcome]), count);
        }
        for (counter, count) in self.packets.iter().zip([counted.packets, counted.ignored]) {
            raise(counter, count);
        }
        self.parts().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_alone_holds_everything() {
        let metrics = Metrics::new();
        metrics.members(Members::alone("a", None));
        let text = metrics.text();
        for line in [
            "artisanal_ledger_members 1",
            "artisanal_ledger_members_alive 1",
            "artisanal_ledger_partitions_owned 1051",
            "artisanal_ledger_partitions_held 1051",
            "artisanal_ledger_forwarded_total{outcome=\"answered\"} 0",
            "artisanal_ledger_forwarded_total{outcome=\"nobody\"} 0",
            "artisanal_ledger_gossip_packets_ignored_total 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }
}
