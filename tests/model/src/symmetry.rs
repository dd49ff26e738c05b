//! States that differ only in which node has which name.
//!
//! The rule treats all nodes alike, so it is enough to search one state of each such group. The
//! state is renamed so that its nodes are sorted by what they keep. Nodes that keep the same stay
//! in their order; that some states are then searched twice costs time and nothing else.

use std::cmp::Reverse;

use crate::{
    members::{NODES, NodeId, NodeSet},
    network::{Answer, Message},
    node::Node,
    state::State,
    vector::Vector,
};

/// The names that stand for the same part in the system: all of three nodes, or A and B of four.
fn alike(nodes: usize) -> usize {
    if nodes == NODES { 2 } else { nodes }
}

/// The state by which all that differ from it in names only are represented.
pub fn representative(state: &State) -> State {
    let mut order: Vec<NodeId> = state.names().collect();
    let alike = alike(order.len());
    order[..alike].sort_by_cached_key(|name| key(state, *name));
    Renaming::new(&order).state(state)
}

/// What a node is sorted by. It must not depend on names.
fn key(state: &State, name: NodeId) -> impl Ord + use<> {
    let node = state.node(name);
    let unanswered: Vec<_> = node
        .unanswered
        .iter()
        .map(|unanswered| unanswered.claim)
        .collect();
    let answered: Vec<_> = state
        .network
        .claims()
        .flat_map(|claim| {
            state
                .network
                .accepted(claim)
                .map(move |answer| (claim, answer))
        })
        .filter(|(_, answer)| answer.node == name)
        .map(|(claim, answer)| (claim, answer.incarnation))
        .collect();
    (
        Reverse((node.memory.mark, node.memory.incarnation, node.memory.epoch)),
        node.join.map(|join| (join.gathered.mark, join.incarnation)),
        (unanswered, answered),
    )
}

struct Renaming {
    /// By new name: the old one.
    old: [NodeId; NODES],
    /// By old name: the new one.
    new: [NodeId; NODES],
}

impl Renaming {
    fn new(order: &[NodeId]) -> Self {
        let unchanged = [NodeId(0), NodeId(1), NodeId(2), NodeId(3)];
        let (mut old, mut new) = (unchanged, unchanged);
        for (name, was) in (0..).map(NodeId).zip(order) {
            old[name.index()] = *was;
            new[was.index()] = name;
        }
        Self { old, new }
    }

    fn name(&self, name: NodeId) -> NodeId {
        self.new[name.index()]
    }

    fn set(&self, set: NodeSet) -> NodeSet {
        set.iter().map(|name| self.name(name)).collect()
    }

    fn vector(&self, vector: Vector) -> Vector {
        Vector(self.old.map(|name| vector.of(name)))
    }

    fn answer(&self, answer: Answer) -> Answer {
        Answer {
            node: self.name(answer.node),
            incarnation: answer.incarnation,
            known: self.vector(answer.known),
        }
    }

    fn message(&self, message: Message) -> Message {
        match message {
            Message::Claim(_) | Message::Epoch | Message::Raise(_) => message,
            Message::Accepted(claim, answer) => Message::Accepted(claim, self.answer(answer)),
            Message::Incarnation(node, incarnation, to) => {
                Message::Incarnation(self.name(node), incarnation, self.set(to))
            }
            Message::Mark(answer, mark) => Message::Mark(self.answer(answer), mark),
            Message::Raised(answer) => Message::Raised(self.answer(answer)),
        }
    }

    fn node(&self, node: &Node) -> Node {
        let mut node = node.clone();
        node.memory.known = self.vector(node.memory.known);
        if let Some(join) = &mut node.join {
            join.asked = self.set(join.asked);
            join.written = self.set(join.written);
            join.reported = self.set(join.reported);
            join.gathered.known = self.vector(join.gathered.known);
        }
        node.unanswered = node
            .unanswered
            .into_iter()
            .map(|mut unanswered| {
                unanswered.early = unanswered.early.map(|vector| self.vector(vector));
                unanswered
            })
            .collect();
        node
    }

    fn state(&self, state: &State) -> State {
        let order = &self.old[..state.nodes.len()];
        State {
            nodes: order
                .iter()
                .map(|name| self.node(state.node(*name)))
                .collect(),
            network: state
                .network
                .iter()
                .map(|message| self.message(message))
                .collect(),
            handed_out: state.handed_out.clone(),
            wipes: state.wipes,
            stage: state.stage,
        }
    }
}
