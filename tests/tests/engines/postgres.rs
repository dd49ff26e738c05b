//! The engine `postgres`: privileges, locks, poolers and DSNs.

use crate::{assert_fails, mint, open};
use int_host::Builtin;
use testbed::TestResult;
use testbed::contract::kind;
use testbed::history::{History, Record};
use testbed::pgbouncer::PgBouncer;
use testbed::postgres::{self, DATABASE, PASSWORD, Postgres, USER};
use testbed::runtime::run;
use testbed::{backend, wait};
use tokio_postgres::NoTls;

pub(crate) const POSTGRES: Builtin = Builtin::Postgres;

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A client of the minter's own, for transactions that stay open.
async fn client(server: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.dsn(), NoTls)
        .await
        .expect("connected");
    tokio::spawn(connection);
    client
}

#[test]
fn all_forms_of_the_dsn_reach_it() -> TestResult {
    let server = Postgres::start()?;
    let port = server.port();
    let keywords =
        format!("host=127.0.0.1 port={port} user={USER} password='{PASSWORD}' dbname={DATABASE}");
    assert_eq!(mint(POSTGRES, &server.dsn(), "k"), Ok(1));
    let longer = server.dsn().replace("postgres:", "postgresql:");
    assert_eq!(mint(POSTGRES, &longer, "k"), Ok(3));
    assert_eq!(mint(POSTGRES, &keywords, "k"), Ok(5));
    let more = format!("{keywords} timeout=5s sslmode=prefer");
    assert_eq!(mint(POSTGRES, &more, "k"), Ok(7));
    let tls = format!("{keywords} sslmode=require");
    assert_fails(
        mint(POSTGRES, &tls, "k"),
        "denied",
        &["does not support TLS"],
    );
    Ok(())
}

/// Users who log in by other methods than the server's default one.
#[test]
fn logins() -> TestResult {
    let server = Postgres::start()?;
    let users = ["md5", "password", "trust", "reject"];
    let file = server.dir().join("data/pg_hba.conf");
    let mut rules = String::from(
        "hostssl all encrypted 127.0.0.1/32 md5\nhost all encrypted 127.0.0.1/32 reject\n",
    );
    server.sql("CREATE ROLE encrypted LOGIN PASSWORD 'pw'")?;
    for user in users {
        let encryption = if user == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        server.sql(&format!(
            "SET password_encryption TO '{encryption}'; CREATE ROLE {user} LOGIN PASSWORD 'pw'; \
             GRANT CREATE ON SCHEMA public TO {user}"
        ))?;
        rules.push_str(&format!("host all {user} 127.0.0.1/32 {user}\n"));
    }
    let before = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{rules}{before}")).expect("written");
    server.stop()?;
    server.start_again()?;
    let minted = |user: &str, password: &str| {
        mint(
            POSTGRES,
            &postgres::dsn(user, password, &[server.port()]),
            user,
        )
    };
    assert_eq!(minted("md5", "pw"), Ok(1));
    server.sql("GRANT ALL ON artisanal_integers TO public")?;
    for user in ["password", "trust"] {
        assert_eq!(minted(user, "pw"), Ok(1), "{user}");
    }
    for user in ["md5", "password"] {
        assert_fails(minted(user, "wrong"), "denied", &["password"]);
    }
    assert_fails(minted("reject", "pw"), "denied", &["pg_hba.conf"]);
    assert_fails(
        minted("encrypted", "pw"),
        "denied",
        &["pg_hba.conf", "no encryption", "sslmode"],
    );
    Ok(())
}

