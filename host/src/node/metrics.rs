//! The metrics of a node. Its state is read when the metrics are.

use super::member::Node;
use super::state::State;
use crate::{Error, Metrics};
use artisanal_quorum::{Answer, NodeState};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::{Arc, Weak};

/// All states with their labels.
const STATES: [(NodeState, &str); 5] = [
    (NodeState::New, "new"),
    (NodeState::Serving, "serving"),
    (NodeState::Joining, "joining"),
    (NodeState::Lost, "lost"),
    (NodeState::Replaced, "replaced"),
];

/// Counts claims by their result.
pub(super) struct ClaimMetrics(IntCounterVec);

/// Reads the state of a node, as long as there is one.
struct NodeMetrics {
    node: Weak<Node>,
    claims: IntCounterVec,
    info: IntGaugeVec,
    states: IntGaugeVec,
    refusing: IntGaugeVec,
    session: IntGauge,
    incarnation: IntGauge,
    list: IntGauge,
    members: IntGauge,
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("artisanal_node_{name}"), help)
}

impl ClaimMetrics {
    #[expect(
        clippy::expect_used,
        reason = "the names are literals; a test makes them"
    )]
    pub(super) fn new() -> Self {
        let opts = opts("claims_total", "Claims of clients, by result.");
        Self(IntCounterVec::new(opts, &["result"]).expect("valid names"))
    }

    /// Counts a claim. `takes_part` is whether the node took part in its group when it had answered.
    pub(super) fn count(&self, answered: &Result<Answer, Error>, takes_part: bool) {
        let result = match answered {
            Ok(answer) if answer.accepted => "accepted",
            Ok(answer) if answer.mark.is_some() => "too-small",
            // The client has another member list.
            Ok(_) => "other-list",
            Err(_) if !takes_part => "no-part",
            Err(error) => crate::metrics::kind(error),
        };
        self.0.with_label_values(&[result]).inc();
    }
}

impl Node {
    /// Adds the metrics of this node to those of its host. A process runs one node.
    pub fn report_to(self: &Arc<Self>, metrics: &Metrics) {
        let made = NodeMetrics::new(self).map(Box::new);
        if let Err(error) = made.and_then(|made| metrics.register(made)) {
            tracing::warn!(%error, "there are no metrics of the node");
        }
    }
}

impl NodeMetrics {
    fn new(node: &Arc<Node>) -> prometheus::Result<Self> {
        let gauge = |name, help| IntGauge::with_opts(opts(name, help));
        let gauges = |name, help, labels: &[&str]| IntGaugeVec::new(opts(name, help), labels);
        Ok(Self {
            node: Arc::downgrade(node),
            claims: node.claims.0.clone(),
            info: gauges(
                "info",
                "The node and its group, 0 for none; the value is 1.",
                &["node", "group"],
            )?,
            states: gauges(
                "state",
                "1 for the state that the node is in, 0 for the others.",
                &["state"],
            )?,
            refusing: gauges(
                "refusing",
                "1 for the reason why the node takes no claims; without samples while it takes them.",
                &["reason"],
            )?,
            session: gauge(
                "session",
                "The number of this process in the backend; it grows with each process.",
            )?,
            incarnation: gauge(
                "incarnation",
                "The incarnation of the node, which grows when it may have forgotten marks; 0 before it has one.",
            )?,
            list: gauge(
                "member_list",
                "The number of the member list for which the node takes claims.",
            )?,
            members: gauge("members", "How many members that list has.")?,
        })
    }

    fn read(&self, state: &State) {
        let described = &state.described;
        let (node, group) = (described.node.to_string(), described.group.to_string());
        self.info.reset();
        self.info.with_label_values(&[&node, &group]).set(1);
        for (possible, label) in STATES {
            let is = i64::from(possible == state.now);
            self.states.with_label_values(&[label]).set(is);
        }
        self.refusing.reset();
        if let Some(cause) = state.cause {
            self.refusing.with_label_values(&[cause.as_str()]).set(1);
        }
        self.session.set(state.session);
        self.incarnation.set(signed(state.incarnation));
        self.list.set(signed(state.epoch()));
        self.members.set(signed(state.members().len() as u64));
    }

    fn all(&self) -> [&dyn Collector; 8] {
        [
            &self.claims,
            &self.info,
            &self.states,
            &self.refusing,
            &self.session,
            &self.incarnation,
            &self.list,
            &self.members,
        ]
    }
}

impl Collector for NodeMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(|one| one.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(node) = self.node.upgrade() else {
            return Vec::new();
        };
        self.read(&node.state());
        self.all()
            .into_iter()
            .flat_map(|one| one.collect())
            .collect()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
