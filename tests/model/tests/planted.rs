//! Every wrong rule breaks what the correct one keeps, and the search finds it.
//!
//! The steps of each shortest counterexample are printed: run with `--nocapture`.

use quorum_model::{
    rule::Rule,
    system::{Bounds, System},
};
use stateright::{Checker, Model};

/// The smallest system that is worth searching: two claims to the same integer.
const TWO_CLAIMS: Bounds = Bounds {
    claims: 2,
    greatest: 1,
    longest: 1,
    wipes: 0,
    replace: false,
    pauses: false,
};
/// The same, and a node loses its memory.
const WIPE: Bounds = Bounds {
    wipes: 1,
    ..TWO_CLAIMS
};
/// The same, and nodes pause between accepting and answering.
const WIPE_AND_PAUSES: Bounds = Bounds {
    pauses: true,
    ..WIPE
};
/// Two claims, and two nodes lose their memory, or one does so twice.
const TWO_WIPES: Bounds = Bounds {
    wipes: 2,
    ..TWO_CLAIMS
};
/// Two claims, and another member list.
const REPLACE: Bounds = Bounds {
    replace: true,
    ..TWO_CLAIMS
};
/// Two claims, another member list, and a node loses its memory.
const REPLACE_WIPE: Bounds = Bounds {
    replace: true,
    ..WIPE
};

/// Checks how many steps the shortest counterexample has.
#[track_caller]
fn assert_breaks(rule: Rule, bounds: Bounds, steps: usize) {
    let checker = System { rule, bounds }.checker().spawn_bfs().join();
    let broken = rule.breaks().expect("a wrong rule");
    let path = checker.assert_any_discovery(broken).into_actions();
    println!("{rule:?}: not \"{broken}\" after {} steps", path.len());
    for action in &path {
        println!("    {action:?}");
    }
    println!("{} states", checker.unique_state_count());
    assert_eq!(path.len(), steps, "steps of the shortest counterexample");
}

#[test]
fn any_larger_value() {
    let bounds = Bounds {
        greatest: 2,
        longest: 2,
        ..TWO_CLAIMS
    };
    assert_breaks(Rule::AnyLargerValue, bounds, 8);
}

#[test]
fn gaps_accepted() {
    let bounds = Bounds {
        greatest: 2,
        ..TWO_CLAIMS
    };
    assert_breaks(Rule::GapsAccepted, bounds, 8);
}

#[test]
fn lanes() {
    let bounds = Bounds {
        greatest: 2,
        ..TWO_CLAIMS
    };
    assert_breaks(Rule::Lanes, bounds, 8);
}

#[test]
fn no_vectors() {
    assert_breaks(Rule::NoVectors, WIPE, 13);
}

#[test]
fn vector_before_accepting() {
    assert_breaks(Rule::VectorBeforeAccepting, WIPE_AND_PAUSES, 19);
}

#[test]
fn answers_outlive_wipe() {
    assert_breaks(Rule::AnswersOutliveWipe, WIPE_AND_PAUSES, 19);
}

#[test]
fn back_at_zero() {
    assert_breaks(Rule::BackAtZero, WIPE, 9);
}

#[test]
fn vector_lost() {
    assert_breaks(Rule::VectorLost, TWO_WIPES, 14);
}

#[test]
fn mark_before_incarnation() {
    assert_breaks(Rule::MarkBeforeIncarnation, WIPE, 15);
}

#[test]
fn join_with_one_other() {
    assert_breaks(Rule::JoinWithOneOther, WIPE, 11);
}

#[test]
fn joining_nodes_answer() {
    assert_breaks(Rule::JoiningNodesAnswer, TWO_WIPES, 14);
}

#[test]
fn vector_not_copied() {
    assert_breaks(Rule::VectorNotCopied, TWO_WIPES, 18);
}

#[test]
fn incarnation_not_raised() {
    assert_breaks(Rule::IncarnationNotRaised, WIPE, 13);
}

#[test]
fn no_epoch() {
    assert_breaks(Rule::NoEpoch, REPLACE, 14);
}

#[test]
fn epoch_at_new_list_only() {
    assert_breaks(Rule::EpochAtNewListOnly, REPLACE, 15);
}

#[test]
fn marks_before_epoch() {
    assert_breaks(Rule::MarksBeforeEpoch, REPLACE, 16);
}

#[test]
fn no_raise() {
    assert_breaks(Rule::NoRaise, REPLACE, 12);
}

#[test]
fn join_with_old_list_only() {
    assert_breaks(Rule::JoinWithOldListOnly, REPLACE_WIPE, 19);
}

#[test]
fn join_with_new_list_only() {
    assert_breaks(Rule::JoinWithNewListOnly, REPLACE_WIPE, 13);
}

#[test]
fn change_without_vectors() {
    assert_breaks(Rule::ChangeWithoutVectors, REPLACE_WIPE, 20);
}

#[test]
fn open_nodes_answer_joins() {
    assert_breaks(Rule::OpenNodesAnswerJoins, REPLACE_WIPE, 20);
}
