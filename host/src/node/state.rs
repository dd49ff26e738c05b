//! What a node knows of itself and its group.

use artisanal_quorum::{Describe, List, Member, NodeState};
use std::collections::BTreeMap;

/// The node's part in its group. All numbers are in the backend; these are copies, which are valid as long as
/// `session` is the number in the backend: then no other process has changed them, and nothing was lost.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) now: NodeState,
    pub(super) reason: Option<String>,
    /// The kind of that reason.
    pub(super) cause: Option<Cause>,
    /// Whether the node may join again by itself.
    pub(super) rejoins: bool,
    /// The group, with the member list in force.
    pub(super) described: Describe,
    /// The change of the member list that has begun and not ended.
    pub(super) open: Option<List>,
    /// The greatest epoch in the backend.
    pub(super) reached: u64,
    pub(super) incarnation: u64,
    pub(super) known: BTreeMap<u64, u64>,
    pub(super) session: i64,
    pub(super) generation: Option<String>,
}

/// Why a node takes no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It belongs to no group yet.
    NoGroup,
    /// It is joining its group again.
    Joining,
    /// Its last attempt to join failed.
    NotJoined,
    /// Another node has its place.
    Replaced,
    /// The data directory has no record of a node, but the backend does.
    NoRecord,
    /// The data directory has an older record.
    OldRecord,
    /// The backend has no marks of this node.
    EmptyBackend,
    /// The backend has those of another node.
    ForeignBackend,
    /// The backend is an older copy.
    OldBackend,
    /// The backend was restarted, and is of a kind that may forget.
    Restarted,
    /// Another process runs this node.
    OtherProcess,
}

impl Cause {
    /// The label in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoGroup => "no-group",
            Self::Joining => "joining",
            Self::NotJoined => "not-joined",
            Self::Replaced => "replaced",
            Self::NoRecord => "no-record",
            Self::OldRecord => "old-record",
            Self::EmptyBackend => "empty-backend",
            Self::ForeignBackend => "foreign-backend",
            Self::OldBackend => "old-backend",
            Self::Restarted => "restarted",
            Self::OtherProcess => "other-process",
        }
    }
}

impl State {
    /// The epoch for which the node takes claims. That of a change that has begun is the next one, of which nobody
    /// knows before the change has ended.
    pub(super) fn epoch(&self) -> u64 {
        self.open.as_ref().map_or(self.described.epoch, |l| l.epoch)
    }

    /// The member list in force.
    pub(super) fn list(&self) -> List {
        List {
            epoch: self.described.epoch,
            members: self.described.members.clone(),
        }
    }

    /// The members for which the node takes claims.
    pub(super) fn members(&self) -> &[Member] {
        let open = self.open.as_ref().map(|list| &list.members);
        open.unwrap_or(&self.described.members)
    }

    /// Whether this is the new node that a change of the member list made this member. A node that lost everything is
    /// new, too, but has chosen another number.
    pub(super) fn is_newcomer(&self, described: &Describe) -> bool {
        self.now == NodeState::New && self.described.node == described.node
    }

    /// All nodes in the list in force, and in the one to come.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u64> {
        let open = self.open.iter().flat_map(List::nodes);
        self.described.members.iter().map(|m| m.node).chain(open)
    }

    /// Whether this node is in one of the lists.
    pub(super) fn is_member(&self) -> bool {
        self.nodes().any(|node| node == self.described.node)
    }
}

pub(super) const RESTARTED: &str =
    "the backend was restarted or has failed over, and may have forgotten marks";

pub(super) fn lost(reason: &str) -> String {
    format!("{reason}; it has to join again (`int-host node join`)")
}

/// Why a node that was replaced takes no part.
pub(super) fn replaced(described: &Describe) -> String {
    let addresses: Vec<_> = described
        .members
        .iter()
        .map(|m| m.address.as_str())
        .collect();
    format!(
        "another node has taken its place in the group; the members are {}",
        addresses.join(",")
    )
}

/// Why a node takes no claims and no joins.
pub(super) fn under_way(open: &List) -> String {
    format!(
        "a change of the members to {} is under way; if it was interrupted, run the same `int-host node replace` \
         again",
        open.addresses()
    )
}
