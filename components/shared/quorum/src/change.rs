//! The messages by which one list of members follows another, as JSON.
//!
//! Whoever replaces a member sends all of them, in this order: [`Step::Propose`] to a majority, so that the
//! number of the change is its own and it hears of other changes that have begun; [`Step::Begin`] to a
//! majority of the old list and of the new one, which refuse older epochs from then on; reads of the marks there;
//! [`Step::Raise`] to a majority of the new list; and [`Step::Finish`].

use crate::{MAX_MEMBERS, Member, Read, Report, Voice, effective, has_majority};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The epoch of the list that a group is made with.
pub const FIRST_EPOCH: u64 = 1;

/// For messages that leave the epoch out.
pub(crate) fn first_epoch() -> u64 {
    FIRST_EPOCH
}

/// A list of members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Its number; later lists have greater ones.
    pub epoch: u64,
    /// The members.
    pub members: Vec<Member>,
}

/// Why there cannot be such a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The number of members is even, or too large.
    #[error("a group has an odd number of members, at most {MAX_MEMBERS}; these are {0}")]
    Count(usize),
    /// An identity or an address is there twice.
    #[error("a member is listed twice")]
    Twice,
    /// An identity is 0, or an address is empty or too long.
    #[error("a member has no identity, or an address that is empty or too long")]
    Member,
    /// The epoch is 0.
    #[error("a list of members has no epoch")]
    Epoch,
}

/// The maximum length of an address: a name and a port.
const MAX_ADDRESS: usize = 300;

impl List {
    /// Checks that a group can have this list.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn check(&self) -> Result<(), Impossible> {
        let count = self.members.len();
        if count > MAX_MEMBERS || count.is_multiple_of(2) {
            return Err(Impossible::Count(count));
        }
        let nodes: BTreeSet<u64> = self.nodes().collect();
        let addresses: BTreeSet<&str> = self.members.iter().map(|m| m.address.as_str()).collect();
        if nodes.len() != count || addresses.len() != count {
            return Err(Impossible::Twice);
        }
        let bad = |member: &Member| {
            member.node == 0 || member.address.is_empty() || member.address.len() > MAX_ADDRESS
        };
        if self.members.iter().any(bad) {
            return Err(Impossible::Member);
        }
        if self.epoch == 0 {
            return Err(Impossible::Epoch);
        }
        Ok(())
    }

    /// Whether this node is a member.
    pub fn contains(&self, node: u64) -> bool {
        self.nodes().any(|member| member == node)
    }

    /// The identities of the members.
    pub fn nodes(&self) -> impl Iterator<Item = u64> {
        self.members.iter().map(|member| member.node)
    }

    /// The addresses of the members, as in a DSN.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.members.iter().map(|m| m.address.as_str()).collect();
        addresses.join(",")
    }

    /// The list with another member in the place of one; None if that is not a member.
    pub fn with(&self, old: &str, new: Member) -> Option<Vec<Member>> {
        let position = self.members.iter().position(|m| m.address == old)?;
        let mut members = self.members.clone();
        *members.get_mut(position)? = new;
        Some(members)
    }
}

/// `POST /v1/node/change`: a step of a change of the member list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The group.
    pub group: u64,
    /// The identity of the node that gets this message.
    pub node: u64,
    /// What to do.
    pub step: Step,
}

/// A step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Claim the epoch of the change: refuse changes with smaller ones.
    Propose {
        /// The epoch.
        epoch: u64,
    },
    /// Refuse claims of older epochs, and remember the change.
    Begin {
        /// The list in force.
        base: List,
        /// The list to come.
        next: List,
    },
    /// List sequences and read their marks, if the change has begun.
    Read {
        /// The epoch of the change.
        epoch: u64,
        /// What to read.
        read: Read,
    },
    /// Raise marks, if the change has begun.
    Raise {
        /// The epoch of the change.
        epoch: u64,
        /// The sequences, at most [`crate::MAX_KEYS`], with their marks.
        marks: Vec<(String, i64)>,
    },
    /// Put the new list in force.
    Finish {
        /// The new list.
        next: List,
    },
}

/// The answer to [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Whether the node did what it was asked for.
    pub accepted: bool,
    /// The list in force at the node.
    pub list: List,
    /// The change that has begun there and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<List>,
    /// What the node says of itself, and what was read.
    pub report: Report,
}

/// The answers of several nodes to one step, at most one for each.
#[derive(Debug, Default)]
pub struct Tally {
    answers: BTreeMap<u64, Changed>,
}

impl Tally {
    /// Adds the answer of the node that was asked. Whether it can be the answer to that.
    pub fn add(&mut self, change: &Change, answer: Changed) -> bool {
        let nothing = Read::default();
        let read = match &change.step {
            Step::Read { read, .. } => read,
            _ => &nothing,
        };
        let lists = [Some(&answer.list), answer.open.as_ref()];
        let possible = lists.into_iter().flatten().all(|list| list.check().is_ok());
        // A node that did nothing has read nothing.
        let complete = !answer.accepted || answer.report.answers(read);
        let right =
            (answer.report.node, answer.report.group) == (change.node, change.group) && possible;
        if right && complete {
            self.answers.insert(change.node, answer);
        }
        right && complete
    }

    /// Forgets the answer of a node.
    pub fn remove(&mut self, node: u64) {
        self.answers.remove(&node);
    }

    /// Whether this node has accepted.
    pub fn has_accepted(&self, node: u64) -> bool {
        self.answers.get(&node).is_some_and(|a| a.accepted)
    }

    /// All answers.
    pub fn answers(&self) -> impl Iterator<Item = &Changed> {
        self.answers.values()
    }

    /// Whether the nodes that accepted, and have not forgotten that, are a majority of each of these lists.
    pub fn is_accepted(&self, lists: &[&[Member]]) -> bool {
        self.is_majority(lists, |answer| answer.accepted)
    }

