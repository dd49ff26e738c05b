use super::*;
use proptest::prelude::*;

fn id(text: &str) -> Option<Id> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A primary with its current and previous history.
fn primary(host: &str, replid: &str, replid2: &str) -> Seen {
    Seen {
        host: host.to_owned(),
        report: Report {
            role: Role::Primary,
            replid: id(replid),
            replid2: id(replid2),
            run: Some(format!("run of {host}")),
            replicated: false,
            cluster: false,
            evicts: None,
        },
    }
}

fn replica(host: &str, of: &str, linked: bool, replid: &str, replid2: &str) -> Seen {
    let mut seen = primary(host, replid, replid2);
    let of = of.to_owned();
    seen.report.role = Role::Replica { of, linked };
    seen
}

fn fresh(seen: &[Seen]) -> Choice {
    choose(seen, &Memory::default())
}

/// The memory of an instance that used this server.
fn having_used(seen: &Seen) -> Memory {
    let mut memory = Memory::default();
    memory.learn(std::slice::from_ref(seen));
    memory.uses(seen);
    memory
}

fn names(text: &str, hosts: &[&str]) {
    for host in hosts {
        assert!(text.contains(host), "no {host} in: {text}");
    }
}

fn waits(choice: Choice, hosts: &[&str]) {
    match choice {
        Choice::Wait(why) => names(&why, hosts),
        other => panic!("{other:?}"),
    }
}

