//! Tests of the choice of hosts.

use super::*;

/// A writable server that reports everything and is in no cluster.
fn host(name: &str, id: u64) -> Witness {
    Witness {
        name: name.into(),
        id,
        replication: Replication::None,
        ..Witness::default()
    }
}

fn read_only(name: &str, id: u64) -> Witness {
    Witness {
        read_only: true,
        ..host(name, id)
    }
}

/// A replica that is writable.
fn replica_of(source: u64, name: &str, id: u64) -> Witness {
    let source = Source {
        id: source,
        uuid: String::new(),
    };
    Witness {
        replication: Replication::From(vec![source]),
        ..host(name, id)
    }
}

fn galera(name: &str, uuid: &str, members: &[&str]) -> Witness {
    Witness {
        cluster: Cluster::Galera {
            ready: true,
            uuid: uuid.into(),
            members: members.iter().map(ToString::to_string).collect(),
        },
        ..host(name, 1)
    }
}

fn member(uuid: &str, online: Option<&[&str]>) -> Witness {
    Witness {
        uuid: uuid.into(),
        cluster: Cluster::Group {
            name: "group".into(),
            online: online.map(|online| online.iter().map(ToString::to_string).collect()),
        },
        ..host(uuid, 1)
    }
}

fn decide(hosts: &[Option<&Witness>]) -> Verdict {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| match host {
            Some(host) => Sight::Seen((*host).clone()),
            None => Sight::Silent("x does not answer".into()),
        })
        .collect();
    judge(&hosts)
}

fn assert_refused(hosts: &[Option<&Witness>], says: &[&str]) {
    match decide(hosts) {
        Verdict::Refuse(why) => {
            for text in says {
                assert!(why.contains(text), "no {text:?} in: {why}");
            }
        }
        other => panic!("{other:?}"),
    }
}

fn assert_waits(hosts: &[Option<&Witness>], says: &str) {
    match decide(hosts) {
        Verdict::Wait(why) => assert!(why.contains(says), "no {says:?} in: {why}"),
        other => panic!("{other:?}"),
    }
}

fn only(number: usize) -> Verdict {
    Verdict::Use(vec![number])
}

#[test]
fn the_one_that_is_writable_is_used() {
    let (a, b, c) = (read_only("a", 1), host("b", 2), read_only("c", 3));
    assert_eq!(decide(&[Some(&a), Some(&b), Some(&c)]), only(1));
    assert_eq!(decide(&[None, Some(&b)]), only(1));
    assert_waits(&[Some(&a), Some(&c)], "a is read-only");
    assert_waits(&[None, Some(&c)], "x does not answer; c is read-only");
    assert_waits(&[None, None], "x does not answer");
}

#[test]
fn two_writable_servers_are_refused() {
    let (a, b) = (host("a:1", 1), host("b:2", 2));
    let says = ["a:1", "b:2", "read_only=1"];
    assert_refused(&[Some(&a), Some(&b)], &says);
    assert_refused(&[Some(&a), None, Some(&b)], &says);
    let at = |host: &Witness, position: &str| Witness {
        position: position.into(),
        ..host.clone()
    };
    let (ahead, behind) = (at(&a, "0-1-9"), at(&b, "0-1-5"));
    let says = ["(a:1 is at 0-1-9, b:2 at 0-1-5)"];
    assert_refused(&[Some(&ahead), Some(&behind)], &says);
    let hidden = Witness {
        replication: Replication::Hidden,
        ..b
    };
    assert_refused(&[Some(&a), Some(&hidden)], &["GRANT REPLICATION CLIENT"]);
}

#[test]
fn two_names_of_one_server_are_one() {
    let a = host("localhost:1", 1);
    let mut b = host("127.0.0.1:1", 1);
    b.same_as.insert(0);
    assert_eq!(decide(&[Some(&a), Some(&b)]), only(0));
    // A clone has the same id, but is a different server.
    assert_refused(&[Some(&a), Some(&host("b", 1))], &[]);
}

