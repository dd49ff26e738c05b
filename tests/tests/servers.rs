//! Tests of the test servers themselves: properties that the other tests rely on.

use std::process::ExitCode;
use testbed::TestResult;
use testbed::mariadb::{MariaDb, PASSWORD, USER};
use testbed::postgres::Postgres;
use testbed::redis::{Options, Redis, connect};
use testbed::rqlite::Rqlite;
use testbed::suite::Suite;
use testbed::summitdb::{self, SummitDb};

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    suite.test("redis_keeps_what_it_answered_over_a_kill", redis_is_durable);
    suite.test("redis_asks_for_its_password", redis_asks_for_its_password);
    suite.test("redis_replicas_follow_and_refuse_writes", redis_replicas);
    suite.test("a_dropped_server_leaves_nothing_behind", dropped);
    suite.test("a_paused_server_answers_later", paused);
    suite.test(
        "mariadb_keeps_what_it_answered_over_a_kill",
        mariadb_is_durable,
    );
    suite.test(
        "postgres_keeps_what_it_answered_over_a_kill",
        postgres_is_durable,
    );
    suite.test(
        "postgres_standbys_follow_and_are_promoted",
        postgres_standby,
    );
    suite.test(
        "rqlite_counts_exactly_and_keeps_it_over_a_kill",
        rqlite_is_durable,
    );
    suite.test("rqlite_clusters_move_and_lose_their_leader", rqlite_cluster);
    let missing = summitdb::program().is_none().then_some(summitdb::MISSING);
    suite.test_unless(
        missing,
        "summitdb_keeps_what_it_answered_over_a_kill",
        summitdb_is_durable,
    );
    suite.test_unless(
        missing,
        "summitdb_clusters_lose_their_leader",
        summitdb_cluster,
    );
    suite.run()
}

fn redis_is_durable() -> TestResult {
    let redis = Redis::start()?;
    let port = redis.port();
    assert_eq!(redis.query::<i64>(&["INCRBY", "n", "42"])?, 42);
    redis.kill();
    assert!(!redis.is_running());
    redis.start_again()?;
    assert!(redis.is_running());
    assert_eq!(redis.port(), port);
    assert_eq!(redis.query::<i64>(&["GET", "n"])?, 42);
    redis.stop()?;
    redis.start_again()?;
    assert_eq!(redis.query::<i64>(&["GET", "n"])?, 42);
    Ok(())
}

fn redis_asks_for_its_password() -> TestResult {
    let redis = Redis::with(Options {
        password: Some("correct-horse".to_owned()),
        ..Options::default()
    })?;
    let mut stranger = connect(redis.port(), None).expect("connected");
    let error = redis::cmd("GET")
        .arg("n")
        .query::<()>(&mut stranger)
        .expect_err("no password given");
    assert_eq!(error.code(), Some("NOAUTH"));
    assert_eq!(redis.query::<i64>(&["INCRBY", "n", "1"])?, 1);
    assert!(redis.dsn().contains(":correct-horse@127.0.0.1:"));
    Ok(())
}

fn redis_replicas() -> TestResult {
    let primary = Redis::start()?;
    let replica = primary.replica()?;
    primary.query::<()>(&["SET", "n", "7"])?;
    // Both commands use one connection, since WAIT counts replicas that have this connection's writes.
    let mut connection = primary.connect()?;
    redis::cmd("SET")
        .arg(&["n", "8"])
        .query::<()>(&mut connection)
        .expect("set");
    let copies: i64 = redis::cmd("WAIT")
        .arg(&[1, 4000])
        .query(&mut connection)
        .expect("waited");
    assert_eq!(copies, 1);
    assert_eq!(replica.query::<i64>(&["GET", "n"])?, 8);
    let error = redis::cmd("INCRBY")
        .arg("n")
        .arg(1)
        .query::<i64>(&mut replica.connect()?)
        .expect_err("read-only");
    assert_eq!(error.code(), Some("READONLY"));
    Ok(())
}

fn dropped() -> TestResult {
    let redis = Redis::start()?;
    let (dir, port) = (redis.dir().to_owned(), redis.port());
    assert!(dir.join("server.log").is_file());
    drop(redis);
    assert!(!dir.exists());
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    Ok(())
}

fn paused() -> TestResult {
    let redis = Redis::start()?;
    let mut connection = redis.connect()?;
    redis.pause();
    let limit = Some(std::time::Duration::from_millis(200));
    connection.set_read_timeout(limit).expect("set");
    let error = redis::cmd("PING")
        .query::<()>(&mut connection)
        .expect_err("no answer");
    assert!(error.is_timeout(), "{error}");
    redis.resume();
    assert_eq!(redis.query::<String>(&["PING"])?, "PONG");
    Ok(())
}

