//! The correct rule keeps its promises in every state that systems of these sizes can reach.
//!
//! The larger searches run with
//! `cargo test -p quorum-model --release --test safe -- --ignored --test-threads 1 --nocapture`.

use quorum_model::{
    rule::Rule,
    symmetry,
    system::{Bounds, System},
};
use stateright::{Checker, Model};

/// Two claims of one or two integers each, from 1 to 3; nothing is lost and nothing replaced.
const BOUNDS: Bounds = Bounds {
    claims: 2,
    greatest: 3,
    longest: 2,
    wipes: 0,
    replace: false,
    pauses: true,
};

/// Searches all states of the rule of the design. The properties that must always hold do, and each of those that show that
/// the system does something holds at least once.
#[track_caller]
fn assert_safe(bounds: Bounds) {
    assert_rule_is_safe(Rule::Correct, bounds);
}

/// The same for one of the correct rules.
#[track_caller]
fn assert_rule_is_safe(rule: Rule, bounds: Bounds) {
    let checker = System { rule, bounds }
        .checker()
        .threads(2)
        .symmetry_fn(symmetry::representative)
        .spawn_dfs()
        .join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn claims() {
    assert_safe(Bounds {
        claims: 3,
        greatest: 4,
        ..BOUNDS
    });
}

#[test]
fn four_claims() {
    assert_safe(Bounds {
        claims: 4,
        greatest: 4,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
fn one_wipe() {
    assert_safe(Bounds {
        claims: 3,
        wipes: 1,
        ..BOUNDS
    });
}

#[test]
fn two_wipes() {
    assert_safe(Bounds { wipes: 2, ..BOUNDS });
}

#[test]
fn two_wipes_of_three_claims() {
    assert_safe(Bounds {
        claims: 3,
        greatest: 2,
        wipes: 2,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
fn three_wipes() {
    assert_safe(Bounds {
        greatest: 2,
        wipes: 3,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
fn another_list() {
    assert_safe(Bounds {
        replace: true,
        ..BOUNDS
    });
}

#[test]
fn another_list_and_three_claims() {
    assert_safe(Bounds {
        claims: 3,
        longest: 1,
        replace: true,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
fn another_list_and_one_wipe() {
    assert_safe(Bounds {
        greatest: 2,
        wipes: 1,
        replace: true,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
fn another_list_and_one_wipe_and_joins_that_wait() {
    let bounds = Bounds {
        greatest: 2,
        wipes: 1,
        replace: true,
        pauses: false,
        ..BOUNDS
    };
    assert_rule_is_safe(Rule::JoinsWait, bounds);
}

/// Without the reduction by names, which could hide a state if it were wrong.
#[test]
fn every_name() {
    let bounds = Bounds {
        greatest: 2,
        wipes: 1,
        ..BOUNDS
    };
    let system = System {
        rule: Rule::Correct,
        bounds,
    };
    let checker = system.checker().threads(2).spawn_dfs().join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
#[ignore = "takes half a minute"]
fn two_wipes_of_three_longer_claims() {
    assert_safe(Bounds {
        claims: 3,
        wipes: 2,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
#[ignore = "takes minutes"]
fn one_wipe_of_four_claims() {
    assert_safe(Bounds {
        claims: 4,
        greatest: 4,
        wipes: 1,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
#[ignore = "takes minutes"]
fn two_wipes_of_four_claims() {
    assert_safe(Bounds {
        claims: 4,
        greatest: 2,
        wipes: 2,
        pauses: false,
        ..BOUNDS
    });
}

#[test]
#[ignore = "takes minutes"]
fn two_wipes_of_three_claims_with_pauses() {
    assert_safe(Bounds {
        claims: 3,
        greatest: 2,
        wipes: 2,
        ..BOUNDS
    });
}

#[test]
#[ignore = "takes minutes"]
fn another_list_and_one_wipe_with_pauses() {
    assert_safe(Bounds {
        greatest: 1,
        longest: 1,
        wipes: 1,
        replace: true,
        ..BOUNDS
    });
}

#[test]
#[ignore = "takes minutes"]
fn another_list_and_two_wipes() {
    assert_safe(Bounds {
        greatest: 1,
        longest: 1,
        wipes: 2,
        replace: true,
        pauses: false,
        ..BOUNDS
    });
}
