//! The engine `redis` with a primary that it learns from Sentinels.

use crate::{assert_fails, mint, mint_allowing, open};
use int_host::Builtin;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use testbed::TestResult;
use testbed::clock;
use testbed::history::{History, Record, Violation};
use testbed::minter::{Crowd, Minter};
use testbed::redis::{Options, Redis};
use testbed::runtime::run;
use testbed::sentinel::{NAME, Sentinels};
use testbed::stand_in::{Reply, StandIn};

const REDIS: Builtin = Builtin::Redis;

/// Another loopback address, which the host treats as another machine. Linux has all of 127.0.0.0/8.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long processes may take after a failover until all of them mint again.
const RESUMES: Duration = Duration::from_secs(30);

fn server(replica_of: Option<&Redis>, extra: &[&str]) -> testbed::Result<Redis> {
    Redis::with(Options {
        replica_of: replica_of.map(Redis::port),
        extra: extra.iter().map(|word| (*word).to_owned()).collect(),
        ..Options::default()
    })
}

fn crowd(dsn: &str, numbers: std::ops::Range<u32>) -> TestResult<Crowd> {
    let crowd = Crowd::start(numbers.end - numbers.start, |number| {
        let program = env!("CARGO_BIN_EXE_minter");
        let number = numbers.start + number;
        Minter::start(program, number, "redis", dsn, "k", 1 + number % 3, None)
    })?;
    Ok(crowd)
}

/// Kills the primary while processes mint, and later restarts it as a primary. Returns the history, and the
/// time at which the primary had ended.
fn failover(parameters: &str, extra: &[&str]) -> TestResult<(History, u64)> {
    let primary = server(None, extra)?;
    let replicas = [
        server(Some(&primary), extra)?,
        server(Some(&primary), extra)?,
    ];
    let sentinels = Sentinels::watch(&primary, replicas.len())?;
    let dsn = sentinels.dsn(parameters);
    let mut early = crowd(&dsn, 0..4)?;
    early.mint_more(20)?;

    primary.kill();
    let gone = clock::now();
    let new = sentinels.successor_of(primary.port())?;
    early.go_on(RESUMES)?;
    // It claims to be the primary until the Sentinels reconfigure it some seconds later.
    primary.start_again()?;
    let returned_with: Option<i64> = primary.query(&["GET", "k"])?;
    let new = replicas.iter().find(|replica| replica.port() == new);
    let new = new.expect("one of the replicas");
    new.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    let late = crowd(&dsn, 4..7)?;
    early.go_on(RESUMES)?;
    early.mint_more(20)?;
    late.mint_more(20)?;
    let mark: Option<i64> = primary.query(&["GET", "k"])?;
    // Once it is a replica its mark is replicated, so the check applies only while it is a primary.
    if primary
        .query::<String>(&["INFO", "replication"])?
        .contains("role:master")
    {
        assert_eq!(mark, returned_with, "the old primary was minted from");
    }

    let (mut history, mut failures) = early.finish()?;
    let (others, more) = late.finish()?;
    history.extend(others.records().iter().copied());
    failures.extend(more);
    for failure in failures {
        assert_eq!(failure.kind, "unavailable", "{}", failure.message);
    }
    assert_eq!(history.off_lattice(2, 0), []);
    Ok((history, gone))
}

/// Only integers that the old primary acknowledged and no replica received are minted again, as documented.
#[test]
fn a_failover_repeats_only_what_replication_lost() -> TestResult {
    let (history, gone) = failover("", &[])?;
    let early = |record: &Record| record.begin <= gone;
    for violation in history.check() {
        let (a, b) = match violation {
            Violation::Duplicate { a, b, .. } => (a, b),
            Violation::Reordered { earlier, later } => (earlier, later),
            other => panic!("{other}"),
        };
        assert!(early(&a) != early(&b), "{violation}");
    }
    let later: History = history
        .records()
        .iter()
        .filter(|r| !early(r))
        .copied()
        .collect();
    later.assert_clean();
    Ok(())
}

#[test]
fn a_failover_repeats_nothing_that_a_replica_acknowledged() -> TestResult {
    let (history, _) = failover("?wait=1", &["--min-replicas-to-write", "1"])?;
    history.assert_clean();
    Ok(())
}