fn mariadb_is_durable() -> TestResult {
    let mariadb = MariaDb::start()?;
    assert!(
        mariadb
            .dsn()
            .contains(&format!("{USER}:{PASSWORD}@127.0.0.1"))
    );
    mariadb.sql_as_user("CREATE TABLE t (n BIGINT) ENGINE=InnoDB; INSERT INTO t VALUES (42)")?;
    mariadb.kill();
    mariadb.start_again()?;
    assert_eq!(mariadb.sql_as_user("SELECT n, n + 1 FROM t")?, "42\t43");
    mariadb.stop()?;
    mariadb.start_again()?;
    assert_eq!(mariadb.sql_as_user("SELECT n FROM t")?, "42");
    Ok(())
}

fn postgres_is_durable() -> TestResult {
    let postgres = Postgres::start()?;
    postgres.sql_as_user("CREATE TABLE t (n bigint); INSERT INTO t VALUES (42)")?;
    postgres.kill();
    postgres.start_again()?;
    assert_eq!(postgres.sql_as_user("SELECT n, n + 1 FROM t")?, "42\t43");
    postgres.stop()?;
    postgres.start_again()?;
    assert_eq!(postgres.sql_as_user("SELECT n FROM t")?, "42");
    Ok(())
}

fn postgres_standby() -> TestResult {
    let primary = Postgres::start()?;
    let standby = primary.standby()?;
    primary.sql_as_user("CREATE TABLE t (n bigint); INSERT INTO t VALUES (7)")?;
    standby.catch_up(&primary)?;
    assert_eq!(
        standby.sql_as_user("SELECT n, pg_is_in_recovery() FROM t")?,
        "7\tt"
    );
    primary.kill();
    standby.promote()?;
    standby.sql_as_user("INSERT INTO t VALUES (8)")?;
    primary.start_again()?;
    assert_eq!(primary.sql_as_user("SELECT count(*) FROM t")?, "1");
    Ok(())
}

fn rqlite_is_durable() -> TestResult {
    let rqlite = Rqlite::start()?;
    rqlite.sql("CREATE TABLE t (n INTEGER)")?;
    let top = i64::MAX;
    rqlite.sql(&format!("INSERT INTO t VALUES ({top})"))?;
    rqlite.node(0).kill();
    rqlite.node(0).start_again()?;
    let rows = rqlite.sql("SELECT n, n - 1 FROM t")?;
    assert_eq!(rows["values"], serde_json::json!([[top, top - 1]]));
    Ok(())
}

fn rqlite_cluster() -> TestResult {
    let rqlite = Rqlite::cluster(3)?;
    rqlite.sql("CREATE TABLE t (n INTEGER)")?;
    let first = rqlite.leader()?;
    let second = rqlite.move_leader()?;
    assert_ne!(first, second);
    rqlite.sql("INSERT INTO t VALUES (1)")?;
    rqlite.node(second).kill();
    let third = rqlite.leader()?;
    assert_ne!(third, second);
    rqlite.sql("INSERT INTO t VALUES (2)")?;
    rqlite.node(second).start_again()?;
    let rows = rqlite.sql("SELECT n FROM t ORDER BY n")?;
    assert_eq!(rows["values"], serde_json::json!([[1], [2]]));
    Ok(())
}

fn summitdb_is_durable() -> TestResult {
    let summitdb = SummitDb::start()?;
    assert_eq!(summitdb.query::<i64>(&["INCRBY", "n", "42"])?, 42);
    summitdb.node(0).kill();
    summitdb.node(0).start_again()?;
    assert_eq!(summitdb.query::<i64>(&["INCRBY", "n", "1"])?, 43);
    Ok(())
}

fn summitdb_cluster() -> TestResult {
    let summitdb = SummitDb::cluster(3)?;
    assert_eq!(summitdb.query::<i64>(&["INCRBY", "n", "1"])?, 1);
    let first = summitdb.leader()?;
    summitdb.node(first).kill();
    let second = summitdb.leader()?;
    assert_ne!(first, second);
    assert_eq!(summitdb.query::<i64>(&["INCRBY", "n", "1"])?, 2);
    summitdb.node(first).start_again()?;
    assert_eq!(summitdb.query::<i64>(&["INCRBY", "n", "1"])?, 3);
    Ok(())
}
