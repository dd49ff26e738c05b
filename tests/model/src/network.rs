//! The messages in flight.
//!
//! A message stays in the set for ever. It can be delivered at any time (late, and in any order),
//! again and again (repeated), or never (lost), so the network needs no steps of its own. For the
//! same reason the state does not say which answers have arrived: when a proposer counts answers,
//! it may have received any of those in flight.

use std::collections::BTreeSet;

use crate::{
    members::{NodeId, NodeSet},
    node::Mark,
    proposer::Claim,
    vector::{Incarnation, Vector},
};

/// What every answer of a node says about the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// The node that answers.
    pub node: NodeId,
    /// The incarnation under which it did what was asked.
    pub incarnation: Incarnation,
    /// What it knew about the incarnations of all nodes after that.
    pub known: Vector,
}

/// A message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A proposer asks all nodes of a list to accept its claim.
    Claim(Claim),
    /// A node accepted the claim. (A refusal is not in the model: the proposer would begin a claim
    /// that is higher, and it can begin any claim at any time.)
    Accepted(Claim, Answer),
    /// A joining node asks those that it has asked before to write its new incarnation.
    Incarnation(NodeId, Incarnation, NodeSet),
    /// Nodes are asked to take the epoch of the new member list.
    Epoch,
    /// A node that has taken the epoch reports the mark that it had afterwards.
    Mark(Answer, Mark),
    /// The nodes of the new list are asked to raise their marks.
    Raise(Mark),
    /// A node has done so.
    Raised(Answer),
}

/// The set of messages in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(BTreeSet<Message>);

impl Network {
    /// Sends a message.
    pub fn send(&mut self, message: Message) {
        self.0.insert(message);
    }

    /// Removes messages that no longer have any effect.
    pub fn forget(&mut self, useless: impl Fn(&Message) -> bool) {
        self.0.retain(|message| !useless(message));
    }

    /// Whether the message is in flight.
    pub fn contains(&self, message: Message) -> bool {
        self.0.contains(&message)
    }

    /// All messages, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = Message> {
        self.0.iter().copied()
    }

    /// The claims that have begun.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        self.iter().filter_map(|message| match message {
            Message::Claim(claim) => Some(claim),
            _ => None,
        })
    }

    /// The answers of nodes that accepted this claim.
    pub fn accepted(&self, claim: Claim) -> impl Iterator<Item = Answer> {
        self.iter().filter_map(move |message| match message {
            Message::Accepted(accepted, answer) if accepted == claim => Some(answer),
            _ => None,
        })
    }

    /// The answers of nodes that reported their mark for a new member list.
    pub fn marks(&self) -> impl Iterator<Item = (Answer, Mark)> {
        self.iter().filter_map(|message| match message {
            Message::Mark(answer, mark) => Some((answer, mark)),
            _ => None,
        })
    }

    /// The answers of nodes that raised their mark.
    pub fn raised(&self) -> impl Iterator<Item = Answer> {
        self.iter().filter_map(|message| match message {
            Message::Raised(answer) => Some(answer),
            _ => None,
        })
    }
}

impl FromIterator<Message> for Network {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        Self(messages.into_iter().collect())
    }
}
