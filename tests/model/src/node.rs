//! A node: what it keeps, and how it accepts and answers a claim.

use std::collections::BTreeSet;

use crate::{
    join::Join,
    members::NodeId,
    network::Answer,
    proposer::Claim,
    rule::Rule,
    vector::{Incarnation, Vector},
};

/// An integer of the sequence. Everything at or below a node's mark is taken.
pub type Mark = u8;

/// The number of a member list.
pub type Epoch = u8;

/// What a node writes to its disk before it answers, and loses when it is wiped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory {
    /// The node accepts no claim that starts at or below this.
    pub mark: Mark,
    /// Its own incarnation.
    pub incarnation: Incarnation,
    /// The newest incarnation of each node that it knows of.
    pub known: Vector,
    /// The member list for which it accepts claims.
    pub epoch: Epoch,
    /// The newest member list that it has heard is in use. If that is older, a change is open at the node.
    /// Only where joins wait for the end of a change.
    pub in_use: Epoch,
}

/// A claim that the node works on: it has done the first of two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unanswered {
    /// The claim.
    pub claim: Claim,
    /// The vector, if the rule says that it is read first.
    pub early: Option<Vector>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// What it keeps on disk.
    pub memory: Memory,
    /// Its progress in joining again, if it lost its memory; it does not serve until it has joined.
    pub join: Option<Join>,
    /// The claims that it has accepted and not yet answered.
    pub unanswered: BTreeSet<Unanswered>,
}

impl Node {
    /// Whether the node serves claims.
    pub fn serves(&self) -> bool {
        self.join.is_none()
    }

    /// Whether the node may accept this claim.
    pub fn accepts(&self, claim: Claim, rule: Rule) -> bool {
        let free = match rule {
            Rule::AnyLargerValue => self.memory.mark < claim.last,
            Rule::GapsAccepted => self.memory.mark & one_bit_each(claim) == 0,
            Rule::Lanes => self.memory.mark & lane_from(claim.first) == 0,
            _ => self.memory.mark < claim.first,
        };
        let epoch = rule == Rule::NoEpoch || self.memory.epoch == claim.epoch;
        self.serves() && free && epoch
    }

    /// Writes that the claimed integers are taken.
    pub fn take(&mut self, claim: Claim, rule: Rule) {
        self.memory.mark = match rule {
            Rule::GapsAccepted | Rule::Lanes => self.memory.mark | one_bit_each(claim),
            _ => claim.last,
        };
    }

    /// Step 1 of a claim: the node accepts it.
    pub fn accept(&mut self, claim: Claim, rule: Rule) {
        let early = match rule {
            Rule::VectorBeforeAccepting => Some(self.memory.known),
            _ => {
                self.take(claim, rule);
                None
            }
        };
        self.unanswered.insert(Unanswered { claim, early });
    }

    /// Step 2 of a claim: the node reads its incarnation and its vector, and answers with both.
    pub fn answer(&mut self, name: NodeId, unanswered: Unanswered, rule: Rule) -> Answer {
        self.unanswered.remove(&unanswered);
        if unanswered.early.is_some() {
            self.take(unanswered.claim, rule);
        }
        Answer {
            known: unanswered.early.unwrap_or(self.memory.known),
            ..self.introduction(name)
        }
    }

    /// What the node says about itself in every answer.
    pub fn introduction(&self, name: NodeId) -> Answer {
        Answer {
            node: name,
            incarnation: self.memory.incarnation,
            known: self.memory.known,
        }
    }

    /// The node loses its memory, and notices.
    ///
    /// It does not answer what it accepted before: the incarnation under which it did so is gone.
    pub fn wipe(&mut self, rule: Rule) {
        self.memory = Memory::default();
        self.join = (rule != Rule::BackAtZero).then(Join::default);
        if rule != Rule::AnswersOutliveWipe {
            self.unanswered.clear();
        }
    }
}

/// The bits of this integer and of the greater ones in its lane.
fn lane_from(first: Mark) -> Mark {
    (first..8).step_by(2).map(|integer| 1 << integer).sum()
}

/// The mark under the rules that accept gaps: it has one bit for each integer.
fn one_bit_each(claim: Claim) -> Mark {
    (claim.first..=claim.last).map(|integer| 1 << integer).sum()
}