    /// Whether those that accepted and for which this holds are a majority of each of these lists.
    pub fn is_majority(&self, lists: &[&[Member]], holds: impl Fn(&Changed) -> bool) -> bool {
        let voices: Vec<Voice<'_>> = self.answers().map(|answer| answer.report.voice()).collect();
        let effective = effective(&voices);
        let counted = self
            .answers()
            .filter(|answer| answer.accepted && holds(answer))
            .map(|answer| answer.report.node)
            .filter(|node| effective.contains(node))
            .collect();
        lists
            .iter()
            .all(|list| has_majority(&counted, list.iter().map(|member| member.node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64) -> Member {
        Member {
            node,
            address: format!("n{node}:8081"),
        }
    }

    fn list(epoch: u64, nodes: &[u64]) -> List {
        List {
            epoch,
            members: nodes.iter().copied().map(member).collect(),
        }
    }

    fn change(node: u64) -> Change {
        Change {
            group: 7,
            node,
            step: Step::Propose { epoch: 2 },
        }
    }

    fn changed(node: u64) -> Changed {
        Changed {
            accepted: true,
            list: list(1, &[1, 2, 3]),
            open: None,
            report: Report {
                node,
                group: 7,
                incarnation: 1,
                known: BTreeMap::new(),
                promised: 2,
                listed: Vec::new(),
                marks: Vec::new(),
            },
        }
    }

    #[test]
    fn lists_are_checked() {
        assert_eq!(list(1, &[1, 2, 3]).check(), Ok(()));
        assert_eq!(list(1, &[1, 2]).check(), Err(Impossible::Count(2)));
        assert_eq!(list(1, &[]).check(), Err(Impossible::Count(0)));
        let many: Vec<u64> = (1..18).collect();
        assert_eq!(list(1, &many).check(), Err(Impossible::Count(17)));
        assert_eq!(list(1, &[1, 2, 2]).check(), Err(Impossible::Twice));
        assert_eq!(list(1, &[0, 1, 2]).check(), Err(Impossible::Member));
        assert_eq!(list(0, &[1]).check(), Err(Impossible::Epoch));
        let mut long = list(1, &[1]);
        long.members[0].address = "x".repeat(301);
        assert_eq!(long.check(), Err(Impossible::Member));
    }

    #[test]
    fn one_member_takes_the_place_of_another() {
        let old = list(1, &[1, 2, 3]);
        let new = old.with("n2:8081", member(4)).expect("it is a member");
        assert_eq!(new, list(2, &[1, 4, 3]).members);
        assert_eq!(old.with("n9:8081", member(4)), None);
    }

    #[test]
    fn a_change_needs_both_lists() {
        let (old, new) = (list(1, &[1, 2, 3]).members, list(2, &[1, 2, 4]).members);
        let tally = |nodes: &[u64]| {
            let mut tally = Tally::default();
            for node in nodes {
                assert!(tally.add(&change(*node), changed(*node)));
            }
            tally
        };
        assert!(tally(&[1, 2]).is_accepted(&[&old, &new]));
        assert!(!tally(&[1, 3]).is_accepted(&[&old, &new]));
        assert!(!tally(&[1, 4]).is_accepted(&[&old, &new]));
        assert!(tally(&[1, 3, 4]).is_accepted(&[&old, &new]));
        let mut refused = tally(&[1, 2]);
        let refusal = Changed {
            accepted: false,
            ..changed(2)
        };
        assert!(refused.add(&change(2), refusal));
        assert!(!refused.is_accepted(&[&old]));
        // A refusal is a witness as well.
        let mut outdated = tally(&[1, 2]);
        let mut witness = changed(3);
        witness.accepted = false;
        witness.report.known.insert(1, 2);
        assert!(outdated.add(&change(3), witness));
        assert!(!outdated.is_accepted(&[&old]));
        outdated.remove(3);
        assert!(outdated.is_accepted(&[&old]));
    }

    #[test]
    fn answers_to_something_else_are_not_counted() {
        let mut tally = Tally::default();
        let mut group = changed(1);
        group.report.group = 8;
        let mut marks = changed(1);
        marks.report.marks = vec![Some(1)];
        let mut open = changed(1);
        open.open = Some(list(2, &[1, 1, 2]));
        let impossible = Changed {
            list: list(1, &[1, 2]),
            ..changed(1)
        };
        for bad in [changed(2), group, marks, open, impossible] {
            assert!(!tally.add(&change(1), bad.clone()), "{bad:?}");
        }
        assert_eq!(tally.answers().count(), 0);
        let read = Change {
            step: Step::Read {
                epoch: 2,
                read: Read {
                    after: None,
                    keys: vec!["a".into()],
                },
            },
            ..change(1)
        };
        assert!(!tally.add(&read, changed(1)), "the mark is left out");
    }

    #[test]
    fn steps_are_exact_json() {
        let step = Step::Raise {
            epoch: 2,
            marks: vec![("k".into(), i64::MAX)],
        };
        let text = serde_json::to_string(&step).expect("JSON");
        assert_eq!(
            text,
            r#"{"raise":{"epoch":2,"marks":[["k",9223372036854775807]]}}"#
        );
        assert_eq!(serde_json::from_str::<Step>(&text).expect("a step"), step);
        for bad in [
            r#"{"raise":{"epoch":-1,"marks":[]}}"#,
            r#"{"raise":{"epoch":2,"marks":[["k",1.5]]}}"#,
            r#"{"erase":{}}"#,
            r#"{"propose":{"epoch":2,"force":true}}"#,
        ] {
            assert!(serde_json::from_str::<Step>(bad).is_err(), "{bad}");
        }
    }
}
