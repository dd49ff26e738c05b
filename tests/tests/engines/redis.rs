//! The engine `redis`: replicas, permissions, values that are not counters, and unusual replies of servers that
//! speak the Redis protocol.

use crate::{assert_fails, mint, open};
use int_host::Builtin;
use std::net::Ipv4Addr;
use testbed::TestResult;
use testbed::redis::Redis;
use testbed::runtime::run;
use testbed::stand_in::{Reply, StandIn};

const REDIS: Builtin = Builtin::Redis;

#[test]
fn a_replica_does_not_mint_and_says_so() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    let dsn = format!("{}?timeout=500ms", replica.dsn());
    assert_fails(
        mint(REDIS, &dsn, "k"),
        "unavailable",
        &["replica", "primary"],
    );
    // A replica's value may be stale, so `last` fails as well.
    let last = run(async { open(REDIS, &dsn, "k").await?.last().await });
    assert!(last.is_err(), "{last:?}");
    Ok(())
}

#[test]
fn of_several_hosts_the_one_that_can_write_is_found() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    let hosts = |first: u16, second: u16| format!("redis://127.0.0.1:{first},127.0.0.1:{second}");
    let closed = testbed::port::free()?;
    assert_eq!(
        mint(REDIS, &hosts(replica.port(), primary.port()), "k"),
        Ok(2)
    );
    assert_eq!(
        mint(REDIS, &hosts(primary.port(), replica.port()), "k"),
        Ok(4)
    );
    assert_eq!(mint(REDIS, &hosts(closed, primary.port()), "k"), Ok(6));
    Ok(())
}

#[test]
fn a_replica_that_is_promoted_goes_on() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    let dsn = format!(
        "redis://127.0.0.1:{},127.0.0.1:{}",
        primary.port(),
        replica.port()
    );
    run(async {
        let sequence = open(REDIS, &format!("{dsn}?wait=1"), "k")
            .await
            .expect("opened");
        let before = sequence.next(5).await.expect("minted");
        primary.kill();
        replica.query::<()>(&["REPLICAOF", "NO", "ONE"])?;
        // No replica is left to acknowledge writes.
        let error = sequence.next(1).await.expect_err("no replica is left");
        assert!(error.to_string().contains("replica"), "{error}");
        let sequence = open(REDIS, &dsn, "k").await.expect("opened");
        let after = sequence.next(1).await.expect("minted");
        assert!(after.first() > before.last(), "{after:?} after {before:?}");
        Ok(())
    })
}

#[test]
fn wait_asks_for_acknowledgements() -> TestResult {
    let primary = Redis::start()?;
    let alone = format!("{}?wait=1&timeout=1s", primary.dsn());
    assert_fails(mint(REDIS, &alone, "k"), "unavailable", &["replica"]);
    let _replica = primary.replica()?;
    let patient = format!("{}?wait=1&timeout=30s", primary.dsn());
    let minted = mint(REDIS, &patient, "k").expect("acknowledged");
    assert!(
        minted >= 4,
        "what was not acknowledged is skipped: {minted}"
    );
    for bad in ["wait=-1", "wait=x", "wait=", "wait=1.5"] {
        let dsn = format!("{}?{bad}", primary.dsn());
        assert_fails(mint(REDIS, &dsn, "k"), "invalid", &["wait"]);
    }
    Ok(())
}

#[test]
fn users_without_rights_are_denied() -> TestResult {
    let redis = Redis::start()?;
    redis.query::<()>(&[
        "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+getex",
    ])?;
    redis.query::<()>(&[
        "ACL", "SETUSER", "minter", "on", ">secret", "~*", "+incrby", "+eval",
    ])?;
    let dsn = |user: &str| format!("redis://{user}:secret@127.0.0.1:{}", redis.port());
    assert_fails(mint(REDIS, &dsn("reader"), "k"), "denied", &["incrby"]);
    assert_eq!(mint(REDIS, &dsn("minter"), "k"), Ok(2));
    assert_fails(
        mint(REDIS, &dsn("nobody"), "k"),
        "denied",
        &["user and password"],
    );
    Ok(())
}

#[test]
fn databases_are_apart() -> TestResult {
    let redis = Redis::start()?;
    assert_eq!(mint(REDIS, &redis.dsn(), "k"), Ok(2));
    assert_eq!(mint(REDIS, &format!("{}/1", redis.dsn()), "k"), Ok(2));
    assert_eq!(mint(REDIS, &format!("{}/0", redis.dsn()), "k"), Ok(4));
    assert_fails(
        mint(REDIS, &format!("{}/99", redis.dsn()), "k"),
        "other",
        &["out of range"],
    );
    assert_fails(
        mint(REDIS, &format!("{}/x", redis.dsn()), "k"),
        "invalid",
        &["database"],
    );
    Ok(())
}

