//! The engine `mysql` with several hosts: replicas, replaced primaries, Galera.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Error, Sequence};
use testbed::TestResult;
use testbed::backend;
use testbed::contract::kind;
use testbed::galera::Galera;
use testbed::history::{History, Record};
use testbed::mariadb::{self, MariaDb, PASSWORD, USER};
use testbed::proxy::{Fault, Proxy};
use testbed::runtime::run;

const MYSQL: Builtin = Builtin::Mysql;

/// One key whose sequence is stored in a row, and one whose sequence is stored in a ticket table.
const KEYS: [&str; 2] = ["row", "integers"];

fn server(id: u32) -> testbed::Result<MariaDb> {
    MariaDb::with(&[
        &format!("--server-id={id}"),
        "--log-bin=log",
        "--log-slave-updates",
    ])
}

/// The minter's DSN for these servers, in this order.
fn dsn(servers: &[&MariaDb]) -> String {
    let ports: Vec<_> = servers.iter().map(|server| server.port()).collect();
    format!("{}?timeout=4s", mariadb::dsn(USER, PASSWORD, &ports))
}

/// The mark in the row or the ticket table of a key; 0 when there is none.
fn mark(server: &MariaDb, key: &str) -> TestResult<i64> {
    let select = match key {
        "integers" => "SELECT COALESCE(MAX(id),0) FROM integers".to_owned(),
        key => format!("SELECT COALESCE(MAX(mark),0) FROM artisanal_integers WHERE name='{key}'"),
    };
    Ok(server.sql_as_user(&select)?.parse().expect("a number"))
}

