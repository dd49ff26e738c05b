//! Tests of the choice of hosts.

use super::*;
use proptest::prelude::*;

fn history(timeline: u32) -> History {
    History {
        system: "7".into(),
        timeline,
    }
}

/// A primary on this timeline.
fn primary(name: &str, timeline: u32) -> Seen {
    Seen {
        name: name.into(),
        read_only: false,
        started: name.into(),
        history: Some(history(timeline)),
    }
}

fn standby(name: &str, timeline: u32) -> Seen {
    Seen {
        read_only: true,
        ..primary(name, timeline)
    }
}

/// A primary that does not show its history.
fn hidden(name: &str) -> Seen {
    Seen {
        history: None,
        ..primary(name, 1)
    }
}

fn foreign(name: &str) -> Seen {
    Seen {
        history: Some(History {
            system: "8".into(),
            timeline: 9,
        }),
        ..primary(name, 1)
    }
}

/// None is a host that does not answer.
fn sights(hosts: &[Option<Seen>]) -> Vec<Sight> {
    let hosts = hosts.iter().map(|host| match host {
        Some(host) => Sight::Seen(host.clone()),
        None => Sight::Silent("x does not answer".into()),
    });
    hosts.collect()
}

/// The memory of a process that has used a primary on this timeline.
fn memory(used: Option<u32>) -> Memory {
    let mut memory = Memory::default();
    memory.uses(used.map(history).as_ref());
    memory
}

fn assert_waits(hosts: &[Option<Seen>], known: Option<u32>, says: &[&str]) {
    match choose(&sights(hosts), &memory(known)) {
        Choice::Wait(why) => {
            for text in says {
                assert!(why.contains(text), "no {text:?} in: {why}");
            }
        }
        other => panic!("{other:?}"),
    }
}

fn assert_refuses(hosts: &[Option<Seen>], known: Option<u32>, says: &[&str]) {
    match choose(&sights(hosts), &memory(known)) {
        Choice::Refuse(why) => {
            for text in says {
                assert!(why.contains(text), "no {text:?} in: {why}");
            }
        }
        other => panic!("{other:?}"),
    }
}

fn used(hosts: &[Option<Seen>], known: Option<u32>) -> Choice {
    choose(&sights(hosts), &memory(known))
}

#[test]
fn the_one_that_takes_writes_is_used() {
    let (a, b, c) = (standby("a", 1), primary("b", 1), standby("c", 1));
    let hosts = [Some(a.clone()), Some(b), Some(c.clone())];
    assert_eq!(used(&hosts, None), Choice::Use(1));
    assert_eq!(used(&hosts, Some(1)), Choice::Use(1));
    assert_eq!(
        used(&[None, Some(primary("b", 3))], Some(2)),
        Choice::Use(1)
    );
    assert_waits(
        &[Some(a), Some(c)],
        None,
        &["a is read-only", "c is read-only"],
    );
    assert_waits(&[None, None], None, &["x does not answer"]);
    assert_eq!(choose(&[], &memory(None)), Choice::Wait(String::new()));
}

#[test]
fn of_two_primaries_the_one_on_the_later_timeline_is_used() {
    let hosts = [Some(primary("old", 1)), Some(primary("new", 2))];
    assert_eq!(used(&hosts, None), Choice::Use(1));
    assert_eq!(used(&hosts, Some(2)), Choice::Use(1));
    let hosts = [
        Some(primary("c", 4)),
        Some(primary("b", 3)),
        Some(primary("a", 2)),
    ];
    assert_eq!(used(&hosts, Some(2)), Choice::Use(0));
}

#[test]
fn two_primaries_on_one_timeline_are_refused() {
    let hosts = [Some(primary("a:1", 2)), Some(primary("b:2", 2))];
    assert_refuses(&hosts, None, &["a:1 and b:2", "timeline 2", "pg_rewind"]);
    assert_refuses(&hosts, Some(2), &["a:1 and b:2"]);
    // A later one is above both.
    let hosts = [hosts[0].clone(), hosts[1].clone(), Some(primary("c", 3))];
    assert_eq!(used(&hosts, None), Choice::Use(2));
}

#[test]
fn two_names_of_one_server_are_one() {
    let by_name = Seen {
        name: "localhost".into(),
        ..primary("a", 1)
    };
    assert_eq!(
        used(&[Some(primary("a", 1)), Some(by_name)], None),
        Choice::Use(0)
    );
    let hidden_too = Seen {
        name: "localhost".into(),
        ..hidden("a")
    };
    assert_eq!(
        used(&[Some(hidden("a")), Some(hidden_too)], None),
        Choice::Use(0)
    );
}

#[test]
fn an_earlier_timeline_is_never_gone_back_to() {
    let old = [Some(primary("old", 1)), None];
    assert_eq!(used(&old, None), Choice::Use(0));
    assert_waits(
        &old,
        Some(2),
        &[
            "old is on timeline 1",
            "timeline 2 was seen before",
            "restart",
        ],
    );
    // Also not by a process that never used the later one, if a standby followed it.
    let followed = [Some(primary("old", 1)), None, Some(standby("s", 2))];
    assert_waits(
        &followed,
        None,
        &["old is on timeline 1", "s is on timeline 2"],
    );
    // A primary that was set to read-only is a witness as well.
    let fenced = [Some(standby("new", 2)), Some(primary("old", 1))];
    assert_waits(&fenced, None, &["new is on timeline 2", "new is read-only"]);
}

