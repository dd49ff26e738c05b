//! Failovers, with each engine that may have several servers.

use crate::Watched;
use std::time::{Duration, Instant};
use testbed::TestResult;
use testbed::mariadb::{self, MariaDb};
use testbed::postgres::{self, Postgres};
use testbed::redis::Redis;
use testbed::redis_cluster::Cluster;
use testbed::rqlite::{self, Rqlite};
use testbed::wait;

/// A server with this engine; the number of failovers it has counted.
struct Counting {
    watched: Watched,
    engine: &'static str,
}

impl Counting {
    fn start(engine: &'static str, dsn: &str) -> TestResult<Self> {
        let watched = Watched::start(&["--engine", engine, "--dsn", dsn])?;
        Ok(Self { watched, engine })
    }

    /// Mints, several times if the backend is not available at first, and returns the number.
    fn after_a_mint(&self) -> TestResult<f64> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.watched.serving.get("/")?;
            match answer.status {
                200 => break,
                503 if Instant::now() < end => {}
                _ => panic!("{}", answer.body),
            }
        }
        let sample = format!(
            r#"artisanal_backend_failovers_total{{engine="{}"}}"#,
            self.engine
        );
        Ok(self.watched.scrape()?.get(&sample))
    }
}

#[test]
fn a_promoted_redis_is_one() -> TestResult {
    let old = Redis::start()?;
    let new = old.replica()?;
    let [a, b] = [&old, &new].map(Redis::port);
    let dsn = format!("redis://127.0.0.1:{a},127.0.0.1:{b}?timeout=3s");
    let counting = Counting::start("redis", &dsn)?;
    assert_eq!(counting.after_a_mint()?, 0.0);
    wait::until_or_error("the replica has it", Duration::from_secs(30), || {
        let found: Option<String> = new.query(&["GET", "integers"])?;
        let has_all = found == old.query(&["GET", "integers"])?;
        Ok(has_all.then_some(()).ok_or_else(|| format!("{found:?}")))
    })?;
    old.kill();
    new.query::<()>(&["REPLICAOF", "NO", "ONE"])?;
    assert_eq!(counting.after_a_mint()?, 1.0);
    // A new connection to the same server is none, although the engine asks all servers for their roles.
    new.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    assert_eq!(counting.after_a_mint()?, 1.0);
    Ok(())
}

/// Each key stays on its node. With this form of the DSN, redirects are followed to the listed nodes.
#[test]
fn keys_on_different_servers_are_none() -> TestResult {
    let cluster = Cluster::start(3, 0, &[])?;
    let keys = ["a", "b", "c"];
    let owners = keys.map(|key| cluster.owner(key).expect("an answer"));
    assert!(owners.iter().any(|owner| *owner != owners[0]), "{owners:?}");
    let dsn = cluster
        .dsn(&[0, 1, 2], "")
        .replace("redis+cluster", "redis");
    let arguments = ["--engine", "redis", "--dsn", &dsn, "--keys", "a,b,c"];
    let watched = Watched::start(&arguments)?;
    for expected in [2, 4, 6] {
        for key in keys {
            let path = format!("/v1/sequences/{key}/next");
            let body = watched.serving.request("POST", &path, &[], "")?.body;
            assert!(body.contains(&format!("\"first\":{expected},")), "{body}");
        }
    }
    let counter = r#"artisanal_backend_failovers_total{engine="redis"}"#;
    assert_eq!(watched.scrape()?.get(counter), 0.0);
    Ok(())
}

#[test]
fn a_promoted_postgres_is_one() -> TestResult {
    let old = Postgres::hasty()?;
    let new = old.standby()?;
    let dsn = postgres::dsn(
        postgres::USER,
        postgres::PASSWORD,
        &[old.port(), new.port()],
    );
    let counting = Counting::start("postgres", &dsn)?;
    assert_eq!(counting.after_a_mint()?, 0.0);
    new.catch_up(&old)?;
    old.kill();
    new.promote()?;
    assert_eq!(counting.after_a_mint()?, 1.0);
    assert_eq!(counting.after_a_mint()?, 1.0);
    Ok(())
}

#[test]
fn a_promoted_mariadb_is_one() -> TestResult {
    let server = |id: u32| MariaDb::with(&[&format!("--server-id={id}"), "--log-bin=log"]);
    let (old, new) = (server(1)?, server(2)?);
    new.replicate_from(&old)?;
    new.sql("SET GLOBAL read_only = 1")?;
    let dsn = mariadb::dsn(mariadb::USER, mariadb::PASSWORD, &[old.port(), new.port()]);
    let counting = Counting::start("mysql", &dsn)?;
    assert_eq!(counting.after_a_mint()?, 0.0);
    new.catch_up(&old)?;
    old.kill();
    new.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")?;
    assert_eq!(counting.after_a_mint()?, 1.0);
    assert_eq!(counting.after_a_mint()?, 1.0);
    Ok(())
}

#[test]
fn another_node_of_rqlite_is_one() -> TestResult {
    let rqlite = Rqlite::cluster(3)?;
    let used = rqlite.leader()?;
    let counting = Counting::start("rqlite", &rqlite::dsn(&[rqlite.ports()[used]]))?;
    assert_eq!(counting.after_a_mint()?, 0.0);
    // The engine asks for the other nodes at the second call.
    assert_eq!(counting.after_a_mint()?, 0.0);
    rqlite.node(used).kill();
    let failovers = counting.after_a_mint()?;
    assert!(failovers >= 1.0, "{failovers}");
    Ok(())
}