#[test]
fn most_sentinels_must_answer_and_know_the_name() -> TestResult {
    let primary = Redis::start()?;
    let replica = server(Some(&primary), &[])?;
    let sentinels = Sentinels::watch(&primary, 1)?;
    let dsn = sentinels.dsn("?timeout=2s");
    run(async {
        let sequence = open(REDIS, &dsn, "k").await.expect("opened");
        assert_eq!(sequence.next(1).await.expect("minted").first(), 2);
        sentinels.server(0).kill();
        assert_eq!(sequence.next(1).await.expect("minted").first(), 4);
    });
    assert_eq!(mint(REDIS, &dsn, "k"), Ok(6));
    let in_database = dsn.replace('?', "/1?");
    assert_eq!(mint(REDIS, &in_database, "k"), Ok(2));
    let unknown = dsn.replace(NAME, "nobody");
    assert_fails(mint(REDIS, &unknown, "k"), "other", &["`nobody`"]);
    sentinels.server(1).kill();
    assert_fails(
        mint(REDIS, &dsn, "k"),
        "unavailable",
        &["1 of the 3 Sentinels"],
    );
    // A Redis server is not a Sentinel.
    let wrong = format!("redis+sentinel://127.0.0.1:{}/{NAME}", primary.port());
    assert_fails(mint(REDIS, &wrong, "k"), "other", &["no Sentinel"]);
    drop(replica);
    Ok(())
}

/// Mock: a Sentinel that reports this server as the primary.
fn sentinel(primary: SocketAddr) -> testbed::Result<StandIn> {
    sentinel_naming(&primary.ip().to_string(), primary.port())
}

fn sentinel_naming(host: &str, port: u16) -> testbed::Result<StandIn> {
    let (host, port) = (host.to_owned(), port.to_string());
    StandIn::on(Ipv4Addr::LOCALHOST, move |words| {
        match words[1].to_ascii_uppercase().as_str() {
            "MASTER" => Reply::List(
                [
                    "ip",
                    &host,
                    "port",
                    &port,
                    "flags",
                    "master",
                    "config-epoch",
                    "0",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
            _ => Reply::List(vec![host.clone(), port.clone()]),
        }
    })
}

/// Mock: a Redis server that reports this role.
fn redis(ip: Ipv4Addr, role: &'static str) -> testbed::Result<StandIn> {
    StandIn::on(ip, move |words| match words[0].as_str() {
        "ROLE" => Reply::List(vec![role.to_owned()]),
        _ => Reply::Integer(2),
    })
}

#[test]
fn a_primary_on_another_host_needs_permission() -> TestResult {
    let server = redis(ELSEWHERE, "master")?;
    let sentinel = sentinel(server.address())?;
    let dsn = format!("redis+sentinel://{}/n?timeout=5s", sentinel.address());
    let at = server.address().to_string();
    assert_fails(
        mint(REDIS, &dsn, "k"),
        "denied",
        &[&format!("--allow-host {at}")],
    );
    assert_eq!(server.accepted(), 0, "nobody came");
    assert_eq!(mint_allowing(REDIS, &dsn, &at), Ok(2));
    // So does a name that is not in the DSN, whatever it resolves to.
    let server = redis(Ipv4Addr::LOCALHOST, "master")?;
    let port = server.address().port();
    let sentinel = sentinel_naming("localhost", port)?;
    let dsn = format!("redis+sentinel://{}/n?timeout=5s", sentinel.address());
    let error = mint(REDIS, &dsn, "k").expect_err("not allowed");
    assert!(error.to_string().contains("localhost"), "{error}");
    assert_eq!(server.accepted(), 0, "nobody came");
    assert_eq!(mint_allowing(REDIS, &dsn, "localhost"), Ok(2));
    Ok(())
}

#[test]
fn what_sentinels_name_must_say_that_it_is_the_primary() -> TestResult {
    let server = redis(Ipv4Addr::LOCALHOST, "slave")?;
    let sentinel = sentinel(server.address())?;
    let dsn = format!("redis+sentinel://{}/n?timeout=500ms", sentinel.address());
    assert_fails(mint(REDIS, &dsn, "k"), "unavailable", &["slave"]);
    Ok(())
}
