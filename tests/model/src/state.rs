//! The state of the whole system at one moment.

use std::collections::BTreeSet;

use crate::{members::NodeId, network::Network, node::Node, proposer::Claim, reconfigure::Stage};

/// The state of the system at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The nodes; the position is the name.
    pub nodes: Vec<Node>,
    /// The messages in flight.
    pub network: Network,
    /// The claims that were handed out.
    pub handed_out: BTreeSet<Claim>,
    /// How many times a node lost its memory.
    pub wipes: u8,
    /// How far the change of the member list has got.
    pub stage: Stage,
}

impl State {
    /// The node with this name.
    pub fn node(&self, name: NodeId) -> &Node {
        &self.nodes[name.index()]
    }

    /// Whether no two spans that were handed out share an integer.
    pub fn is_unique(&self) -> bool {
        self.handed_out.iter().all(|claim| {
            let mut others = self.handed_out.iter().filter(|other| *other != claim);
            others.all(|other| !claim.overlaps(*other))
        })
    }

    /// Whether each span that was handed out is above all that were handed out before its claim
    /// began.
    pub fn is_ordered(&self) -> bool {
        self.handed_out
            .iter()
            .all(|claim| claim.first > claim.after)
    }

    pub(crate) fn node_mut(&mut self, name: NodeId) -> &mut Node {
        &mut self.nodes[name.index()]
    }

    /// The names of all nodes.
    pub fn names(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..).take(self.nodes.len()).map(NodeId)
    }
}
