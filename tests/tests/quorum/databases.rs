//! What a node notices about a database that others can change: emptied, behind after a failover, in use by another process.

use super::lost::state;
use super::mint;
use testbed::TestResult;
use testbed::contract::assert_fails;
use testbed::mariadb::MariaDb;
use testbed::quorum::{Options, Quorum};
use testbed::redis::{self, Redis};

/// The arguments of a node on this database.
fn on(engine: &str, dsn: &str) -> Vec<String> {
    let words = ["--engine", engine, "--dsn", dsn];
    words.map(str::to_owned).to_vec()
}

/// A group whose third node is on this database.
pub(super) fn with_third_on(engine: &str, dsn: &str) -> TestResult<Quorum> {
    Ok(Quorum::with(Options {
        nodes: vec![Vec::new(), Vec::new(), on(engine, dsn)],
        ..Options::default()
    })?)
}

/// A Redis with other settings than one that keeps all writes.
pub(super) fn redis_with(settings: [&str; 2]) -> TestResult<Redis> {
    Ok(Redis::with(redis::Options {
        extra: settings.map(str::to_owned).to_vec(),
        ..redis::Options::default()
    })?)
}

/// The engine remembers the marks of a sequence that is open, so a sequence that the node has used does not show the loss.
#[test]
fn a_redis_that_is_emptied_under_a_running_node_is_noticed() -> TestResult {
    let redis = Redis::start()?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    // The second node misses what is minted, and the process of the third one is new.
    quorum.server(1).kill();
    assert_eq!(mint(&quorum), Ok(2));
    assert_eq!(mint(&quorum), Ok(4));
    quorum.server(2).kill();
    quorum.server(2).start_again()?;
    redis.query::<String>(&["FLUSHALL"])?;
    quorum.server(0).kill();
    quorum.server(1).start_again()?;
    // These two know of no integer that was handed out.
    assert_fails(mint(&quorum), "unavailable", &["lost the marks"]);
    assert_eq!(state(&quorum.status(2)?), "lost");
    quorum.server(0).start_again()?;
    let said = quorum.join(2, 0)?;
    assert!(said.contains("incarnation 2"), "{said}");
    quorum.server(0).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 4, "{minted}");
    // A claim need not come first.
    quorum.server(0).start_again()?;
    redis.query::<String>(&["FLUSHALL"])?;
    let said = quorum.join(2, 0)?;
    assert!(said.contains("incarnation 3"), "{said}");
    Ok(())
}

#[test]
fn a_redis_that_may_evict_keys_is_not_used() -> TestResult {
    let redis = redis_with(["--maxmemory", "100mb"])?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    assert_eq!(mint(&quorum), Ok(2));
    // The node asks again with its next connection.
    redis.query::<String>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])?;
    redis.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal"])?;
    quorum.server(1).kill();
    assert_fails(mint(&quorum), "unavailable", &["allkeys-lru", "noeviction"]);
    redis.query::<String>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])?;
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 2, "{minted}");
    Ok(())
}

/// It has lost the number of the node's process, too.
#[test]
fn a_node_whose_redis_keeps_nothing_joins_again_by_itself() -> TestResult {
    let redis = redis_with(["--appendonly", "no"])?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    assert_eq!(mint(&quorum), Ok(2));
    redis.kill();
    redis.start_again()?;
    assert_eq!(redis.query::<i64>(&["DBSIZE"])?, 0);
    quorum.server(0).kill();
    assert_fails(mint(&quorum), "unavailable", &["takes no part"]);
    quorum.server(0).start_again()?;
    quorum.await_status(2, "incarnation", &2.into())?;
    quorum.server(0).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 2, "{minted}");
    Ok(())
}