fn refuses(choice: Choice, hosts: &[&str]) {
    match choice {
        Choice::Refuse(why) => names(&why, hosts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_only_primary_is_used() {
    assert_eq!(fresh(&[primary("A", "r0", "")]), Choice::Use(0));
    let both = [replica("B", "A", true, "r0", ""), primary("A", "r0", "")];
    assert_eq!(fresh(&both), Choice::Use(1));
    // Not connected to it yet, or no longer.
    let both = [primary("A", "r1", ""), replica("B", "A", false, "r0", "")];
    assert_eq!(fresh(&both), Choice::Use(0));
    waits(fresh(&[]), &[]);
    waits(fresh(&[replica("B", "A", false, "r0", "")]), &["B"]);
}

#[test]
fn of_two_primaries_the_promoted_one_is_used() {
    let (old, promoted) = (primary("A", "r0", ""), primary("B", "r1", "r0"));
    assert_eq!(fresh(&[old.clone(), promoted.clone()]), Choice::Use(1));
    assert_eq!(fresh(&[promoted.clone(), old.clone()]), Choice::Use(0));
    let third = primary("C", "r2", "r1");
    for turn in 0..3 {
        let mut all = [old.clone(), promoted.clone(), third.clone()];
        all.rotate_left(turn);
        assert_eq!(fresh(&all), Choice::Use((2 + 3 - turn) % 3), "{turn}");
    }
}

#[test]
fn primaries_that_are_not_related_are_refused() {
    // Restarted: its previous id is lost.
    let restarted = primary("A", "r9", "");
    let promoted = primary("B", "r1", "r0");
    refuses(
        fresh(&[restarted, promoted.clone()]),
        &["A", "B", "REPLICAOF"],
    );
    // Restarted from a snapshot, as Redis 7 does it: both continue the same history.
    let restarted = primary("A", "r9", "r0");
    refuses(fresh(&[restarted, promoted.clone()]), &["A", "B"]);
    // Two promotions; the server between them does not answer.
    refuses(
        fresh(&[primary("A", "r0", ""), primary("C", "r2", "r1")]),
        &["A", "C"],
    );
    // Two servers promoted from the same one: that one is superseded, but which of the two is right
    // remains unknown.
    refuses(
        fresh(&[primary("A", "r0", ""), promoted, primary("C", "r2", "r0")]),
        &["B", "C"],
    );
    // No ids at all.
    refuses(
        fresh(&[primary("A", "", ""), primary("B", "", "")]),
        &["A", "B"],
    );
}

#[test]
fn replicas_are_witnesses() {
    // It replicates a primary that does not answer and that was promoted from A.
    let witness = replica("C", "10.0.0.2:6379", true, "r1", "r0");
    let both = [primary("A", "r0", ""), witness.clone()];
    waits(fresh(&both), &["10.0.0.2:6379", "C"]);
    // The same with its link down.
    let unlinked = replica("C", "B", false, "r1", "r0");
    waits(fresh(&[primary("A", "r0", ""), unlinked]), &["A", "C"]);
    // It replicates a live primary about which nothing is known here.
    let both = [primary("A", "r9", ""), witness];
    refuses(fresh(&both), &["A", "10.0.0.2:6379", "C"]);
    // It has not learned of the promotion yet.
    let behind = replica("C", "A", true, "r0", "");
    let all = [behind, primary("B", "r1", "r0")];
    assert_eq!(fresh(&all), Choice::Use(1));
}

#[test]
fn one_server_with_two_names_is_one() {
    let mut other = primary("a.example", "r0", "");
    let one = primary("A", "r0", "");
    other.report.run.clone_from(&one.report.run);
    assert_eq!(fresh(&[one.clone(), other.clone()]), Choice::Use(0));
    let mut without = [one, other];
    for seen in &mut without {
        seen.report.replid = None;
    }
    assert_eq!(fresh(&without), Choice::Use(0));
    // Two processes claim the same history.
    refuses(
        fresh(&[primary("A", "r0", ""), primary("B", "r0", "")]),
        &["A", "B"],
    );
}

#[test]
fn what_was_superseded_once_is_never_used_again() {
    let (old, promoted) = (primary("A", "r0", ""), primary("B", "r1", "r0"));
    let mut memory = Memory::default();
    memory.learn(&[old.clone(), promoted]);
    waits(choose(std::slice::from_ref(&old), &memory), &["A"]);
    // Many more histories do not make it forget this one at once, and memory stays bounded.
    for n in 2..500 {
        memory.learn(&[primary("B", &format!("r{n}"), &format!("r{}", n - 1))]);
    }
    assert_eq!(memory.superseded.len(), MEMORY);
}

#[test]
fn an_instance_does_not_leave_what_it_used_for_a_stranger() {
    let used = primary("B", "r1", "r0");
    let memory = having_used(&used);
    // The old primary was restarted, and the used one does not answer.
    let returned = primary("A", "r9", "");
    waits(
        choose(std::slice::from_ref(&returned), &memory),
        &["A", "B"],
    );
    let returned_7 = primary("A", "r9", "r0");
    waits(
        choose(std::slice::from_ref(&returned_7), &memory),
        &["A", "B"],
    );
    // Both answer.
    assert_eq!(choose(&[returned.clone(), used], &memory), Choice::Use(1));
    // Promoted from the used one.
    let heir = primary("A", "r2", "r1");
    assert_eq!(choose(std::slice::from_ref(&heir), &memory), Choice::Use(0));
    assert_eq!(choose(&[returned.clone(), heir], &memory), Choice::Use(1));
    // The used one was restarted.
    let restarted = primary("B", "r8", "");
    assert_eq!(
        choose(std::slice::from_ref(&restarted), &memory),
        Choice::Use(0)
    );
    refuses(choose(&[returned, restarted], &memory), &["A", "B"]);
}

#[test]
fn each_replica_is_asked_what_its_primary_continues() {
    let memory = having_used(&primary("A", "r0", ""));
    // C was restarted and has forgotten the history before r1; D has not.
    let forgot = replica("C", "B", true, "r1", "");
    let knows = replica("D", "B", true, "r1", "r0");
    let stranger = primary("E", "", "");
    let mut all = [knows, stranger, forgot];
    for _ in 0..3 {
        waits(choose(&all, &memory), &["B", "not among"]);
        all.rotate_left(1);
    }
}

#[test]
fn an_instance_that_used_the_old_one_goes_to_the_promoted_one() {
    let memory = having_used(&primary("A", "r0", ""));
    let promoted = primary("B", "r1", "r0");
    assert_eq!(
        choose(std::slice::from_ref(&promoted), &memory),
        Choice::Use(0)
    );
    // The old primary is back, with a new id.
    let returned = primary("A", "r9", "");
    assert_eq!(
        choose(&[returned, promoted.clone()], &memory),
        Choice::Use(1)
    );
    // Restarted from a snapshot, it continues the same history as the promoted one.
    let returned = primary("A", "r9", "r0");
    refuses(choose(&[returned, promoted], &memory), &["A", "B"]);
}

#[test]
fn clusters_decide_for_themselves() {
    let node = |mut seen: Seen| {
        seen.report.cluster = true;
        seen
    };
    let all = [
        node(replica("A", "B", true, "r1", "")),
        node(primary("B", "r1", "")),
        node(primary("C", "r2", "")),
    ];
    assert_eq!(fresh(&all), Choice::Use(1));
    assert_eq!(fresh(&all[..1]), Choice::Use(0));
    refuses(
        fresh(&[all[1].clone(), primary("D", "r3", "")]),
        &["B", "D"],
    );
}

/// Servers after any number of promotions and restarts.
fn any_server() -> impl Strategy<Value = (bool, bool, u8, u8, u8)> {
    (any::<bool>(), any::<bool>(), 0u8..5, 0u8..5, 0u8..4)
}

proptest! {
    /// Whatever servers report and whatever is remembered: a chosen server reports that it is the
    /// primary, is not known to be superseded, and is the only candidate.
    #[test]
    fn no_choice_is_wrong(
        servers in proptest::collection::vec(any_server(), 0..6),
        before in proptest::collection::vec(any_server(), 0..3),
        turn in 0usize..6,
    ) {
        let make = |list: &[(bool, bool, u8, u8, u8)]| -> Vec<Seen> {
            list.iter().enumerate().map(|(n, (is_primary, linked, replid, replid2, run))| {
                let (host, name) = (format!("h{n}"), |n: &u8| match n {
                    0 => String::new(),
                    n => format!("r{n}"),
                });
                let mut seen = if *is_primary {
                    primary(&host, &name(replid), &name(replid2))
                } else {
                    replica(&host, "x", *linked, &name(replid), &name(replid2))
                };
                if *run == 0 {
                    seen.report.run = None;
                }
                seen
            }).collect()
        };
        let mut memory = Memory::default();
        let earlier = make(&before);
        memory.learn(&earlier);
        if let Choice::Use(at) = choose(&earlier, &memory) {
            memory.uses(&earlier[at]);
        }
        let mut all = make(&servers);
        memory.learn(&all);
        let choice = choose(&all, &memory);
        if let Choice::Use(at) = choice {
            let used = &all[at].report;
            prop_assert!(used.is_primary());
            if let Some(replid) = &used.replid {
                prop_assert!(!memory.superseded.contains(replid));
                for other in &all {
                    let other = &other.report;
                    prop_assert!(
                        other.replid2.as_ref() != Some(replid) || other.replid.as_ref() == Some(replid)
                    );
                }
            }
            // A new instance sees no second primary that is not superseded.
            if memory.used.is_none() {
                for (n, other) in all.iter().enumerate() {
                    let ended = other.report.replid.as_ref().is_some_and(|id| {
                        memory.superseded.contains(id)
                            || all.iter().any(|s| s.report.replid2.as_ref() == Some(id)
                                && s.report.replid.as_ref() != Some(id))
                    });
                    prop_assert!(n == at || !other.report.is_primary() || ended);
                }
            }
        }
        // The order of the list does not matter.
        let name = |all: &[Seen], choice: &Choice| match choice {
            Choice::Use(at) => all[*at].host.clone(),
            Choice::Wait(_) => "wait".to_owned(),
            Choice::Refuse(_) => "refuse".to_owned(),
        };
        let before = name(&all, &choice);
        if !all.is_empty() {
            let len = all.len();
            all.rotate_left(turn % len);
        }
        prop_assert_eq!(before, name(&all, &choose(&all, &memory)));
    }
}