/// A value that another program stored under the key is neither overwritten nor treated as zero.
#[test]
fn values_that_are_no_counters_are_told() -> TestResult {
    let redis = Redis::start()?;
    for value in ["", "ten", "1.5", "9223372036854775808", " 7"] {
        redis.query::<()>(&["SET", "k", value])?;
        assert_fails(mint(REDIS, &redis.dsn(), "k"), "other", &["integer"]);
        run(async {
            let sequence = open(REDIS, &redis.dsn(), "k").await.expect("opened");
            assert!(sequence.last().await.is_err(), "{value:?}");
            assert!(sequence.set_last(5).await.is_err(), "{value:?}");
        });
        assert_eq!(redis.query::<String>(&["GET", "k"])?, value);
    }
    redis.query::<()>(&["DEL", "k"])?;
    redis.query::<()>(&["RPUSH", "k", "1"])?;
    assert_fails(mint(REDIS, &redis.dsn(), "k"), "other", &["no counter"]);
    Ok(())
}

#[test]
fn a_server_without_tls_is_told() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("rediss://127.0.0.1:{}?timeout=1s", redis.port());
    assert_fails(mint(REDIS, &dsn, "k"), "unavailable", &["TLS on this port"]);
    Ok(())
}

/// Mock: a server that is still loading its data.
#[test]
fn a_server_that_is_loading_is_asked_again() -> TestResult {
    let mut asked = 0;
    let server = StandIn::on(Ipv4Addr::LOCALHOST, move |words| match words[0].as_str() {
        "INCRBY" => {
            asked += 1;
            match asked {
                1..=3 => Reply::Error("LOADING Redis is loading the dataset in memory".into()),
                _ => Reply::Integer(2 * asked),
            }
        }
        _ => Reply::Text("OK".into()),
    })?;
    let dsn = format!("redis://{}?timeout=10s", server.address());
    assert_eq!(mint(REDIS, &dsn, "k"), Ok(8));
    Ok(())
}

/// Mock: a cluster node that does not hold the key. Its redirect is followed only to addresses in the DSN.
#[test]
fn a_node_of_a_cluster_is_followed_to_nodes_of_the_dsn() -> TestResult {
    let other = StandIn::on(Ipv4Addr::LOCALHOST, |words| match words[0].as_str() {
        "INCRBY" => Reply::Integer(2),
        "INFO" => Reply::Text("role:master\r\ncluster_enabled:1\r\n".into()),
        _ => Reply::Text("OK".into()),
    })?;
    let moved = format!("MOVED 866 {}", other.address());
    let node = StandIn::on(Ipv4Addr::LOCALHOST, move |words| match words[0].as_str() {
        "INCRBY" => Reply::Error(moved.clone()),
        "INFO" => Reply::Text("role:master\r\ncluster_enabled:1\r\n".into()),
        _ => Reply::Text("OK".into()),
    })?;
    let (node, other_at) = (node.address(), other.address());
    let alone = format!("redis://{node}?timeout=5s");
    assert_fails(
        mint(REDIS, &alone, "k"),
        "other",
        &[&other_at.to_string(), "DSN"],
    );
    assert_eq!(other.accepted(), 0);
    let both = format!("redis://{node},{other_at}?timeout=10s");
    assert_eq!(mint(REDIS, &both, "k"), Ok(2));
    Ok(())
}

/// Mocks with invalid replies, which must not cause a panic, a hang or a wrong integer.
#[test]
fn nonsense_is_an_error() -> TestResult {
    for reply in [
        Reply::Nil,
        Reply::Text("OK".into()),
        Reply::Text("12a".into()),
        Reply::List(vec!["1".into(), "2".into()]),
        Reply::Error("WHAT is this".into()),
        Reply::Error(String::new()),
    ] {
        let shown = format!("{reply:?}");
        let server = StandIn::on(Ipv4Addr::LOCALHOST, move |_| reply.clone())?;
        let dsn = format!("redis://{}?timeout=500ms", server.address());
        let minted = mint(REDIS, &dsn, "k");
        let error = minted.expect_err(&shown);
        let case = testbed::contract::kind(&error);
        assert!(
            matches!(case, "other" | "unavailable" | "denied"),
            "{shown}: {case}: {error}"
        );
    }
    Ok(())
}
