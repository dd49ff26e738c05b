//! Counts the answers to one claim.

use crate::{Answer, MAX_MEMBERS, Voice, is_effective, majority};
use std::collections::BTreeMap;

/// The answers to one claim so far, at most one for each node.
///
/// An acceptance counts only if no answer in the ballot knows a newer incarnation of its node: otherwise
/// the node may have forgotten it.
#[derive(Debug)]
pub struct Ballot {
    /// How many nodes were asked.
    asked: usize,
    /// The group that all answers must have: that of the first answer, if none was known before.
    group: Option<u64>,
    /// Whether the group was known before.
    known: bool,
    /// The nodes that belong to other groups, and those groups.
    strangers: BTreeMap<u64, u64>,
    /// The number of the member list that the claim is for.
    epoch: u64,
    answers: BTreeMap<u64, Answer>,
}

/// Answers that cannot be counted together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// A node of another group answered.
    #[error("others belong to group {0}, and this one to group {1}")]
    Groups(u64, u64),
    /// The group does not have as many members as nodes were asked.
    #[error("the group has {members} members, but {asked} nodes are listed")]
    Size {
        /// How many members the group has.
        members: usize,
        /// How many nodes were asked.
        asked: usize,
    },
    /// A node that is not a member answered, or one answered under two addresses.
    #[error("node {0} is listed twice, or is not a member of the group")]
    Member(u64),
    /// The node has not heard of the member list yet. It may later.
    #[error("the node knows the member list {0} only, and not yet the one in force")]
    Behind(u64),
    /// The node has a newer member list: the claim has to be made for that one.
    #[error("the members are those of list {epoch}: {}", addresses.join(","))]
    Newer {
        /// The number of that list.
        epoch: u64,
        /// The addresses of its members.
        addresses: Vec<String>,
    },
}

impl Ballot {
    /// A ballot for a claim at this many nodes, of a certain group if it is known, for the member list with this
    /// number.
    pub fn new(asked: usize, group: Option<u64>, epoch: u64) -> Self {
        Self {
            asked,
            group,
            known: group.is_some(),
            strangers: BTreeMap::new(),
            epoch,
            answers: BTreeMap::new(),
        }
    }

    /// How many nodes were asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Adds the answer of a node.
    ///
    /// # Errors
    /// [`Disagreement`] if the answer does not belong to this ballot. Then it is not counted.
    pub fn add(&mut self, answer: Answer) -> Result<(), Disagreement> {
        let size = answer.members.len();
        if size != self.asked || size > MAX_MEMBERS {
            return Err(Disagreement::Size {
                members: size,
                asked: self.asked,
            });
        }
        if let Some(group) = self.group.filter(|group| *group != answer.group) {
            self.strangers.insert(answer.node, answer.group);
            return Err(Disagreement::Groups(group, answer.group));
        }
        if answer.epoch < self.epoch {
            return Err(Disagreement::Behind(answer.epoch));
        }
        if answer.epoch > self.epoch {
            return Err(Disagreement::Newer {
                epoch: answer.epoch,
                addresses: answer.addresses,
            });
        }
        let listed = |node| answer.members.iter().filter(|m| **m == node).count();
        let unique = answer.members.iter().all(|member| listed(*member) == 1);
        let same = |other: &Answer| other.members.iter().all(|member| listed(*member) == 1);
        if listed(answer.node) != 1
            || !unique
            || !self.answers.values().all(same)
            || self.answers.contains_key(&answer.node)
        {
            return Err(Disagreement::Member(answer.node));
        }
        self.group = Some(answer.group);
        self.answers.insert(answer.node, answer);
        Ok(())
    }

    /// The group, if it was known before or a majority has answered as its members. The first answer alone may be that of
    /// a node that is listed by mistake.
    pub fn group(&self) -> Option<u64> {
        let settled = self.known || self.answers.len() >= majority(self.asked);
        self.group.filter(|_| settled)
    }

    /// The group of a majority, if the first answer was that of a member of another one. A new ballot is needed.
    pub fn other_group(&self) -> Option<u64> {
        if self.known {
            return None;
        }
        let groups = || self.strangers.values().copied();
        let members = |group| groups().filter(|other| *other == group).count();
        groups().find(|group| members(*group) >= majority(self.asked))
    }