/// Others take these marks for theirs, and no claim has shown yet that some are lost.
#[test]
fn a_redis_that_lost_writes_does_not_tell_marks() -> TestResult {
    let redis = redis_with(["--appendfsync", "no"])?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    quorum.server(1).kill();
    let run = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        quorum.manage(&words)
    };
    let minted = run(&["--engine", "quorum", "--dsn", &quorum.dsn(), "--key", "a"])?;
    assert_eq!(minted.trim(), "2");
    let told = || run(&["node", "status", &quorum.address(2), "--key", "a"]);
    let mark = told()?;
    assert!(mark.contains("mark 2, lag 0"), "{mark}");
    redis.kill();
    redis.lose_tail(10)?;
    redis.start_again()?;
    assert_eq!(redis.query::<Option<i64>>(&["GET", "a"])?, None);
    let mark = told()?;
    assert!(mark.contains("changed its incarnation"), "{mark}");
    assert_eq!(state(&quorum.status(2)?), "lost");
    Ok(())
}

/// The data are those of the replica that was promoted meanwhile. The process is the same, and it syncs every write.
#[test]
fn a_redis_that_was_a_replica_meanwhile_is_noticed() -> TestResult {
    let redis = Redis::start()?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    let promoted = redis.replica()?;
    promoted.replicate(None)?;
    quorum.server(1).kill();
    assert_eq!(mint(&quorum), Ok(2));
    assert_eq!(mint(&quorum), Ok(4));
    redis.replicate(Some(&promoted))?;
    redis.replicate(None)?;
    // The process of the node is new, and remembers nothing.
    quorum.server(2).kill();
    quorum.server(2).start_again()?;
    quorum.server(0).kill();
    quorum.server(1).start_again()?;
    // These two know of no integer that was handed out.
    assert_fails(mint(&quorum), "unavailable", &["takes no part"]);
    // It joins again by itself.
    quorum.server(0).start_again()?;
    quorum.await_status(2, "incarnation", &2.into())?;
    quorum.server(0).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 4, "{minted}");
    Ok(())
}

#[test]
fn a_database_that_is_emptied_under_a_running_node_is_noticed() -> TestResult {
    let mariadb = MariaDb::start()?;
    let quorum = with_third_on("mysql", &mariadb.dsn())?;
    assert_eq!(mint(&quorum), Ok(2));
    quorum.server(1).kill();
    mariadb.sql_as_user("DELETE FROM artisanal_integers")?;
    // The engine remembers its sequences, and does not begin them anew.
    assert_fails(mint(&quorum), "unavailable", &["lost the marks"]);
    assert_eq!(state(&quorum.status(2)?), "lost");
    quorum.server(1).start_again()?;
    let said = quorum.join(2, 0)?;
    assert!(said.contains("incarnation 2"), "{said}");
    quorum.server(1).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 2, "{minted}");
    Ok(())
}

/// The tables of the original program, which may lose marks in a crash, unnoticed.
#[test]
fn a_table_that_is_not_safe_from_crashes_is_not_used() -> TestResult {
    let mariadb = MariaDb::start()?;
    let create = "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, stub CHAR(1) NOT NULL DEFAULT '' UNIQUE";
    mariadb.sql_as_user(&format!("CREATE TABLE k ({create}) ENGINE=MyISAM"))?;
    let quorum = with_third_on("mysql", &mariadb.dsn())?;
    // The others are a majority.
    assert_eq!(mint(&quorum), Ok(2));
    quorum.server(1).kill();
    assert_fails(mint(&quorum), "unavailable", &["MyISAM", "another key"]);
    mariadb.sql_as_user("ALTER TABLE k ENGINE=InnoDB")?;
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 2, "{minted}");
    Ok(())
}

#[test]
fn two_processes_on_one_backend_are_noticed() -> TestResult {
    let redis = Redis::start()?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    assert_eq!(mint(&quorum), Ok(2));
    // A second process on the Redis of the third node.
    let second = Quorum::without_group(Options {
        nodes: vec![on("redis", &redis.dsn())],
        ..Options::default()
    })?;
    assert_eq!(state(&second.status(0)?), "lost");
    assert_eq!(mint(&quorum), Ok(4));
    quorum.await_status(2, "state", &"lost".into())?;
    let reason = quorum.status(2)?["reason"].to_string();
    assert!(reason.contains("another process"), "{reason}");
    Ok(())
}
