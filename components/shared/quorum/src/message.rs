//! The messages between proposers and nodes, as JSON. Integers are exact up to the top of `i64`; readers
//! that parse numbers as doubles lose those above 2^53.

use crate::change::{List, first_epoch};
use crate::count::Voice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The maximum number of members of a group.
pub const MAX_MEMBERS: usize = 15;

/// The maximum number of keys in one message.
pub const MAX_KEYS: usize = 256;

/// `POST /v1/sequences/{key}/claim`: take the integers from `first` to `last`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The first integer, 0 or more.
    pub first: i64,
    /// The last integer, `first` or more.
    pub last: i64,
    /// The number of the member list that the proposer uses; without it that of the first list.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
}

/// `POST /v1/sequences/{key}/advance`: take the next integers above the node's mark, wherever that is. The node accepts the
/// interval as if it had been claimed; its last integer is the answer's mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// How many, 1 or more.
    pub count: u32,
    /// The number of the member list that the proposer uses; without it that of the first list.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
}

/// The answer to a claim or an advance, with status 200 if it was accepted and 409 if it was refused; and to
/// `GET /v1/sequences/{key}/claim?epoch=1`, which only reads the mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The identity of the node.
    pub node: u64,
    /// The group that it belongs to.
    pub group: u64,
    /// The number of the member list for which it takes claims. Claims for others are refused.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// The identities of the members in that list.
    pub members: Vec<u64>,
    /// Their addresses, if the claim is for an older list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Whether the claim was accepted.
    pub accepted: bool,
    /// Whether the node has refused claims since the last one that it accepted before this. A client that hears it asks one
    /// node first, as those do that lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contended: bool,
    /// The mark after the claim, or a lower bound of it; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<i64>,
    /// The incarnation under which the node answers.
    pub incarnation: u64,
    /// The newest incarnation of each other member that the node was told of, read after the claim.
    pub known: BTreeMap<u64, u64>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its identity, a random number.
    pub node: u64,
    /// `host:port`, at which the other members reach it.
    pub address: String,
}

/// What a node can do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It belongs to no group yet.
    New,
    /// It accepts claims.
    Serving,
    /// It asks the other members what it may have forgotten.
    Joining,
    /// It may have forgotten marks, or its data is not its own: it has to join again.
    Lost,
    /// Another node has taken its place in the group.
    Replaced,
}

/// The answer to `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the node can do.
    pub state: NodeState,
    /// Why it does not accept claims; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its identity: the one that it would have in a new group, if it belongs to none.
    pub node: u64,
    /// Its group; 0 for none.
    pub group: u64,
    /// The number of the member list in force; later lists have greater ones.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// The members of its group.
    pub members: Vec<Member>,
    /// The change of the member list that has begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<List>,
    /// Its incarnation; 0 before it belongs to a group.
    pub incarnation: u64,
    /// What it knows of the others' incarnations.
    pub known: BTreeMap<u64, u64>,
}

/// `POST /v1/node/init` makes the node a member of a new group; `POST /v1/node/join` lets a node that lost its
/// data take its place again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// The identity of the node that gets this message.
    pub node: u64,
    /// The group.
    pub group: u64,
    /// The number of the member list.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// All members, including that node.
    pub members: Vec<Member>,
}

/// `POST /v1/node/joining`: another member has begun a new incarnation and asks for what it may have
/// forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The group of both.
    pub group: u64,
    /// The number of the member list that the joining node has.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// The member that joins.
    pub node: u64,
    /// Its new incarnation, which is stored before anything is read; 0 to only read.
    pub incarnation: u64,
    /// The members of its list, for a receiver that has an older list and knows none of those that have a newer one. Left
    /// out for the first list, which every member has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// The sequences that are asked for.
    #[serde(default)]
    pub read: Read,
}

