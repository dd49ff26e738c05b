//! The engine `redis` with several hosts in its DSN: which one it mints from after a replica was promoted and
//! the old primary has come back as a primary.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Error};
use std::time::Duration;
use testbed::TestResult;
use testbed::contract::kind;
use testbed::redis::Redis;
use testbed::runtime::run;
use testbed::wait;

const REDIS: Builtin = Builtin::Redis;

fn promote(replica: &Redis) -> TestResult {
    replica.query::<()>(&["REPLICAOF", "NO", "ONE"])?;
    Ok(())
}

/// Closes all client connections of a server.
fn cut(server: &Redis) -> TestResult {
    server.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    Ok(())
}

fn host(server: &Redis) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn dsn(servers: &[&Redis], parameters: &str) -> String {
    let hosts: Vec<_> = servers.iter().map(|server| host(server)).collect();
    format!("redis://{}{parameters}", hosts.join(","))
}

/// Waits until a replica has this value.
fn wait_for(key: &str, value: &str, replica: &Redis) -> TestResult {
    wait::until_or_error("the replica has it", Duration::from_secs(30), || {
        let found: Option<String> = replica.query(&["GET", key])?;
        Ok((found.as_deref() == Some(value))
            .then_some(())
            .ok_or_else(|| format!("{found:?}")))
    })?;
    Ok(())
}

#[test]
fn an_old_primary_that_comes_back_is_not_minted_from() -> TestResult {
    let old = Redis::start()?;
    let promoted = old.replica()?;
    let dsn = dsn(&[&old, &promoted], "?timeout=3s");
    run(async {
        let sequence = open(REDIS, &dsn, "k").await.expect("opened");
        assert_eq!(sequence.next(5).await.expect("minted").last(), 10);
        wait_for("k", "10", &promoted)?;
        old.stop()?;
        promote(&promoted)?;
        assert_eq!(sequence.next(3).await.expect("minted").last(), 16);
        old.start_again()?;

        // A new sequence gets an error that two servers claim to be the primary.
        let fresh = open(REDIS, &dsn, "k").await.expect("opened");
        let minted = fresh.next(3).await;
        assert_fails(
            minted.map(|span| span.first()),
            "denied",
            &[&host(&old), &host(&promoted), "REPLICAOF"],
        );
        // A sequence that has used the promoted server stays with it, also on a new connection.
        cut(&promoted)?;
        assert_eq!(sequence.next(1).await.expect("minted").first(), 18);
        // It waits for the promoted server and does not fall back to the old primary.
        promoted.pause();
        let error = sequence.next(1).await.expect_err("it does not answer");
        assert_eq!(kind(&error), "unavailable", "{error}");
        let error = sequence.next(1).await.expect_err("it does not answer");
        assert_eq!(kind(&error), "unavailable", "{error}");
        assert!(error.to_string().contains(&host(&promoted)), "{error}");
        promoted.resume();
        assert!(sequence.next(1).await.expect("minted").first() > 18);

        // The remedy that the error recommends.
        old.query::<()>(&["REPLICAOF", "127.0.0.1", &promoted.port().to_string()])?;
        assert!(fresh.next(1).await.expect("minted").first() > 20);
        let mark: i64 = promoted.query(&["GET", "k"])?;
        assert_eq!(fresh.last().await, Ok(Some(mark)));
        Ok(())
    })
}

/// A primary gets a new replication id when a replica connects to it for the first time after its start. That is
/// after the engine has connected.
#[test]
fn a_primary_that_was_restarted_can_be_replaced() -> TestResult {
    let old = Redis::start()?;
    let promoted = old.replica()?;
    let dsn = dsn(&[&old, &promoted], "?timeout=3s");
    run(async {
        let sequence = open(REDIS, &dsn, "k").await.expect("opened");
        assert_eq!(sequence.next(1).await.expect("minted").first(), 2);
        old.kill();
        old.start_again()?;
        assert_eq!(sequence.next(1).await.expect("minted").first(), 4);
        wait_for("k", "4", &promoted)?;
        // The engine asks for the ids at most once a second.
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(sequence.next(1).await.expect("minted").first(), 6);
        wait_for("k", "6", &promoted)?;
        old.kill();
        promote(&promoted)?;
        assert_eq!(sequence.next(1).await.expect("minted").first(), 8);
        Ok(())
    })
}

/// The old primary was never down, only partitioned from whoever promoted the replica.
#[test]
fn of_two_primaries_the_promoted_one_is_minted_from() -> TestResult {
    let old = Redis::start()?;
    let promoted = old.replica()?;
    assert_eq!(mint(REDIS, &old.dsn(), "k"), Ok(2));
    wait_for("k", "2", &promoted)?;
    promote(&promoted)?;
    old.query::<i64>(&["INCRBY", "k", "1000"])?;
    assert_eq!(mint(REDIS, &dsn(&[&old, &promoted], ""), "k"), Ok(4));
    assert_eq!(mint(REDIS, &dsn(&[&promoted, &old], ""), "k"), Ok(6));
    Ok(())
}