#[test]
fn what_was_seen_is_remembered() {
    // The witness answers once, and the old primary is not used then, nor later when it is all that answers.
    let old = [Some(primary("old", 1)), None];
    let mut memory = Memory::default();
    assert_eq!(choose(&sights(&old), &memory), Choice::Use(0));
    for hosts in [
        [None, Some(standby("s", 3))],
        [Some(primary("old", 1)), Some(standby("s", 2))],
        [Some(primary("old", 1)), Some(foreign("f"))],
    ] {
        memory.learn(&sights(&hosts));
        let Choice::Wait(why) = choose(&sights(&old), &memory) else {
            panic!("the old primary was used after {hosts:?}");
        };
        assert!(why.contains("timeline 3 was seen before"), "{why}");
    }
    assert_eq!(
        choose(&sights(&[Some(primary("new", 3))]), &memory),
        Choice::Use(0)
    );
    // Nothing of this system was used yet, so another one may be.
    assert_eq!(
        choose(&sights(&[Some(foreign("f"))]), &memory),
        Choice::Use(0)
    );
}

#[test]
fn the_memory_is_bounded() {
    let mut memory = Memory::default();
    for system in 0..2 * MAX_SYSTEMS {
        let history = History {
            system: format!("system {system}"),
            timeline: 1,
        };
        memory.learn(&sights(&[Some(Seen {
            history: Some(history),
            ..primary("a", 1)
        })]));
    }
    assert_eq!(memory.latest.len(), MAX_SYSTEMS);
    // That of the system that is used is remembered all the same.
    memory.uses(Some(&history(3)));
    assert_eq!(
        choose(&sights(&[Some(primary("new", 3))]), &memory),
        Choice::Use(0)
    );
    assert!(matches!(
        choose(&sights(&[Some(primary("old", 2))]), &memory),
        Choice::Wait(_)
    ));
}

#[test]
fn another_system_is_never_used() {
    let (own, other) = (Some(primary("own", 1)), Some(foreign("other")));
    let hosts = [own.clone(), other.clone()];
    assert_refuses(
        &hosts,
        None,
        &["own and other", "different system identifiers"],
    );
    assert_eq!(used(&hosts, Some(1)), Choice::Use(0));
    assert_refuses(
        std::slice::from_ref(&other),
        Some(1),
        &["other has another", "restart"],
    );
    assert_waits(&[other.clone(), None], Some(1), &["other has another"]);
    assert_eq!(used(&[other], None), Choice::Use(0));
    // Its timelines do not count.
    let standby = Seen {
        read_only: true,
        ..foreign("standby")
    };
    assert_eq!(used(&[own, Some(standby)], Some(1)), Choice::Use(0));
}

#[test]
fn what_is_not_shown_is_not_guessed() {
    assert_eq!(
        used(&[Some(hidden("a")), Some(standby("b", 1))], None),
        Choice::Use(0)
    );
    let two = [Some(hidden("a")), Some(primary("b", 2))];
    assert_refuses(&two, None, &["a and b", "pg_control_system"]);
    let two = [Some(primary("b", 2)), Some(hidden("a"))];
    assert_refuses(&two, None, &["b and a", "pg_control_system"]);
    assert_waits(&[Some(hidden("a"))], Some(1), &["pg_control_system"]);
}

fn any_sight() -> impl Strategy<Value = Option<Seen>> {
    let seen = (0..4_u32, any::<bool>(), 0..3_u32, 0..3_u32).prop_map(
        |(name, read_only, system, timeline)| Seen {
            name: name.to_string(),
            read_only,
            started: name.to_string(),
            history: (system > 0).then(|| History {
                system: system.to_string(),
                timeline,
            }),
        },
    );
    proptest::option::of(seen)
}

proptest! {
    /// Whatever is used takes writes, is on the latest timeline that anyone has seen, and no other
    /// server that takes writes is as good.
    #[test]
    fn whatever_is_used_is_the_only_one(
        hosts in proptest::collection::vec(any_sight(), 0..5),
        known in proptest::option::of(0..3_u32),
    ) {
        let known = known.map(|timeline| History { system: "1".into(), timeline });
        let mut memory = Memory::default();
        memory.uses(known.as_ref());
        if let Choice::Use(number) = choose(&sights(&hosts), &memory) {
            let chosen = hosts[number].clone().expect("it answered");
            prop_assert!(!chosen.read_only);
            if let Some(known) = &known {
                let own = chosen.history.clone().expect("it is known");
                prop_assert_eq!(&own.system, &known.system);
                prop_assert!(own.timeline >= known.timeline);
            }
            for other in hosts.iter().flatten() {
                let Some(own) = &chosen.history else { continue };
                let Some(theirs) = &other.history else { continue };
                if own.system == theirs.system {
                    prop_assert!(own.timeline >= theirs.timeline);
                    prop_assert!(
                        own.timeline > theirs.timeline || other.read_only || chosen.is_same(other)
                    );
                }
            }
        }
    }
}
