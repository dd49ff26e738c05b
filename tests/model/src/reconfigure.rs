//! How the member list is replaced: D takes the place of C.
//!
//! 1. Nodes take the new epoch, and from then on refuse claims of the old one. Afterwards they
//!    report their marks. This goes on until a majority of each of the two lists has answered.
//! 2. The nodes of the new list raise their marks to the greatest that nodes of the old list
//!    reported. This goes on until a majority of the new list has answered.
//! 3. Proposers use the new list.
//!
//! Answers are counted by the same rule as those to a claim. Nodes of the old list that have not
//! taken the epoch continue to accept claims.

use crate::{
    action::Action,
    count,
    members::{NodeId, NodeSet},
    network::{Answer, Message},
    node::{Epoch, Mark},
    rule::Rule,
    state::State,
    system::System,
};

/// The epoch of the new member list; that of the old one is 0.
pub const NEW_EPOCH: Epoch = 1;

/// How far the change of the member list has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nodes take the epoch and report their marks.
    #[default]
    Fencing,
    /// Nodes of the new list raise their marks.
    Raising,
    /// Proposers use the new list.
    InUse,
}

/// The message with which the change begins. It is in flight from the start, and can be delivered
/// at any time.
pub(crate) fn request(system: &System) -> Option<Message> {
    let sent = system.bounds.replace && system.rule != Rule::NoEpoch;
    sent.then_some(Message::Epoch)
}

/// What can happen in this state because of the change.
pub(crate) fn actions(system: &System, state: &State, actions: &mut Vec<Action>) {
    if !system.bounds.replace {
        return;
    }
    for name in state.names().filter(|name| state.node(*name).serves()) {
        if !is_fenced(state, name) && is_asked_to_fence(system, state, name) {
            actions.push(Action::TakeEpoch(name));
        }
        if state.stage == Stage::Fencing
            && (is_fenced(state, name) || reports_early(system.rule))
            && !has_answered(state, name, state.network.marks().map(|(answer, _)| answer))
        {
            actions.push(Action::ReportMark(name));
        }
    }
    for message in state.network.iter() {
        let Message::Raise(to) = message else {
            continue;
        };
        for name in NodeSet::NEW
            .iter()
            .filter(|name| state.node(*name).serves())
        {
            if state.node(name).memory.mark < to || raised_is_missing(state, name) {
                actions.push(Action::RaiseMark(name, to));
            }
        }
    }
    match state.stage {
        Stage::Fencing => {
            let mut marks = greatest_marks(system, state);
            marks.sort_unstable();
            marks.dedup();
            actions.extend(marks.into_iter().map(Action::StartRaising));
        }
        Stage::Raising => {
            let raised: Vec<Answer> = state.network.raised().collect();
            let rule = counting(system.rule);
            let mut enough = count::sufficient(&raised, |answer| *answer, &[NodeSet::NEW], rule);
            if enough.next().is_some() {
                actions.push(Action::UseNewList);
            }
        }
        Stage::InUse if system.rule.has_one_list_for_joins() => {
            let names = state.names().filter(|name| state.node(*name).serves());
            let behind = names.filter(|name| state.node(*name).memory.in_use < NEW_EPOCH);
            actions.extend(behind.map(Action::HearNewList));
        }
        Stage::InUse => {}
    }
}

fn is_fenced(state: &State, name: NodeId) -> bool {
    state.node(name).memory.epoch >= NEW_EPOCH
}

fn is_asked_to_fence(system: &System, state: &State, name: NodeId) -> bool {
    state.network.contains(Message::Epoch)
        && (system.rule != Rule::EpochAtNewListOnly || NodeSet::NEW.contains(name))
}

/// Whether nodes report their marks although they have not taken the epoch.
fn reports_early(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::NoEpoch | Rule::EpochAtNewListOnly | Rule::MarksBeforeEpoch
    )
}

/// The rule by which the answers are counted.
fn counting(rule: Rule) -> Rule {
    match rule {
        Rule::ChangeWithoutVectors => Rule::NoVectors,
        rule => rule,
    }
}

