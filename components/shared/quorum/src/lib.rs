//! The quorum rule, and the messages between proposers and nodes. No I/O.
//!
//! A sequence lives on *n* nodes, each of which keeps a mark. A *proposer* claims an interval at all of them at
//! once; it owns the interval as soon as a majority has accepted it. Two majorities share a node, and
//! that node accepts the second interval only if it begins above the first one.
//!
//! A node that may have forgotten marks takes a new *incarnation* number, and tells the others before it
//! reads their marks. Each answer carries what its node knows of the others' incarnations, read after the
//! claim, so that an acceptance that its node has forgotten since is not counted.
//!
//! A group has one list of members after another, each with a greater *epoch*. A claim names the epoch, and
//! nodes refuse all but their own. `docs/quorum.md` has the reasons; `tests/model` checks them exhaustively.

mod ballot;
mod change;
mod count;
mod message;

pub use ballot::{Ballot, Disagreement};
pub use change::{Change, Changed, FIRST_EPOCH, Impossible, List, Step, Tally};
pub use count::{Voice, effective, has_majority, is_effective, majority};
pub use message::{
    Advance, Answer, Claim, Describe, Join, MAX_KEYS, MAX_MEMBERS, Member, NodeState, Read, Report,
    Status,
};

/// The prefix of keys that nodes reserve for themselves.
pub const RESERVED: &str = "~node/";

/// The default port of a node.
pub const PORT: u16 = 8081;