    /// The number of the member list.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The greatest mark in the answers; None as long as the [group](Self::group) is not known.
    pub fn mark(&self) -> Option<i64> {
        self.group()?;
        self.answers.values().filter_map(|answer| answer.mark).max()
    }

    /// Whether a majority has accepted the claim, and has not forgotten that.
    pub fn is_accepted(&self) -> bool {
        self.is_majority(|answer| answer.accepted)
    }

    /// Whether a majority has a mark of at least this, and has not forgotten it.
    pub fn has_reached(&self, mark: i64) -> bool {
        self.is_majority(|answer| answer.mark >= Some(mark))
    }

    /// Whether a majority has answered, and has not forgotten what it answered.
    pub fn is_read(&self) -> bool {
        self.is_majority(|_| true)
    }

    /// Whether a node of the [group](Self::group) refused a claim that begins at `first`, because others have taken integers
    /// from there.
    pub fn has_refused(&self, first: i64) -> bool {
        let mut refused = self.answers.values().filter(|answer| !answer.accepted);
        self.group().is_some() && refused.any(|answer| answer.mark >= Some(first))
    }

    /// Whether a node that accepted the claim had refused others before.
    pub fn is_contended(&self) -> bool {
        self.answers.values().any(|answer| answer.contended)
    }

    /// Whether no further answer can complete a majority that has accepted.
    pub fn is_hopeless(&self) -> bool {
        let open = self.asked.saturating_sub(self.answers.len());
        self.effective(|answer| answer.accepted) + open < majority(self.asked)
    }

    fn is_majority(&self, counts: impl Fn(&Answer) -> bool) -> bool {
        self.effective(counts) >= majority(self.asked)
    }