/// Whether one of these answers is from this node under its present incarnation.
///
/// Then the node need not answer once more. A later answer has the same incarnation and no smaller
/// mark and vector: whatever can go wrong with it can go wrong with the earlier one.
fn has_answered(state: &State, name: NodeId, mut answers: impl Iterator<Item = Answer>) -> bool {
    let incarnation = state.node(name).memory.incarnation;
    answers.any(|answer| answer.node == name && answer.incarnation == incarnation)
}

/// Whether the node's answer that it has raised its mark is still missing.
fn raised_is_missing(state: &State, name: NodeId) -> bool {
    state.stage == Stage::Raising && !has_answered(state, name, state.network.raised())
}

/// The marks to which the new list may have to be raised: one for each set of answers that may
/// have arrived and is enough.
fn greatest_marks(system: &System, state: &State) -> Vec<Mark> {
    // The lists that have to answer. Where a wrong rule has marks reported early, the lists that
    // have to take the epoch are separate.
    let (lists, epochs): (&[NodeSet], &[NodeSet]) = match system.rule {
        Rule::NoEpoch => (&[NodeSet::OLD], &[]),
        Rule::EpochAtNewListOnly => (&[NodeSet::OLD], &[NodeSet::NEW]),
        Rule::MarksBeforeEpoch => (&[NodeSet::OLD], &[NodeSet::OLD, NodeSet::NEW]),
        _ => (&[NodeSet::OLD, NodeSet::NEW], &[]),
    };
    let fenced = state
        .names()
        .filter(|name| is_fenced(state, *name))
        .collect();
    if !count::has_majority(fenced, epochs) {
        return Vec::new();
    }
    let rule = counting(system.rule);
    let reports: Vec<(Answer, Mark)> = state.network.marks().collect();
    count::sufficient(&reports, |(answer, _)| *answer, lists, rule)
        .filter_map(|arrived| {
            let answers: Vec<Answer> = arrived.iter().map(|(answer, _)| *answer).collect();
            let effective = count::effective(&answers, rule);
            arrived
                .iter()
                .filter(|(answer, _)| effective.contains(answer.node))
                .filter(|(answer, _)| NodeSet::OLD.contains(answer.node))
                .map(|(_, mark)| *mark)
                .max()
        })
        .collect()
}

/// A node takes the new epoch.
pub(crate) fn take_epoch(state: &mut State, name: NodeId) {
    state.node_mut(name).memory.epoch = NEW_EPOCH;
}

/// A node reports its mark.
pub(crate) fn report_mark(state: &mut State, name: NodeId) {
    let node = state.node(name);
    let report = Message::Mark(node.introduction(name), node.memory.mark);
    state.network.send(report);
}

/// There are enough answers: the nodes of the new list are asked to raise their marks.
pub(crate) fn start_raising(system: &System, state: &mut State, to: Mark) {
    state
        .network
        .forget(|message| matches!(message, Message::Mark(..)));
    if system.rule == Rule::NoRaise {
        state.stage = Stage::InUse;
    } else {
        state.stage = Stage::Raising;
        state.network.send(Message::Raise(to));
    }
}

/// A node raises its mark and answers.
pub(crate) fn raise_mark(state: &mut State, name: NodeId, to: Mark) {
    let node = state.node_mut(name);
    node.memory.mark = to.max(node.memory.mark);
    if raised_is_missing(state, name) {
        let raised = Message::Raised(state.node(name).introduction(name));
        state.network.send(raised);
    }
}

/// There are enough answers: proposers use the new list.
pub(crate) fn use_new_list(state: &mut State) {
    state
        .network
        .forget(|message| matches!(message, Message::Raised(_)));
    state.stage = Stage::InUse;
}

/// A node hears that the new list is in use.
pub(crate) fn hear_new_list(state: &mut State, name: NodeId) {
    let memory = &mut state.node_mut(name).memory;
    memory.epoch = NEW_EPOCH;
    memory.in_use = NEW_EPOCH;
}