/// A replica reports that its primary is newer than the primary in the DSN.
#[test]
fn a_replica_of_the_promoted_one_is_a_witness() -> TestResult {
    let old = Redis::start()?;
    let promoted = old.replica()?;
    let witness = old.replica()?;
    assert_eq!(mint(REDIS, &old.dsn(), "k"), Ok(2));
    // A witness that is ahead of the promoted server would have to copy everything anew, and such a copy
    // does not tell which history came before.
    wait_for("k", "2", &promoted)?;
    wait_for("k", "2", &witness)?;
    promote(&promoted)?;
    witness.replicate(Some(&promoted))?;
    // The promoted server is not in the DSN.
    let without = dsn(&[&old, &witness], "?timeout=1s");
    assert_fails(
        mint(REDIS, &without, "k"),
        "unavailable",
        &[&host(&promoted), &host(&witness)],
    );
    let all = dsn(&[&old, &witness, &promoted], "");
    assert_eq!(mint(REDIS, &all, "k"), Ok(4));
    Ok(())
}

#[test]
fn a_primary_that_is_made_a_replica_is_left() -> TestResult {
    let first = Redis::start()?;
    let second = first.replica()?;
    run(async {
        let sequence = open(REDIS, &dsn(&[&first, &second], ""), "k")
            .await
            .expect("opened");
        assert_eq!(sequence.next(1).await.expect("minted").first(), 2);
        wait_for("k", "2", &second)?;
        promote(&second)?;
        first.query::<()>(&["REPLICAOF", "127.0.0.1", &second.port().to_string()])?;
        // The connection to the first server is still open, but that server refuses writes.
        assert_eq!(sequence.next(1).await.expect("minted").first(), 4);
        Ok(())
    })
}

#[test]
fn a_primary_whose_replicas_went_to_another_one_is_left() -> TestResult {
    let old = Redis::start()?;
    let promoted = old.replica()?;
    run(async {
        let dsn = dsn(&[&old, &promoted], "?wait=1&timeout=8s");
        let sequence = open(REDIS, &dsn, "k").await.expect("opened");
        assert_eq!(sequence.next(1).await.expect("acknowledged").first(), 2);
        promote(&promoted)?;
        let _replica = promoted.replica()?;
        // The old primary still answers, but has no replica left to acknowledge writes.
        let minted = sequence.next(1).await.expect("acknowledged elsewhere");
        assert_eq!(minted.first(), 4);
        assert_eq!(promoted.query::<i64>(&["GET", "k"])?, 4);
        Ok(())
    })
}

#[test]
fn servers_that_have_nothing_to_do_with_each_other_are_refused() -> TestResult {
    let (one, other) = (Redis::start()?, Redis::start()?);
    assert_fails(
        mint(REDIS, &dsn(&[&one, &other], ""), "k"),
        "denied",
        &[&host(&one), &host(&other)],
    );
    // Two names of the same server count as one server.
    let twice = format!("redis://{},localhost:{}", host(&one), one.port());
    assert_eq!(mint(REDIS, &twice, "k"), Ok(2));
    Ok(())
}

#[test]
fn roles_must_be_told_where_there_are_several_hosts() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    for server in [&primary, &replica] {
        server.query::<()>(&["ACL", "SETUSER", "minter", "on", ">secret", "~*", "+incrby"])?;
    }
    let hosts = format!("{},{}", host(&primary), host(&replica));
    let dsn = format!("redis://minter:secret@{hosts}");
    assert_fails(mint(REDIS, &dsn, "k"), "denied", &["INFO"]);
    for server in [&primary, &replica] {
        server.query::<()>(&["ACL", "SETUSER", "minter", "+info"])?;
    }
    assert_eq!(mint(REDIS, &dsn, "k"), Ok(2));
    Ok(())
}

#[test]
fn set_last_passes_by_replicas() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    run(async {
        let first = open(REDIS, &dsn(&[&replica, &primary], ""), "k")
            .await
            .expect("opened");
        first.set_last(40).await.expect("raised");
        assert_eq!(first.next(1).await.expect("minted").first(), 42);
        let alone = format!("{}?timeout=2s", replica.dsn());
        let alone = open(REDIS, &alone, "k").await.expect("opened");
        let error = alone.set_last(100).await.expect_err("a replica");
        assert_eq!(kind(&error), "unavailable", "{error}");
        assert!(error.to_string().contains("replica"), "{error}");
    });
    Ok(())
}

/// A server that lost writes, as in a failover, would hand out earlier integers again. An open sequence
/// prevents that.
#[test]
fn a_sequence_does_not_go_back_behind_what_it_saw() -> TestResult {
    let redis = Redis::start()?;
    run(async {
        let sequence = open(REDIS, &redis.dsn(), "k").await.expect("opened");
        assert_eq!(sequence.next(5).await.expect("minted").last(), 10);
        for lost in ["SET k 4", "SET k 9", "SET k -7", "DEL k"] {
            let before = sequence.last().await.expect("told").expect("some");
            redis.query::<()>(&lost.split(' ').collect::<Vec<_>>())?;
            assert_eq!(sequence.last().await, Ok(Some(before)), "{lost}");
            assert_eq!(
                sequence.set_last(before - 1).await,
                Err(Error::TooSmall(before)),
                "{lost}"
            );
            redis.query::<()>(&lost.split(' ').collect::<Vec<_>>())?;
            let minted = sequence.next(2).await.expect(lost);
            assert_eq!((minted.first(), minted.count()), (before + 2, 2), "{lost}");
        }
        // The stored mark falls back into the middle of a span.
        let before = sequence.last().await.expect("told").expect("some");
        redis.query::<()>(&["SET", "k", &(before - 1).to_string()])?;
        let minted = sequence.next(3).await.expect("minted");
        assert!(minted.first() > before, "{minted:?} after {before}");
        Ok(())
    })
}
