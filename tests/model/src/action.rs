//! The steps that the system can take.

use crate::{
    members::NodeId,
    node::{Epoch, Mark, Unanswered},
    proposer::Claim,
    vector::Incarnation,
};

/// One step of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are named by their types, and each step says what it is"
)]
pub enum Action {
    /// A proposer begins a claim.
    Begin {
        first: Mark,
        last: Mark,
        epoch: Epoch,
    },
    /// A node accepts the claim.
    Accept(NodeId, Claim),
    /// A node answers a claim that it accepted.
    Answer(NodeId, Unanswered),
    /// A proposer has enough answers and hands the span out.
    HandOut(Claim),

    /// A node loses its memory.
    Wipe(NodeId),
    /// A node loses its vector without noticing; no node does so under the correct rule.
    LoseVector(NodeId),
    /// A node reports to a joining one the newest incarnation of it that it knows.
    AskIncarnation { joining: NodeId, node: NodeId },
    /// A node writes the new incarnation of a joining one.
    WriteIncarnation {
        joining: NodeId,
        incarnation: Incarnation,
        node: NodeId,
    },
    /// A node reports to a joining one its mark, its vector and its epoch.
    Report { joining: NodeId, node: NodeId },

    /// A node takes the epoch of the new member list.
    TakeEpoch(NodeId),
    /// A node reports its mark for the new member list.
    ReportMark(NodeId),
    /// Enough nodes have reported their marks; the greatest is this.
    StartRaising(Mark),
    /// A node of the new list raises its mark.
    RaiseMark(NodeId, Mark),
    /// Enough nodes have raised their marks.
    UseNewList,
    /// A node hears that the new list is in use.
    HearNewList(NodeId),
}