/// A read-only server mints not even for a user who may write to it.
#[test]
fn a_read_only_server_mints_for_nobody() -> TestResult {
    let mariadb = MariaDb::start()?;
    for key in KEYS {
        run(async {
            let dsn = format!("{}?timeout=2s", mariadb.dsn_of("root", "", mariadb.port()));
            let sequence = open(MYSQL, &dsn, key).await.expect("opened");
            let before = sequence.next(3).await.expect("minted").last();
            let stored = mark(&mariadb, key)?;
            mariadb.sql("SET GLOBAL read_only = 1")?;
            for _ in 0..2 {
                let error = sequence.next(1).await.expect_err("read-only");
                assert_eq!(kind(&error), "unavailable", "{error}");
                assert!(error.to_string().contains("read-only"), "{error}");
                let error = sequence.last().await.expect_err("read-only");
                assert_eq!(kind(&error), "unavailable", "{error}");
                sequence.set_last(1000).await.expect_err("read-only");
            }
            if key == "row" {
                assert_eq!(mark(&mariadb, key)?, stored, "nothing was written");
            }
            mariadb.sql("SET GLOBAL read_only = 0")?;
            assert!(sequence.next(1).await.expect("minted").first() > before);
            TestResult::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn two_servers_that_take_writes_are_refused() -> TestResult {
    let (a, b) = (server(1)?, server(2)?);
    let both = dsn(&[&a, &b]);
    let names = [a.port(), b.port()].map(|port| format!("127.0.0.1:{port}"));
    let says = [&*names[0], &*names[1], "read_only=1"];
    assert_fails(mint(MYSQL, &both, "row"), "denied", &says);
    assert_fails(mint(MYSQL, &dsn(&[&b, &a]), "row"), "denied", &says);
    let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE()";
    assert_eq!(
        (&*a.sql_as_user(tables)?, &*b.sql_as_user(tables)?),
        ("0", "0")
    );
    a.sql("SET GLOBAL read_only = 1")?;
    assert_eq!(mint(MYSQL, &both, "row"), Ok(1));
    assert_eq!(mark(&b, "row")?, 2);
    a.sql("SET GLOBAL read_only = 0")?;
    b.kill();
    assert_eq!(
        mint(MYSQL, &both, "row"),
        Ok(1),
        "the other one cannot be seen"
    );
    Ok(())
}

/// Two addresses of the same server count as one server, and hosts that are down or do not answer leave enough
/// time for the others.
#[test]
fn hosts_that_are_not_there_do_not_matter() -> TestResult {
    let mariadb = server(1)?;
    let by_another_name = Proxy::to(mariadb.port())?;
    let to_it = || Proxy::to(mariadb.port());
    let silent = [to_it()?, to_it()?, to_it()?];
    for proxy in &silent {
        proxy.set(Fault::Stall)?;
    }
    let closed = Proxy::to(mariadb.port())?;
    closed.set(Fault::Refuse)?;
    let mut ports: Vec<_> = silent.iter().map(Proxy::port).collect();
    ports.extend([closed.port(), mariadb.port(), by_another_name.port()]);
    let dsn = format!("{}?timeout=4s", mariadb::dsn(USER, PASSWORD, &ports));
    for key in KEYS {
        assert_eq!(mint(MYSQL, &dsn, key), Ok(1));
        assert_eq!(mint(MYSQL, &dsn, key), Ok(3));
    }
    Ok(())
}

/// A replica that is not read-only is still recognised as a replica.
#[test]
fn a_replica_that_takes_writes_is_not_minted_from() -> TestResult {
    let (primary, replica) = (server(1)?, server(2)?);
    replica.replicate_from(&primary)?;
    let both = dsn(&[&replica, &primary]);
    for see_more in [false, true] {
        if see_more {
            // On MariaDB every user can see that a server is a replica; this privilege also shows its primary.
            replica.sql(&format!(
                "GRANT REPLICA MONITOR ON *.* TO '{USER}'@'127.0.0.1'"
            ))?;
        }
        let minted = mint(MYSQL, &both, "row").expect("minted");
        assert_eq!(mark(&primary, "row")?, minted + 1);
    }
    replica.catch_up(&primary)?;
    let before = mark(&primary, "row")?;
    primary.kill();
    assert_fails(mint(MYSQL, &both, "row"), "unavailable", &["is a replica"]);
    assert_eq!(mark(&replica, "row")?, before);
    primary.start_again()?;
    assert!(mint(MYSQL, &both, "row").expect("minted") > before);
    Ok(())
}

/// The primary fails, its replica is promoted, and the old primary comes back as a primary.
#[test]
fn an_old_primary_that_comes_back_is_not_minted_from() -> TestResult {
    let (old, new) = (server(1)?, server(2)?);
    new.replicate_from(&old)?;
    new.sql("SET GLOBAL read_only = 1")?;
    let both = dsn(&[&old, &new]);
    run(async {
        let mut kept: Vec<(&str, Sequence, i64)> = Vec::new();
        for key in KEYS {
            let sequence = open(MYSQL, &both, key).await.expect("opened");
            let last = sequence.next(5).await.expect("minted").last();
            kept.push((key, sequence, last));
        }
        new.catch_up(&old)?;
        old.kill();
        new.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")?;
        for (_, sequence, last) in &mut kept {
            let span = sequence
                .next(5)
                .await
                .expect("minted from the promoted one");
            assert!(span.first() > *last, "{span:?} after {last}");
            *last = span.last();
        }

        // Both servers accept writes now. New connections are refused; existing ones stay with the new primary.
        old.start_again()?;
        let names = [old.port(), new.port()].map(|port| format!("127.0.0.1:{port}"));
        for (key, sequence, last) in &mut kept {
            let opened = open(MYSQL, &both, key).await.expect("opened");
            let error = opened.next(1).await.expect_err("two primaries");
            assert_eq!(kind(&error), "denied", "{error}");
            assert!(
                names.iter().all(|name| error.to_string().contains(name)),
                "{error}"
            );
            let span = sequence.next(1).await.expect("minted");
            assert!(span.first() > *last, "{span:?} after {last}");
            *last = span.last();
        }

        // Only the old primary is left. It looks like a primary that was never replaced, but these sequences
        // have seen greater integers than it holds.
        new.kill();
        for (key, sequence, _) in &kept {
            let error = sequence.next(1).await.expect_err("an older copy");
            assert_eq!(kind(&error), "unavailable", "{error}");
            assert!(error.to_string().contains("older copy"), "{key}: {error}");
            let error = sequence.last().await.expect_err("an older copy");
            assert!(error.to_string().contains("older copy"), "{key}: {error}");
        }

        old.sql("SET GLOBAL read_only = 1")?;
        new.start_again()?;
        for (key, sequence, last) in &kept {
            for sequence in [sequence, &open(MYSQL, &both, key).await.expect("opened")] {
                let span = sequence.next(1).await.expect("minted");
                assert!(span.first() > *last, "{span:?} after {last}");
            }
        }
        Ok(())
    })
}

/// Mints through a new host, and returns the calls.
async fn client(dsn: String, process: u32, count: u32, calls: usize) -> Vec<Record> {
    let sequence = open(MYSQL, &dsn, "k").await.expect("opened");
    let mut records = Vec::new();
    while records.len() < calls {
        let minted = backend::mint(&sequence, process, count).await;
        records.push(minted.unwrap_or_else(|error| panic!("{dsn}: {error}")));
    }
    records
}

#[test]
fn galera() -> TestResult {
    const NODES: usize = 3;
    let cluster = Galera::start(NODES)?;
    let timeout = "?timeout=30s";
    let one = |number: usize| format!("{}{timeout}", cluster.dsn(&[number]));
    let all = format!("{}{timeout}", cluster.dsn(&[0, 1, 2]));

    // All nodes update the same row concurrently, so their transactions conflict.
    let mut history = History::default();
    let (conflicts, dialled) = (cluster.conflicts()?, cluster.connections()?);
    for round in 0..5 {
        let records = run(async {
            let mut clients = tokio::task::JoinSet::new();
            for process in 0..6 {
                let dsn = one(process as usize % NODES);
                clients.spawn(client(dsn, process, 1 + process, 20));
            }
            clients.spawn(client(all.clone(), 6, 2, 20));
            clients.join_all().await
        });
        for records in records {
            history.extend(records);
        }
        if cluster.conflicts()? > conflicts {
            // The clients' connections, the test's own and some spare ones, but not one for each conflict.
            let dialled = cluster.connections()? - dialled;
            let conflicts = cluster.conflicts()? - conflicts;
            eprintln!("{conflicts} conflicts, {dialled} connections");
            assert!(
                dialled <= 25 * (round + 1),
                "{conflicts} conflicts, {dialled} connections"
            );
            break;
        }
        assert!(
            round < 4,
            "no two nodes ever changed the row at the same time"
        );
    }
    history.assert_clean();
    assert_eq!(history.off_lattice(2, 1), []);

    run(async {
        let mut nodes = Vec::new();
        for number in 0..NODES {
            nodes.push(open(MYSQL, &one(number), "k").await.expect("opened"));
        }
        for turn in 0..20 {
            let (here, there) = (&nodes[turn % NODES], &nodes[(turn + 1) % NODES]);
            let minted = here.next(1).await.expect("minted").first();
            let refused = there.set_last(minted - 1).await;
            let last = there.last().await.expect("last");
            assert!(
                last >= Some(minted),
                "{last:?} on another node after {minted}"
            );
            assert_eq!(refused, Err(Error::TooSmall(last.unwrap_or_default())));
            there.set_last(minted + 10).await.expect("raised");
            let next = here.next(1).await.expect("minted").first();
            assert!(
                next > minted + 10,
                "{next} after it was raised to {minted} + 10"
            );
        }
        // A node leaves the cluster.
        let sequence = open(MYSQL, &all, "k").await.expect("opened");
        let before = sequence.next(1).await.expect("minted");
        cluster.node(0).stop()?;
        let after = sequence.next(1).await.expect("minted from another node");
        assert!(after.first() > before.last());
        Ok(())
    })
}
