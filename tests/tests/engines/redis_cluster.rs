//! The engine `redis` on a Redis Cluster whose slots move, and whose nodes fail.

use crate::{assert_fails, mint, mint_allowing, open};
use int_host::Builtin;
use std::net::Ipv4Addr;
use std::time::Duration;
use testbed::TestResult;
use testbed::minter::{Crowd, Minter};
use testbed::redis_cluster::Cluster;
use testbed::runtime::run;
use testbed::stand_in::{Reply, StandIn};

const REDIS: Builtin = Builtin::Redis;

/// How long processes may take after a change of the cluster until all of them mint again.
const RESUMES: Duration = Duration::from_secs(60);

fn crowd(dsn: &str, numbers: std::ops::Range<u32>) -> testbed::Result<Crowd> {
    Crowd::start(numbers.end - numbers.start, |number| {
        let program = env!("CARGO_BIN_EXE_minter");
        let number = numbers.start + number;
        Minter::start(program, number, "redis", dsn, "k", 1 + number % 3, None)
    })
}

#[test]
fn a_slot_moves_from_node_to_node_under_load() -> TestResult {
    let cluster = Cluster::start(3, 0, &[])?;
    // One node is enough: redirects name the others.
    let dsn = cluster.dsn(&[0], "?timeout=10s");
    let crowd = crowd(&dsn, 0..4)?;
    let begin = cluster.owner("k")?.expect("all slots are served");
    for step in 1..=6 {
        cluster.migrate("k", (begin + step) % 3, || crowd.mint_more(15))?;
    }
    // A process that starts in the middle of a move.
    let owner = cluster.owner("k")?.expect("all slots are served");
    cluster.migrate("k", (owner + 1) % 3, || {
        assert!(mint(REDIS, &dsn, "k")? > 0);
        let raise = run(async {
            let sequence = open(REDIS, &dsn, "k").await?;
            let last = sequence.last().await?.expect("minted before");
            sequence.set_last(last + 1000).await
        });
        assert_eq!(raise, Ok(()));
        Ok(())
    })?;
    let (history, failures) = crowd.finish()?;
    assert_eq!(history.off_lattice(2, 0), []);
    history.assert_clean();
    assert!(failures.is_empty(), "{failures:?}");
    Ok(())
}

/// The integers are those of one counter, whatever node has it.
#[test]
fn sequences_live_on_different_nodes() -> TestResult {
    let cluster = Cluster::start(3, 0, &[])?;
    let dsn = cluster.dsn(&[2], "");
    let keys: Vec<_> = (0..12).map(|n| format!("orders-{n}")).collect();
    let mut owners: Vec<_> = keys
        .iter()
        .map(|key| cluster.owner(key))
        .collect::<Result<_, _>>()?;
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners, [Some(0), Some(1), Some(2)]);
    for expected in [2, 4] {
        for key in &keys {
            assert_eq!(mint(REDIS, &dsn, key), Ok(expected), "{key}");
        }
    }
    Ok(())
}

#[test]
fn other_nodes_go_on_while_one_is_down() -> TestResult {
    let cluster = Cluster::start(3, 0, &["--cluster-require-full-coverage", "no"])?;
    let owner = cluster.owner("k")?.expect("all slots are served");
    let (other, third) = ((owner + 1) % 3, (owner + 2) % 3);
    // The first node that the DSN lists is down, which does not have the key.
    let dsn = cluster.dsn(&[other, third], "?timeout=10s");
    let mut crowd = crowd(&dsn, 0..3)?;
    cluster.nodes()[other].kill();
    crowd.go_on(RESUMES)?;
    let minted = mint(REDIS, &dsn, "k").expect("passes by the node that is down");
    assert!(minted > 0);
    // The node that has the key: nobody else may mint.
    cluster.nodes()[other].start_again()?;
    cluster.wait_until_ok()?;
    cluster.nodes()[owner].kill();
    let impatient = cluster.dsn(&[other, third], "?timeout=500ms");
    let error = mint(REDIS, &impatient, "k").expect_err("its node is down");
    assert_eq!(testbed::contract::kind(&error), "unavailable", "{error}");
    cluster.nodes()[owner].start_again()?;
    crowd.go_on(RESUMES)?;
    let (history, failures) = crowd.finish()?;
    for failure in failures {
        assert_eq!(failure.kind, "unavailable", "{}", failure.message);
    }
    assert_eq!(history.off_lattice(2, 0), []);
    history.assert_clean();
    Ok(())
}

/// The replica has all integers that a process got, because it acknowledged them.
#[test]
fn a_failover_repeats_nothing_that_the_replica_acknowledged() -> TestResult {
    let cluster = Cluster::start(3, 1, &[])?;
    let owner = cluster.owner("k")?.expect("all slots are served");
    let all: Vec<_> = (0..6).collect();
    let dsn = cluster.dsn(&all, "?wait=1&timeout=5s");
    let mut early = crowd(&dsn, 0..3)?;
    cluster.nodes()[owner].kill();
    let promoted = cluster.successor_of(owner, "k")?;
    // It comes back as a replica of its successor.
    cluster.nodes()[owner].start_again()?;
    cluster.wait_until_ok()?;
    early.go_on(RESUMES)?;
    let late = crowd(&dsn, 3..5)?;
    early.mint_more(20)?;

    // A failover by hand, in which the primary waits for its replica.
    cluster.nodes()[owner].query::<()>(&["CLUSTER", "FAILOVER"])?;
    assert_eq!(cluster.successor_of(promoted, "k")?, owner);
    early.mint_more(20)?;
    late.mint_more(20)?;

    let (mut history, mut failures) = early.finish()?;
    let (others, more) = late.finish()?;
    history.extend(others.records().iter().copied());
    failures.extend(more);
    for failure in failures {
        assert_eq!(failure.kind, "unavailable", "{}", failure.message);
    }
    assert_eq!(history.off_lattice(2, 0), []);
    history.assert_clean();
    Ok(())
}

#[test]
fn a_server_outside_a_cluster_is_told() -> TestResult {
    let alone = testbed::redis::Redis::start()?;
    let dsn = format!("redis+cluster://127.0.0.1:{}", alone.port());
    assert_fails(
        mint(REDIS, &dsn, "k"),
        "other",
        &["no node of a Redis Cluster"],
    );
    let exists: i64 = alone.query(&["EXISTS", "k"])?;
    assert_eq!(exists, 0, "nothing was minted");
    Ok(())
}

/// Mock: a node that redirects to another host.
#[test]
fn a_node_on_another_host_needs_permission() -> TestResult {
    let info = || Reply::Text("cluster_enabled:1\r\n".into());
    // Linux has all of 127.0.0.0/8, and the host treats each address as another machine.
    let other = StandIn::on(Ipv4Addr::new(127, 0, 0, 2), move |words| {
        match words[0].as_str() {
            "INFO" => info(),
            _ => Reply::Integer(2),
        }
    })?;
    let moved = format!("MOVED 866 {}", other.address());
    let listed = StandIn::on(Ipv4Addr::LOCALHOST, move |words| match words[0].as_str() {
        "INFO" => info(),
        _ => Reply::Error(moved.clone()),
    })?;
    let dsn = format!("redis+cluster://{}?timeout=5s", listed.address());
    let at = other.address().to_string();
    let permission = format!("--allow-host {at}");
    assert_fails(mint(REDIS, &dsn, "k"), "denied", &[&permission]);
    assert_eq!(other.accepted(), 0, "nobody came");
    assert_eq!(mint_allowing(REDIS, &dsn, &at), Ok(2));
    Ok(())
}
