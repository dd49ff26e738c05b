//! Which answers count, and when they are enough.

use crate::Answer;
use std::collections::{BTreeMap, BTreeSet};

/// What every answer of a node says of the node itself.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    /// The node.
    pub node: u64,
    /// The incarnation under which it did what was asked.
    pub incarnation: u64,
    /// What it knew of the others' incarnations after that.
    pub known: &'a BTreeMap<u64, u64>,
}

impl<'a> Voice<'a> {
    /// What an answer to a claim says.
    pub(crate) fn of(answer: &'a Answer) -> Self {
        Self {
            node: answer.node,
            incarnation: answer.incarnation,
            known: &answer.known,
        }
    }
}

/// Whether an answer counts: no answer knows a newer incarnation of its node. Otherwise the node may have forgotten what it
/// answered.
pub fn is_effective<'a>(voice: Voice<'a>, all: impl IntoIterator<Item = Voice<'a>>) -> bool {
    !all.into_iter().any(|other| {
        let newest = other.known.get(&voice.node);
        newest.is_some_and(|newest| *newest > voice.incarnation)
            || (other.node == voice.node && other.incarnation > voice.incarnation)
    })
}

/// The nodes whose answers count, as [`is_effective`].
pub fn effective(voices: &[Voice<'_>]) -> BTreeSet<u64> {
    let all = || voices.iter().copied();
    let counted = all().filter(|voice| is_effective(*voice, all()));
    counted.map(|voice| voice.node).collect()
}

/// Whether these nodes are a majority of the members.
pub fn has_majority(nodes: &BTreeSet<u64>, members: impl IntoIterator<Item = u64>) -> bool {
    let members: BTreeSet<u64> = members.into_iter().collect();
    nodes.intersection(&members).count() >= majority(members.len())
}

/// The size of a majority among this many nodes.
pub fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_forgot_its_answer_does_not_count() {
        let nothing = BTreeMap::new();
        let newer = BTreeMap::from([(1, 2)]);
        let voice = |node, incarnation, known| Voice {
            node,
            incarnation,
            known,
        };
        let both = [voice(1, 1, &nothing), voice(2, 1, &nothing)];
        assert_eq!(effective(&both), [1, 2].into());
        let outdated = [voice(1, 1, &nothing), voice(2, 1, &newer)];
        assert_eq!(effective(&outdated), [2].into());
        let joined = [voice(1, 2, &nothing), voice(2, 1, &newer)];
        assert_eq!(effective(&joined), [1, 2].into());
    }

    #[test]
    fn majorities_are_of_members() {
        assert!(has_majority(&[1, 2].into(), [1, 2, 3]));
        assert!(!has_majority(&[1, 9].into(), [1, 2, 3]));
        assert!(!has_majority(&[1].into(), [1, 1, 2]));
        assert!(!has_majority(&[].into(), []));
    }
}