#[test]
fn users_need_the_right_password_and_rights() -> TestResult {
    let server = Postgres::start()?;
    server.sql("CREATE ROLE poor LOGIN PASSWORD 'secret'")?;
    let dsn = |user: &str, password: &str| postgres::dsn(user, password, &[server.port()]);
    let minted = || mint(POSTGRES, &dsn("poor", "secret"), "k");
    let says = ["as an administrator", "CREATE TABLE", "GRANT", "\"poor\""];
    assert_fails(minted(), "denied", &says);
    assert_eq!(mint(POSTGRES, &server.dsn(), "k"), Ok(1));
    let grant = "GRANT SELECT, INSERT, UPDATE ON artisanal_integers TO \"poor\"";
    assert_fails(minted(), "denied", &[grant]);
    server.sql(grant)?;
    assert_eq!(minted(), Ok(3), "the hint is enough");
    let wrong = mint(POSTGRES, &dsn("poor", "wrong"), "k");
    assert_fails(wrong, "denied", &["password"]);
    let without = format!("postgres://poor@127.0.0.1:{}/{DATABASE}", server.port());
    assert_fails(
        mint(POSTGRES, &without, "k"),
        "denied",
        &["requires a password"],
    );
    assert_fails(mint(POSTGRES, &dsn("nobody", "x"), "k"), "denied", &[]);
    let elsewhere = server.dsn().replace(DATABASE, "nowhere");
    let says = ["nowhere", "CREATE DATABASE"];
    assert_fails(mint(POSTGRES, &elsewhere, "k"), "denied", &says);
    Ok(())
}

/// Mints through a new host, and returns the calls.
pub(crate) async fn mint_often(dsn: String, process: u32, calls: usize) -> Vec<Record> {
    let sequence = open(POSTGRES, &dsn, "often").await.expect("opened");
    let mut records = Vec::new();
    while records.len() < calls {
        let minted = backend::mint(&sequence, process, 1 + process).await;
        records.push(minted.unwrap_or_else(|error| panic!("{error}")));
    }
    records
}

pub(crate) fn assert_clean(records: Vec<Vec<Record>>) {
    let mut history = History::default();
    for records in records {
        history.extend(records);
    }
    history.assert_clean();
    assert_eq!(history.off_lattice(2, 1), []);
}

/// More clients than the pooler has connections share these, and none depends on what another one left behind on
/// a connection.
#[test]
fn a_pooler_may_lend_connections_for_one_transaction() -> TestResult {
    let server = Postgres::start()?;
    let pooler = PgBouncer::of(&server)?;
    let dsn = format!("{}?timeout=30s", pooler.dsn());
    let history = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for process in 0..8 {
            clients.spawn(mint_often(dsn.clone(), process, 30));
        }
        clients.join_all().await
    });
    assert_clean(history);
    let lent = server.connections_of(USER)?;
    assert!((1..=2).contains(&lent), "{lent} connections");
    run(async {
        let sequence = open(POSTGRES, &dsn, "often").await.expect("opened");
        let last = sequence.last().await.expect("last").expect("minted");
        sequence.set_last(last + 1000).await.expect("raised");
        assert!(sequence.next(1).await.expect("minted").first() > last + 1000);
        // Nothing that the engine sets stays on a connection.
        let (other, connection) = tokio_postgres::connect(&pooler.dsn(), NoTls)
            .await
            .expect("connected");
        tokio::spawn(connection);
        let rows = other
            .simple_query("SHOW lock_timeout")
            .await
            .expect("shown");
        let shown = rows.iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        assert_eq!(shown, Some("0"));
        // A setting that another client leaves behind does not move the table.
        other
            .batch_execute("CREATE SCHEMA elsewhere; SET search_path TO elsewhere")
            .await
            .expect("set");
        for _ in 0..8 {
            sequence.next(1).await.expect("minted");
        }
        // The pooler loses its server, and finds it again.
        server.kill();
        server.start_again().expect("an answer");
        sequence.next(1).await.expect("minted");
    });
    Ok(())
}

/// An open transaction of another client blocks a mint until its deadline. The server does not wait any longer
/// either.
#[test]
fn a_lock_of_somebody_else_is_waited_for_until_the_deadline() -> TestResult {
    let server = Postgres::start()?;
    let dsn = format!("{}?timeout=3s", server.dsn());
    run(async {
        let sequence = open(POSTGRES, &dsn, "row").await.expect("opened");
        let before = sequence.next(1).await.expect("minted");
        let other = client(&server).await;
        other
            .batch_execute("BEGIN; SELECT * FROM artisanal_integers WHERE name = 'row' FOR UPDATE")
            .await
            .expect("locked");
        for _ in 0..2 {
            let error = sequence.next(1).await.expect_err("locked");
            assert_eq!(kind(&error), "unavailable", "{error}");
            assert!(error.to_string().contains("locked"), "{error}");
        }
        wait::until_true("the server gives up", LIMIT, || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            server.sql(waiting).expect("an answer") == "0"
        })
        .expect("in time");
        other.batch_execute("ROLLBACK").await.expect("ended");
        let after = sequence.next(1).await.expect("minted");
        assert!(after.first() > before.last());
    });
    Ok(())
}

