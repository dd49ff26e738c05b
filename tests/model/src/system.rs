//! The whole system: which steps it can take, what they do, and what must always hold.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::{
    action::Action,
    join,
    members::NodeSet,
    network::Message,
    node::{Mark, Node},
    proposer,
    reconfigure::{self, Stage},
    rule::Rule,
    state::State,
    vector::Vector,
};

/// No two spans that were handed out share an integer.
pub const UNIQUE: &str = "no integer is handed out twice";
/// If a span was handed out before another claim began, that claim gets greater integers.
pub const ORDER: &str = "later claims get greater integers";

/// How large a system is searched.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many claims begin, at most.
    pub claims: u8,
    /// The greatest integer of a claim.
    pub greatest: Mark,
    /// How many integers a claim has, at most.
    pub longest: Mark,
    /// How often a node loses its memory, at most; also while it joins.
    pub wipes: u8,
    /// Whether the member list is replaced.
    pub replace: bool,
    /// Whether other things can happen between the two steps of a node that writes something and
    /// then reads what it answers. Without pauses the search is much smaller.
    pub pauses: bool,
}

/// A rule, and how large a system that follows it is searched.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// The rule that everybody follows.
    pub rule: Rule,
    /// The size.
    pub bounds: Bounds,
}

impl System {
    /// The member lists, by epoch.
    pub fn lists(&self) -> &'static [NodeSet] {
        if self.bounds.replace {
            &[NodeSet::OLD, NodeSet::NEW]
        } else {
            &[NodeSet::OLD]
        }
    }

    /// Whether proposers may use the new member list.
    pub(crate) fn new_list_in_use(&self, state: &State) -> bool {
        self.bounds.replace && state.stage == Stage::InUse
    }

    /// What nodes can do, apart from joins and changes of the member list.
    fn node_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for name in state.names() {
            let node = state.node(name);
            for claim in state.network.claims() {
                let asked = self.lists()[usize::from(claim.epoch)].contains(name);
                let at_work = node
                    .unanswered
                    .iter()
                    .any(|unanswered| unanswered.claim == claim);
                if asked && !at_work && node.accepts(claim, self.rule) {
                    actions.push(Action::Accept(name, claim));
                }
            }
            for unanswered in &node.unanswered {
                let accepted = unanswered.early.is_none();
                if node.serves() && (accepted || node.accepts(unanswered.claim, self.rule)) {
                    actions.push(Action::Answer(name, *unanswered));
                }
            }
            if state.wipes < self.bounds.wipes {
                actions.push(Action::Wipe(name));
                if self.rule == Rule::VectorLost && node.serves() {
                    actions.push(Action::LoseVector(name));
                }
            }
        }
    }

    /// Takes one step.
    fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Begin { first, last, epoch } => proposer::begin(state, first, last, epoch),
            Action::Accept(name, claim) => {
                if state.handed_out.contains(&claim) {
                    // The claim is late: no proposer waits for the answer.
                    state.node_mut(name).take(claim, self.rule);
                } else {
                    state.node_mut(name).accept(claim, self.rule);
                }
            }
            Action::Answer(name, unanswered) => {
                let answer = state.node_mut(name).answer(name, unanswered, self.rule);
                state
                    .network
                    .send(Message::Accepted(unanswered.claim, answer));
            }
            Action::HandOut(claim) => proposer::hand_out(state, claim),
            Action::Wipe(name) => {
                state.wipes += 1;
                state.node_mut(name).wipe(self.rule);
            }
            Action::LoseVector(name) => {
                state.wipes += 1;
                state.node_mut(name).memory.known = Vector::default();
            }
            Action::AskIncarnation { joining, node } => {
                join::ask_incarnation(self, state, joining, node);
            }
            Action::WriteIncarnation {
                joining,
                incarnation,
                node,
            } => {
                join::write_incarnation(self, state, joining, incarnation, node);
            }
            Action::Report { joining, node } => join::report(self, state, joining, node),
            Action::TakeEpoch(name) => reconfigure::take_epoch(state, name),
            Action::ReportMark(name) => reconfigure::report_mark(state, name),
            Action::StartRaising(to) => reconfigure::start_raising(self, state, to),
            Action::RaiseMark(name, to) => reconfigure::raise_mark(state, name, to),
            Action::UseNewList => reconfigure::use_new_list(state),
            Action::HearNewList(name) => reconfigure::hear_new_list(state, name),
        }
    }

    /// The step that follows another immediately unless there are pauses.
    fn second_step(&self, state: &State, first: Action) -> Option<Action> {
        match first {
            Action::Accept(name, claim) => {
                let mut unanswered = state.node(name).unanswered.iter();
                let accepted = unanswered.find(|unanswered| unanswered.claim == claim)?;
                Some(Action::Answer(name, *accepted))
            }
            Action::WriteIncarnation { joining, node, .. } => {
                let awaited = state.node(joining).join?.awaits_report(node, self.rule);
                awaited.then_some(Action::Report { joining, node })
            }
            Action::TakeEpoch(name) if state.stage == Stage::Fencing => {
                Some(Action::ReportMark(name))
            }
            _ => None,
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: vec![Node::default(); if self.bounds.replace { 4 } else { 3 }],
            network: reconfigure::request(self).into_iter().collect(),
            handed_out: BTreeSet::new(),
            wipes: 0,
            stage: Stage::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        proposer::actions(self, state, actions);
        self.node_actions(state, actions);
        join::actions(self, state, actions);
        reconfigure::actions(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action);
        if !self.bounds.pauses
            && let Some(second) = self.second_step(&state, action)
        {
            self.step(&mut state, second);
        }
        Some(state)
    }

    /// A wrong rule is searched for the one property that it breaks. The search then ends at the
    /// first counterexample; breadth-first search finds the shortest.
    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(UNIQUE, |_, state: &State| state.is_unique()),
            Property::always(ORDER, |_, state: &State| state.is_ordered()),
        ];
        if let Some(broken) = self.rule.breaks() {
            properties.retain(|property| property.name == broken);
            return properties;
        }
        properties.push(Property::sometimes(
            "a span is handed out",
            |_, state: &State| !state.handed_out.is_empty(),
        ));
        if self.bounds.greatest > 1 {
            properties.push(Property::sometimes(
                "two spans are handed out",
                |_, state: &State| state.handed_out.len() > 1,
            ));
        }
        if self.bounds.wipes > 0 {
            properties.push(Property::sometimes(
                "the answer of a node that has joined again counts",
                |system, state: &State| proposer::joined_counts(system, state, 1),
            ));
            properties.push(Property::sometimes(
                "a majority has accepted a claim, but not at one time",
                proposer::outdated_majority,
            ));
        }
        if self.bounds.wipes > 1 {
            properties.push(Property::sometimes(
                "the answer of a node that has joined twice counts",
                |system, state: &State| proposer::joined_counts(system, state, 2),
            ));
        }
        if self.bounds.replace {
            properties.push(Property::sometimes(
                "the new list hands out a span",
                |_, state: &State| {
                    let mut epochs = state.handed_out.iter().map(|claim| claim.epoch);
                    epochs.any(|epoch| epoch == reconfigure::NEW_EPOCH)
                },
            ));
        }
        properties
    }
}
