//! A proposer claims a span and hands it out when a majority of nodes has accepted it.
//!
//! Each claim here has a proposer of its own, which knows nothing of the others: it claims any span
//! at any time. A real proposer that makes several attempts, one after the other or concurrently, and
//! starts above the greatest mark that it has heard of, does nothing that these cannot do. Nor does one that lets a node
//! choose the span (`Advance`): that node accepts a claim of it at the same moment.

use std::fmt;

use crate::{
    action::Action,
    count,
    members::NodeSet,
    network::{Answer, Message},
    node::{Epoch, Mark},
    state::State,
    system::System,
    vector::Incarnation,
};

/// The request to take the integers from `first` to `last`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The first integer of the span.
    pub first: Mark,
    /// The last integer of the span.
    pub last: Mark,
    /// The member list that the proposer uses.
    pub epoch: Epoch,
    /// The greatest integer that had been handed out when this claim began. No part of the system
    /// uses it; it is here to state the property that later claims get greater integers.
    pub after: Mark,
    /// Distinguishes claims that are otherwise equal.
    pub twin: u8,
}

impl Claim {
    /// Whether the two spans share an integer.
    pub fn overlaps(self, other: Claim) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.first, self.last)?;
        if self.epoch > 0 {
            write!(f, " in epoch {}", self.epoch)?;
        }
        if self.after > 0 {
            write!(f, " after {}", self.after)?;
        }
        (0..self.twin).try_for_each(|_| f.write_str("'"))
    }
}

/// What proposers can do in this state.
pub(crate) fn actions(system: &System, state: &State, actions: &mut Vec<Action>) {
    if state.network.claims().count() < usize::from(system.bounds.claims) {
        let lists = if system.new_list_in_use(state) { 2 } else { 1 };
        for epoch in 0..lists {
            for first in 1..=system.bounds.greatest {
                let longest = (first + system.bounds.longest - 1).min(system.bounds.greatest);
                for last in first..=longest {
                    actions.push(Action::Begin { first, last, epoch });
                }
            }
        }
    }
    for claim in state.network.claims() {
        if !state.handed_out.contains(&claim) && may_hand_out(system, state, claim, |_| true) {
            actions.push(Action::HandOut(claim));
        }
    }
}

/// A proposer sends its claim to all nodes.
pub(crate) fn begin(state: &mut State, first: Mark, last: Mark, epoch: Epoch) {
    let greatest = state.handed_out.iter().map(|claim| claim.last).max();
    let mut claim = Claim {
        first,
        last,
        epoch,
        after: greatest.unwrap_or(0),
        twin: 0,
    };
    while state.network.claims().any(|other| other == claim) {
        claim.twin += 1;
    }
    state.network.send(Message::Claim(claim));
}

/// Whether the proposer may have received answers that are enough to hand the span out, and are
/// such as `wanted` says.
fn may_hand_out(
    system: &System,
    state: &State,
    claim: Claim,
    wanted: impl Fn(&[Answer]) -> bool,
) -> bool {
    let answers: Vec<Answer> = state.network.accepted(claim).collect();
    let list: NodeSet = system.lists()[usize::from(claim.epoch)];
    count::sufficient(&answers, |answer| *answer, &[list], system.rule)
        .any(|arrived| wanted(&arrived))
}

/// Whether a span can be handed out because of the answer of a node that has joined so many times.
pub(crate) fn joined_counts(system: &System, state: &State, times: Incarnation) -> bool {
    let joined = |answers: &[Answer]| answers.iter().any(|answer| answer.incarnation >= times);
    let mut claims = state.network.claims();
    claims.any(|claim| may_hand_out(system, state, claim, joined))
}

/// Whether a majority has accepted a claim that nevertheless cannot be handed out: one of its nodes
/// forgot the claim before another accepted it.
pub(crate) fn outdated_majority(system: &System, state: &State) -> bool {
    state.network.claims().any(|claim| {
        let senders = state
            .network
            .accepted(claim)
            .map(|answer| answer.node)
            .collect();
        let list = system.lists()[usize::from(claim.epoch)];
        count::has_majority(senders, &[list]) && !may_hand_out(system, state, claim, |_| true)
    })
}

/// The span is handed out. Further answers to the claim change nothing.
pub(crate) fn hand_out(state: &mut State, claim: Claim) {
    state.handed_out.insert(claim);
    state
        .network
        .forget(|message| matches!(message, Message::Accepted(accepted, _) if *accepted == claim));
    for node in &mut state.nodes {
        node.unanswered
            .retain(|unanswered| unanswered.claim != claim);
    }
}
