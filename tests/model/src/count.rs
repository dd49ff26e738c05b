//! Which answers count, and when they are enough.

use crate::{members::NodeSet, network::Answer, rule::Rule};

/// The nodes whose answer is effective.
///
/// An answer is effective unless another answer in the same set knows of a newer incarnation of
/// that node: then the node may have forgotten what it answered.
pub fn effective(answers: &[Answer], rule: Rule) -> NodeSet {
    answers
        .iter()
        .filter(|answer| {
            let outdated = |other: &Answer| other.known.of(answer.node) > answer.incarnation;
            rule == Rule::NoVectors || !answers.iter().any(outdated)
        })
        .map(|answer| answer.node)
        .collect()
}

/// Whether the set has a majority of every one of these member lists.
pub fn has_majority(nodes: NodeSet, lists: &[NodeSet]) -> bool {
    lists
        .iter()
        .all(|list| nodes.count_of(*list) >= list.majority())
}

/// Those of the sets of answers that may have arrived which are enough: their effective answers
/// are from a majority of every one of these lists.
pub fn sufficient<T: Copy>(
    in_flight: &[T],
    answer: impl Fn(&T) -> Answer,
    lists: &[NodeSet],
    rule: Rule,
) -> impl Iterator<Item = Vec<T>> {
    let senders: NodeSet = in_flight
        .iter()
        .map(|message| answer(message).node)
        .collect();
    let sets = if has_majority(senders, lists) {
        1_u32 << in_flight.len()
    } else {
        0
    };
    (0..sets).filter_map(move |set| {
        let arrived: Vec<T> = (0..in_flight.len())
            .filter(|position| set & (1 << position) != 0)
            .map(|position| in_flight[position])
            .collect();
        let answers: Vec<Answer> = arrived.iter().map(&answer).collect();
        has_majority(effective(&answers, rule), lists).then_some(arrived)
    })
}