/// Whether a commit waits for a standby.
fn waits_for_standby(server: &Postgres) -> bool {
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1";
    let found = server.sql(waiting).expect("an answer");
    found.parse::<u32>().is_ok()
}

fn cancel_waits(server: &Postgres) {
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    server.sql(cancel).expect("an answer");
}

/// Waits until the server has taken over `synchronous_standby_names`, which one of its processes does some time
/// after it was told to.
fn until_commits_wait(server: &Postgres) {
    wait::until_true("commits wait for the standby", LIMIT, || {
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| server.sql("CREATE TABLE probe (); DROP TABLE probe"));
            loop {
                if waits_for_standby(server) {
                    cancel_waits(server);
                    let _ = commit.join().expect("no panic");
                    return true;
                }
                if commit.is_finished() {
                    return false;
                }
            }
        })
    })
    .expect("in time");
}

/// A commit that is not known to have reached the synchronous standby may be lost in a failover, although the
/// server reports it as done, with a warning.
#[test]
fn a_mint_whose_wait_for_a_standby_was_cancelled_is_discarded() -> TestResult {
    let server = Postgres::with(&["lc_messages=C"])?;
    let dsn = format!("{}?timeout=20s", server.dsn());
    run(async {
        let sequence = open(POSTGRES, &dsn, "k").await.expect("opened");
        sequence.next(1).await.expect("minted");
        server
            .alter_system("SET synchronous_standby_names = 'missing'")
            .expect("an answer");
        until_commits_wait(&server);
        let cancelled = std::thread::scope(|scope| {
            let minting = scope.spawn(|| run(async { sequence.next(1).await }));
            wait::until_true("a mint waits for the standby", LIMIT, || {
                waits_for_standby(&server)
            })
            .expect("in time");
            cancel_waits(&server);
            wait::until_true("it tries again, and waits again", LIMIT, || {
                waits_for_standby(&server)
            })
            .expect("in time");
            let mark = "SELECT mark FROM artisanal_integers";
            assert_eq!(
                server.sql(mark).expect("an answer"),
                "4",
                "the first one was committed"
            );
            server
                .alter_system("RESET synchronous_standby_names")
                .expect("an answer");
            minting.join().expect("no panic")
        });
        assert_eq!(
            cancelled.expect("minted").first(),
            5,
            "the integer 3 is skipped"
        );
    });
    Ok(())
}

/// The primary is set to read-only, as before a planned switch to another one.
#[test]
fn a_server_that_is_read_only_for_now_is_tried_again() -> TestResult {
    let server = Postgres::start()?;
    let dsn = format!("{}?timeout=2s", server.dsn());
    run(async {
        let sequence = open(POSTGRES, &dsn, "k").await.expect("opened");
        let before = sequence.next(1).await.expect("minted");
        server
            .alter_system("SET default_transaction_read_only = on")
            .expect("an answer");
        for _ in 0..2 {
            for error in [
                sequence.next(1).await.expect_err("read-only"),
                sequence.last().await.expect_err("read-only"),
                sequence.set_last(1000).await.expect_err("read-only"),
            ] {
                assert_eq!(kind(&error), "unavailable", "{error}");
                assert!(error.to_string().contains("read-only"), "{error}");
            }
        }
        server
            .alter_system("RESET default_transaction_read_only")
            .expect("an answer");
        let after = sequence.next(1).await.expect("minted");
        assert!(after.first() > before.last());
    });
    Ok(())
}

/// Connections that the server ends while nothing is asked of them are replaced without an error.
#[test]
fn idle_connections_may_be_ended() -> TestResult {
    let server = Postgres::start()?;
    run(async {
        let sequence = open(POSTGRES, &server.dsn(), "k").await.expect("opened");
        for expected in [1, 3, 5] {
            assert_eq!(sequence.next(1).await.expect("minted").first(), expected);
            server.sql(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
            )).expect("an answer");
            wait::until_true("it is ended", LIMIT, || {
                server.connections_of(USER).expect("an answer") == 0
            })
            .expect("in time");
        }
    });
    Ok(())
}