    /// How many answers count, of those that `counts` selects.
    fn effective(&self, counts: impl Fn(&Answer) -> bool) -> usize {
        let voices = || self.answers.values().map(Voice::of);
        let counted = self.answers.values().filter(|answer| counts(answer));
        counted
            .filter(|answer| is_effective(Voice::of(answer), voices()))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(node: u64, accepted: bool) -> Answer {
        Answer {
            node,
            group: 7,
            epoch: 1,
            members: vec![1, 2, 3],
            addresses: Vec::new(),
            accepted,
            contended: false,
            mark: Some(10),
            incarnation: 1,
            known: BTreeMap::new(),
        }
    }

    fn ballot(answers: impl IntoIterator<Item = Answer>) -> Ballot {
        let mut ballot = Ballot::new(3, None, 1);
        for answer in answers {
            ballot.add(answer).expect("it belongs here");
        }
        ballot
    }

    #[test]
    fn a_majority_decides() {
        assert!(!ballot([answer(1, true)]).is_accepted());
        assert!(ballot([answer(1, true), answer(3, true)]).is_accepted());
        let split = ballot([answer(1, true), answer(2, false)]);
        assert!(!split.is_accepted() && !split.is_hopeless() && split.has_reached(10));
        let refused = ballot([answer(1, false), answer(2, false)]);
        assert!(refused.is_hopeless() && refused.is_read() && !refused.has_reached(11));
        assert_eq!(refused.mark(), Some(10));
    }

    #[test]
    fn an_acceptance_that_its_node_has_forgotten_does_not_count() {
        let mut witness = answer(2, true);
        witness.known.insert(1, 2);
        let both = ballot([answer(1, true), witness.clone()]);
        assert!(!both.is_accepted() && !both.has_reached(1) && !both.is_read());
        let with_third = ballot([answer(1, true), witness.clone(), answer(3, true)]);
        assert!(with_third.is_accepted(), "the other two are a majority");
        let mut joined = answer(1, true);
        joined.incarnation = 2;
        assert!(ballot([joined, witness]).is_accepted());
        // A refusal is a witness as well.
        let mut refusal = answer(3, false);
        refusal.known.insert(1, 2);
        let three = ballot([answer(1, true), answer(2, true), refusal]);
        assert!(!three.is_accepted());
    }

    #[test]
    fn answers_that_do_not_belong_together_are_refused() {
        let mut ballot = ballot([answer(1, true)]);
        assert_eq!(ballot.add(answer(1, true)), Err(Disagreement::Member(1)));
        assert_eq!(ballot.add(answer(9, true)), Err(Disagreement::Member(9)));
        let other = Answer {
            group: 8,
            ..answer(2, true)
        };
        assert_eq!(ballot.add(other), Err(Disagreement::Groups(7, 8)));
        assert_eq!(ballot.other_group(), None, "it is one of three");
        let larger = Answer {
            members: vec![1, 2, 3, 4, 5],
            ..answer(2, true)
        };
        assert!(matches!(
            ballot.add(larger),
            Err(Disagreement::Size {
                members: 5,
                asked: 3
            })
        ));
        let twice = Answer {
            members: vec![1, 2, 2],
            ..answer(1, true)
        };
        assert!(Ballot::new(3, None, 1).add(twice).is_err());
        assert!(!ballot.is_accepted());
    }

    /// The group is that of a majority, whoever answers first.
    #[test]
    fn a_stranger_that_answers_first_does_not_decide_the_group() {
        let stranger = Answer {
            group: 8,
            mark: Some(1000),
            members: vec![7, 8, 9],
            ..answer(9, false)
        };
        let mut unknown = ballot([stranger.clone()]);
        assert_eq!((unknown.group(), unknown.mark()), (None, None));
        assert!(!unknown.has_refused(1));
        assert_eq!(
            unknown.add(answer(1, true)),
            Err(Disagreement::Groups(8, 7))
        );
        // Under two addresses it is still one node.
        assert_eq!(
            unknown.add(answer(1, true)),
            Err(Disagreement::Groups(8, 7))
        );
        assert_eq!(unknown.other_group(), None);
        assert!(unknown.add(answer(2, true)).is_err());
        assert_eq!(unknown.other_group(), Some(7));
        // A client that knows its group stays there.
        let mut known = Ballot::new(3, Some(8), 1);
        assert_eq!(known.add(stranger), Ok(()));
        assert!(known.add(answer(1, true)).is_err() && known.add(answer(2, true)).is_err());
        assert_eq!((known.group(), known.other_group()), (Some(8), None));
        assert_eq!(known.mark(), Some(1000));
    }

    #[test]
    fn answers_for_other_member_lists_are_not_counted() {
        let mut ballot = ballot([answer(1, true)]);
        let behind = Answer {
            epoch: 0,
            ..answer(2, true)
        };
        assert_eq!(ballot.add(behind), Err(Disagreement::Behind(0)));
        let newer = Answer {
            epoch: 5,
            addresses: vec!["a:1".into()],
            ..answer(2, true)
        };
        let error = ballot
            .add(newer.clone())
            .expect_err("it is for another list");
        assert!(error.to_string().contains("list 5: a:1"), "{error}");
        assert!(matches!(error, Disagreement::Newer { epoch: 5, .. }));
        assert!(!ballot.is_accepted() && !ballot.is_read());
        // The list of another group is none of ours.
        let foreign = Answer { group: 8, ..newer };
        assert_eq!(ballot.add(foreign), Err(Disagreement::Groups(7, 8)));
        // Two lists under one number.
        let other = Answer {
            members: vec![1, 2, 4],
            ..answer(2, true)
        };
        assert_eq!(ballot.add(other), Err(Disagreement::Member(2)));
        assert!(ballot.add(answer(3, true)).is_ok() && ballot.is_accepted());
    }

    proptest! {
        /// Whatever the answers are, two claims are never both accepted by disjoint sets of nodes.
        #[test]
        fn two_majorities_share_a_node(accepts in prop::collection::vec(any::<bool>(), 5)) {
            let members: Vec<u64> = (0..5).collect();
            let vote = |yes: &dyn Fn(usize) -> bool| {
                let mut ballot = Ballot::new(5, None, 1);
                for node in 0..5 {
                    ballot
                        .add(Answer {
                            node: node as u64,
                            members: members.clone(),
                            accepted: yes(node),
                            ..answer(1, true)
                        })
                        .expect("it belongs here");
                }
                ballot.is_accepted()
            };
            let one = vote(&|node| accepts[node]);
            let other = vote(&|node| !accepts[node]);
            prop_assert!(!(one && other));
        }
    }
}
