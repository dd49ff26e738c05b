//! The correct rule, and wrong ones that differ from it in one place each.

use crate::system::{ORDER, UNIQUE};

/// The rule that nodes and proposers follow.
///
/// The wrong rules show that the search would find an error if there were one. Each is a mistake
/// that an implementation could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The rule of the quorum engine.
    Correct,
    /// Another correct one, which is that of the program. While the member list is replaced, a joining node asks no
    /// node that has taken the new epoch; afterwards it asks nodes of the new list only.
    JoinsWait,

    /// A node accepts a claim whose last integer is above its mark, though its first is not.
    AnyLargerValue,

    /// A node accepts a claim below its mark if it has accepted none of its integers.
    GapsAccepted,

    /// Proposers have lanes, odd and even integers, and a node keeps a mark for each lane. Nobody reads the other lane's.
    Lanes,

    /// A proposer counts all answers, and does not compare incarnations with vectors.
    NoVectors,
    /// A node reads its vector, then accepts the claim, then answers with the vector it read first.
    VectorBeforeAccepting,
    /// A node answers, under its new incarnation, claims that it accepted before it lost its state.
    AnswersOutliveWipe,
    /// A wiped node does not join. It serves immediately, with mark 0 and incarnation 0.
    BackAtZero,
    /// A node can lose its vector, and nothing else, without noticing.
    VectorLost,

    /// A joining node reads the marks of the others before it writes its incarnation there.
    MarkBeforeIncarnation,
    /// A joining node asks one other node only.
    JoinWithOneOther,
    /// A joining node answers the joins of others.
    JoiningNodesAnswer,
    /// A joining node copies the mark of the others and not their vectors.
    VectorNotCopied,
    /// A joining node takes the greatest incarnation that the others know, not a greater one.
    IncarnationNotRaised,

    /// The member list is replaced without an epoch: nodes accept claims for either list.
    NoEpoch,
    /// A majority of the new list is asked to take the epoch, and no majority of the old list.
    EpochAtNewListOnly,
    /// The marks are read from nodes that need not have taken the epoch yet.
    MarksBeforeEpoch,
    /// The new list is used without being raised to the marks of the old one.
    NoRaise,
    /// While the member list is replaced, the answers to that (not those to claims) are all counted,
    /// without comparing incarnations with vectors.
    ChangeWithoutVectors,
    /// While the member list is replaced, a joining node asks only nodes of the old list.
    JoinWithOldListOnly,
    /// While the member list is replaced, a joining node asks only nodes of the new list.
    JoinWithNewListOnly,
    /// Joins do not wait: a joining node that knows the old list asks also nodes that have taken the new epoch.
    OpenNodesAnswerJoins,
}

impl Rule {
    /// Whether a joining node asks nodes of one list only, the one that is in use.
    pub(crate) fn has_one_list_for_joins(self) -> bool {
        matches!(self, Self::JoinsWait | Self::OpenNodesAnswerJoins)
    }

    /// The property that a wrong rule breaks.
    pub fn breaks(self) -> Option<&'static str> {
        match self {
            Self::Correct | Self::JoinsWait => None,
            Self::GapsAccepted | Self::Lanes => Some(ORDER),
            _ => Some(UNIQUE),
        }
    }
}
