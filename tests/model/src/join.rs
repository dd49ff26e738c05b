//! How a node that lost its memory joins again.
//!
//! It asks as many of the *other* nodes as make a majority (with three nodes: both), in four steps:
//! 1. Each reports the newest incarnation of the joining node that it knows. The new one is greater.
//! 2. Each writes the new incarnation to its disk.
//! 3. After that, each reports its mark, its vector and its epoch.
//! 4. The joining node writes the greatest of each to its disk, and serves.
//!
//! A node that is joining itself answers none of this.
//!
//! While the member list is replaced, a joining node asks a majority of both lists, itself not counted. Or, as the program
//! does, it asks nodes of one list: those which have heard that the list is in use and have taken no newer
//! epoch. If it hears of a newer list it begins anew.
//!
//! Requests and answers are matched, as on a connection of this one attempt, so a joining node and
//! one of the others act in one step. The message of step 2 can nevertheless be late and repeated.
//! A joining node that is wiped begins at step 1.

use crate::{
    action::Action,
    count,
    members::{NodeId, NodeSet},
    network::Message,
    node::{Epoch, Memory},
    rule::Rule,
    state::State,
    system::System,
    vector::Incarnation,
};

/// How far a joining node has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Join {
    /// The nodes that have reported which incarnation of the joining node they know.
    pub asked: NodeSet,
    /// The member list of those nodes, where the rule is that only nodes of one list are asked.
    pub list: Option<Epoch>,
    /// The newest incarnation that they reported.
    pub newest: Incarnation,
    /// The new incarnation, as soon as enough nodes were asked. While it is not chosen, no write
    /// counts: a late one may belong to an earlier attempt and have a smaller incarnation.
    pub incarnation: Option<Incarnation>,
    /// Those of them that have written the new incarnation.
    pub written: NodeSet,
    /// Those of them that have reported their mark, vector and epoch.
    pub reported: NodeSet,
    /// What the joining node will begin with.
    pub gathered: Memory,
}

impl Join {
    /// Whether the joining node waits for `node` to write this incarnation.
    fn awaits_write(&self, node: NodeId, incarnation: Incarnation, rule: Rule) -> bool {
        self.asked.contains(node)
            && !self.written.contains(node)
            && self.incarnation == Some(incarnation)
            && (rule != Rule::MarkBeforeIncarnation || self.reported.contains(node))
    }

    /// Whether the joining node waits for `node` to report its mark, vector and epoch.
    pub(crate) fn awaits_report(&self, node: NodeId, rule: Rule) -> bool {
        self.incarnation.is_some()
            && self.asked.contains(node)
            && !self.reported.contains(node)
            && (rule == Rule::MarkBeforeIncarnation || self.written.contains(node))
    }
}

/// Whether a joining node has asked enough others: of every member list as many as its majority.
fn has_asked_enough(system: &System, join: &Join) -> bool {
    let lists = system.lists();
    let asked = join.asked;
    match system.rule {
        Rule::JoinsWait | Rule::OpenNodesAnswerJoins => join
            .list
            .is_some_and(|list| count::has_majority(asked, &lists[usize::from(list)..][..1])),
        Rule::JoinWithOneOther => asked != NodeSet::default(),
        Rule::JoinWithOldListOnly => count::has_majority(asked, &lists[..1]),
        Rule::JoinWithNewListOnly => count::has_majority(asked, &lists[1..]),
        _ => count::has_majority(asked, lists),
    }
}

/// Whether a node answers a joining one, if it is asked.
fn answers(system: &System, state: &State, name: NodeId, joining: NodeId) -> bool {
    let node = state.node(name);
    if !system.rule.has_one_list_for_joins() {
        return node.serves() || system.rule == Rule::JoiningNodesAnswer;
    }
    let memory = node.memory;
    let list = system.lists()[usize::from(memory.in_use)];
    let has_other = state
        .node(joining)
        .join
        .is_some_and(|join| join.list > Some(memory.in_use));
    let open = memory.in_use < memory.epoch && system.rule != Rule::OpenNodesAnswerJoins;
    node.serves() && !open && !has_other && list.contains(name) && list.contains(joining)
}