#[test]
fn a_replica_that_takes_writes_is_not_used() {
    let (primary, replica) = (host("a", 1), replica_of(1, "b", 2));
    assert_eq!(decide(&[Some(&primary), Some(&replica)]), only(0));
    assert_eq!(decide(&[Some(&replica), Some(&primary)]), only(1));
    // The primary may be back soon.
    assert_waits(&[None, Some(&replica)], "b is a replica");
    // The source is not shown.
    let mut vague = replica.clone();
    vague.replication = Replication::From(Vec::new());
    assert_eq!(decide(&[Some(&vague), Some(&primary)]), only(1));
    assert_waits(&[Some(&vague), None], "b is a replica");
    assert_eq!(decide(&[Some(&vague), Some(&read_only("c", 3))]), only(0));
    // A chain of replicas.
    let third = replica_of(2, "c", 3);
    assert_eq!(
        decide(&[Some(&third), Some(&replica), Some(&primary)]),
        only(2)
    );
}

#[test]
fn a_pair_that_replicates_both_ways_needs_one_that_is_read_only() {
    let (a, b) = (replica_of(2, "a", 1), replica_of(1, "b", 2));
    assert_refused(&[Some(&a), Some(&b)], &["a and b"]);
    let passive = Witness {
        read_only: true,
        ..b
    };
    assert_eq!(decide(&[Some(&a), Some(&passive)]), only(0));
    // The third host, which does not answer, is not its source.
    assert_eq!(decide(&[Some(&a), Some(&passive), None]), only(0));
}

#[test]
fn sources_are_told_apart_by_uuid_where_there_is_one() {
    let with = |witness: Witness, uuid: &str| Witness {
        uuid: uuid.into(),
        ..witness
    };
    // Both have the same server_id, which is a mistake that occurs in practice.
    let (a, b) = (with(host("a", 7), "A"), with(host("b", 7), "B"));
    let mut replica = with(host("c", 3), "C");
    let source = Source {
        id: 7,
        uuid: "B".into(),
    };
    replica.replication = Replication::From(vec![source]);
    assert_refused(&[Some(&a), Some(&b), Some(&replica)], &["a and b"]);
    let b = Witness {
        read_only: true,
        ..b
    };
    // Its source is read-only, so it counts as a primary, and so does a.
    assert_refused(&[Some(&a), Some(&b), Some(&replica)], &["a and c"]);
}

#[test]
fn members_of_one_galera_cluster_may_all_be_used() {
    let both = ["a", "b"];
    let (a, b) = (galera("a", "u", &both), galera("b", "u", &both));
    assert_eq!(decide(&[Some(&a), Some(&b)]), Verdict::Use(vec![0, 1]));
    // While a member joins, not all members know it yet.
    let (alone, joined) = (galera("a", "u", &["a"]), galera("b", "u", &both));
    assert_eq!(
        decide(&[Some(&alone), Some(&joined)]),
        Verdict::Use(vec![0, 1])
    );
    // Two halves, both made primary by hand.
    assert_refused(
        &[Some(&alone), Some(&galera("b", "u", &["b"]))],
        &["a and b"],
    );
    assert_refused(
        &[Some(&a), Some(&galera("b", "other", &both))],
        &["a and b"],
    );
    assert_refused(
        &[Some(&galera("a", "", &[])), Some(&galera("b", "", &[]))],
        &[],
    );
    assert_refused(&[Some(&a), Some(&host("c", 3))], &["a and c"]);
    let mut apart = b;
    if let Cluster::Galera { ready, .. } = &mut apart.cluster {
        *ready = false;
    }
    assert_eq!(decide(&[Some(&a), Some(&apart)]), only(0));
    assert_waits(&[Some(&apart)], "not in sync");
}

#[test]
fn members_of_one_replication_group_may_all_be_used() {
    let both: Option<&[&str]> = Some(&["A", "B"]);
    let (a, b) = (member("A", both), member("B", both));
    assert_eq!(decide(&[Some(&a), Some(&b)]), Verdict::Use(vec![0, 1]));
    assert_refused(&[Some(&a), Some(&member("B", Some(&["B"])))], &["A and B"]);
    assert_refused(
        &[Some(&a), Some(&member("B", None))],
        &["GRANT SELECT ON performance_schema"],
    );
    // It has left the group.
    let gone = member("B", Some(&[]));
    assert_eq!(decide(&[Some(&a), Some(&gone)]), only(0));
}