/// Which sequences to list, and the marks of which to read.
///
/// `POST /v1/node/read` has this alone: it reads from a node that takes part, and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// List the first [`MAX_KEYS`] keys after this one, in their order; the empty text is before all keys.
    /// Absent lists none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The sequences whose marks are asked for, at most [`MAX_KEYS`].
    #[serde(default)]
    pub keys: Vec<String>,
}

/// The answer to [`Join`] and [`Read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The identity of the node that answers.
    pub node: u64,
    /// The group that it belongs to.
    pub group: u64,
    /// Its own incarnation.
    pub incarnation: u64,
    /// What it knows of all members' incarnations, read last.
    pub known: BTreeMap<u64, u64>,
    /// The greatest epoch that a change of the member list has claimed at it.
    #[serde(default)]
    pub promised: u64,
    /// The keys that were to be listed: fewer than [`MAX_KEYS`] if there are no further ones.
    #[serde(default)]
    pub listed: Vec<String>,
    /// The mark of each sequence that was asked for; null if there is none.
    #[serde(default)]
    pub marks: Vec<Option<i64>>,
}

impl Report {
    /// What the node says of itself.
    pub fn voice(&self) -> Voice<'_> {
        Voice {
            node: self.node,
            incarnation: self.incarnation,
            known: &self.known,
        }
    }

    /// Whether this can be the answer to that request.
    pub fn answers(&self, read: &Read) -> bool {
        let sorted = self.listed.is_sorted_by(|a, b| a < b);
        let first = self.listed.first();
        let further = match &read.after {
            Some(after) => first.is_none_or(|first| first > after),
            None => first.is_none(),
        };
        self.marks.len() == read.keys.len() && self.listed.len() <= MAX_KEYS && sorted && further
    }

    /// Where the list goes on: the last key of a full page.
    pub fn next_page(&self) -> Option<&String> {
        self.listed.last().filter(|_| self.listed.len() >= MAX_KEYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact() {
        let claim = Claim {
            first: (1 << 53) + 1,
            last: i64::MAX,
            epoch: 3,
        };
        let text = serde_json::to_string(&claim).unwrap();
        assert_eq!(
            text,
            r#"{"first":9007199254740993,"last":9223372036854775807,"epoch":3}"#
        );
        assert_eq!(serde_json::from_str::<Claim>(&text).unwrap(), claim);
        let first: Claim = serde_json::from_str(r#"{"first":1,"last":2}"#).unwrap();
        assert_eq!(first.epoch, 1);
        for bad in [
            r#"{"first":1}"#,
            r#"{"first":1,"last":9223372036854775808}"#,
            r#"{"first":1.0,"last":2}"#,
            r#"{"first":1,"last":2,"x":3}"#,
        ] {
            assert!(serde_json::from_str::<Claim>(bad).is_err(), "{bad}");
        }
    }

    fn report(listed: Vec<String>, marks: usize) -> Report {
        Report {
            node: 1,
            group: 7,
            incarnation: 1,
            known: BTreeMap::new(),
            promised: 0,
            listed,
            marks: vec![None; marks],
        }
    }

    #[test]
    fn only_answers_to_the_question_are_taken() {
        let keys = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|n| format!("{n:04}")).collect()
        };
        let read = Read {
            after: Some("0010".into()),
            keys: vec!["a".into(), "b".into()],
        };
        let full = report(keys(11..11 + MAX_KEYS), 2);
        assert!(full.answers(&read));
        assert_eq!(full.next_page(), full.listed.last());
        let short = report(keys(11..20), 2);
        assert!(short.answers(&read) && short.next_page().is_none());
        for bad in [
            report(keys(11..20), 1),
            report(keys(11..20), 3),
            report(keys(10..20), 2),
            report(keys(11..12 + MAX_KEYS), 2),
            report(vec!["0012".into(), "0011".into()], 2),
            report(vec!["0011".into(), "0011".into()], 2),
        ] {
            assert!(!bad.answers(&read), "{bad:?}");
        }
        let nothing = Read::default();
        assert!(report(Vec::new(), 0).answers(&nothing));
        assert!(!report(keys(0..1), 0).answers(&nothing));
    }
}