/// Whether the joining node waits for this write, and the other one may still answer it.
fn is_awaited(
    system: &System,
    state: &State,
    joining: NodeId,
    incarnation: Incarnation,
    node: NodeId,
) -> bool {
    let list = state.node(node).memory.in_use;
    let same = |join: Join| join.list.is_none_or(|asked| asked == list);
    let awaits = |join: Join| join.awaits_write(node, incarnation, system.rule) && same(join);
    state.node(joining).join.is_some_and(awaits) && answers(system, state, node, joining)
}

/// What joining nodes can do in this state.
pub(crate) fn actions(system: &System, state: &State, actions: &mut Vec<Action>) {
    let answers_joins = |node: NodeId, joining: NodeId| answers(system, state, node, joining);
    for joining in state.names() {
        let Some(join) = &state.node(joining).join else {
            continue;
        };
        for node in state
            .names()
            .filter(|node| *node != joining && answers_joins(*node, joining))
        {
            if join
                .list
                .is_some_and(|list| list < state.node(node).memory.in_use)
            {
                // The joining node begins anew, with the newer list.
                actions.push(Action::AskIncarnation { joining, node });
                continue;
            }
            if join.incarnation.is_none() && !join.asked.contains(node) {
                actions.push(Action::AskIncarnation { joining, node });
            }
            if join.awaits_report(node, system.rule) {
                actions.push(Action::Report { joining, node });
            }
        }
    }
    for message in state.network.iter() {
        let Message::Incarnation(joining, incarnation, to) = message else {
            continue;
        };
        for node in to
            .iter()
            .filter(|node| state.node(*node).serves() || system.rule == Rule::JoiningNodesAnswer)
        {
            let awaited = is_awaited(system, state, joining, incarnation, node);
            let late = state.node(node).memory.known.of(joining) < incarnation
                && system.rule != Rule::MarkBeforeIncarnation;
            if awaited || late {
                actions.push(Action::WriteIncarnation {
                    joining,
                    incarnation,
                    node,
                });
            }
        }
    }
}

/// Step 1 at one node.
pub(crate) fn ask_incarnation(system: &System, state: &mut State, joining: NodeId, node: NodeId) {
    let known = state.node(node).memory.known.of(joining);
    let in_use = state.node(node).memory.in_use;
    let Some(join) = &mut state.node_mut(joining).join else {
        return;
    };
    if system.rule.has_one_list_for_joins() {
        if join.list.is_some_and(|list| list < in_use) {
            *join = Join::default();
        }
        join.list = Some(in_use);
    }
    join.asked.insert(node);
    join.newest = known.max(join.newest);
    if has_asked_enough(system, join) {
        let incarnation = match system.rule {
            Rule::IncarnationNotRaised => join.newest,
            _ => join.newest + 1,
        };
        join.incarnation = Some(incarnation);
        let request = Message::Incarnation(joining, incarnation, join.asked);
        state.network.send(request);
    }
}

/// Step 2 at one node, which may be late.
pub(crate) fn write_incarnation(
    system: &System,
    state: &mut State,
    joining: NodeId,
    incarnation: Incarnation,
    node: NodeId,
) {
    let awaited = is_awaited(system, state, joining, incarnation, node);
    state
        .node_mut(node)
        .memory
        .known
        .learn(joining, incarnation);
    if let Some(join) = &mut state.node_mut(joining).join
        && awaited
    {
        join.written.insert(node);
        finish(state, joining);
    }
}

/// Step 3 at one node.
pub(crate) fn report(system: &System, state: &mut State, joining: NodeId, node: NodeId) {
    let report = state.node(node).memory;
    let Some(join) = &mut state.node_mut(joining).join else {
        return;
    };
    join.reported.insert(node);
    join.gathered.mark = report.mark.max(join.gathered.mark);
    match join.list {
        Some(list) => (join.gathered.epoch, join.gathered.in_use) = (list, list),
        None => join.gathered.epoch = report.epoch.max(join.gathered.epoch),
    }
    if system.rule != Rule::VectorNotCopied {
        join.gathered.known.merge(report.known);
    }
    finish(state, joining);
}

/// Step 4, when all that were asked have done steps 2 and 3.
fn finish(state: &mut State, joining: NodeId) {
    let node = state.node_mut(joining);
    let Some(join) = node.join else { return };
    if let Some(incarnation) = join.incarnation
        && join.written == join.asked
        && join.reported == join.asked
    {
        node.memory = join.gathered;
        node.memory.incarnation = incarnation;
        node.memory.known.learn(joining, incarnation);
        node.join = None;
    }
}
