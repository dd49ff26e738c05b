//! The table of the engine `postgres` in various states, and the statement that mints from it.

use crate::postgres::{POSTGRES, assert_clean, mint_often};
use crate::{assert_fails, mint, open};
use int_host::Error;
use testbed::TestResult;
use testbed::contract::kind;
use testbed::postgres::{self, DATABASE, PASSWORD, Postgres, USER};
use testbed::proxy::Proxy;
use testbed::runtime::run;

/// The table is where the user's `search_path` has it. Sessions name its schema from then on.
#[test]
fn the_table_may_be_in_any_schema() -> TestResult {
    let server = Postgres::start()?;
    server.sql_as_user(&format!(
        "CREATE SCHEMA \"my tickets\"; ALTER ROLE {USER} SET search_path TO missing, \"my tickets\", public"
    ))?;
    assert_eq!(mint(POSTGRES, &server.dsn(), "k"), Ok(1));
    let marks = server.sql("SELECT name, mark FROM \"my tickets\".artisanal_integers")?;
    assert_eq!(marks, "k\t2");
    server.sql_as_user(&format!("ALTER ROLE {USER} SET search_path TO missing"))?;
    assert_fails(
        mint(POSTGRES, &server.dsn(), "k"),
        "other",
        &["search_path"],
    );
    Ok(())
}

#[test]
fn tables_that_cannot_be_used_are_told_with_what_to_do() -> TestResult {
    let server = Postgres::start()?;
    for (columns, rows, case, says) in [
        ("name text, mark bigint", "('k', 2)", "other", "PRIMARY KEY"),
        (
            "key text PRIMARY KEY, mark bigint",
            "('k', 2)",
            "other",
            "PRIMARY KEY",
        ),
        (
            "name text PRIMARY KEY, value bigint",
            "('k', 2)",
            "other",
            "mark bigint",
        ),
        (
            "name text PRIMARY KEY, mark text",
            "('k', '2')",
            "other",
            "artisanal_integers",
        ),
    ] {
        server.sql_as_user(&format!(
            "SET client_min_messages TO warning; DROP TABLE IF EXISTS artisanal_integers; \
             CREATE TABLE artisanal_integers ({columns}); INSERT INTO artisanal_integers VALUES {rows}"
        ))?;
        assert_fails(mint(POSTGRES, &server.dsn(), "k"), case, &[says]);
    }
    // A table that lost its key is found out by a sequence that only updates.
    server.sql_as_user("DROP TABLE artisanal_integers")?;
    run(async {
        let sequence = open(POSTGRES, &server.dsn(), "k").await.expect("opened");
        sequence.next(1).await.expect("minted");
        server
            .sql_as_user(
                "ALTER TABLE artisanal_integers DROP CONSTRAINT artisanal_integers_pkey; \
             INSERT INTO artisanal_integers VALUES ('k', 50)",
            )
            .expect("an answer");
        for error in [
            sequence.next(1).await.expect_err("two rows"),
            sequence.last().await.expect_err("two rows"),
        ] {
            assert_eq!(kind(&error), "other", "{error}");
            assert!(error.to_string().contains("several rows"), "{error}");
        }
    });
    Ok(())
}

/// Open sequences that minted from a row that was deleted, or whose table was dropped, get an error, and do not
/// write a low mark.
#[test]
fn a_row_that_is_deleted_is_not_begun_anew() -> TestResult {
    let server = Postgres::start()?;
    for remove in [
        "DELETE FROM artisanal_integers",
        "DROP TABLE artisanal_integers",
    ] {
        run(async {
            let sequence = open(POSTGRES, &server.dsn(), "row").await.expect("opened");
            let bystander = open(POSTGRES, &server.dsn(), "row").await.expect("opened");
            sequence.next(5).await.expect("minted");
            let last = bystander.last().await.expect("last").expect("minted");
            server.sql_as_user(remove).expect("an answer");
            for sequence in [&sequence, &bystander] {
                let gone = |error: Error| {
                    assert_eq!(kind(&error), "other", "{error}");
                    assert!(error.to_string().contains("is gone from it"), "{error}");
                };
                gone(sequence.next(1).await.expect_err("it is gone"));
                gone(sequence.last().await.expect_err("it is gone"));
                gone(sequence.set_last(last + 9).await.expect_err("it is gone"));
            }
            // A sequence that never saw the row cannot know that it is missing.
            let stranger = open(POSTGRES, &server.dsn(), "row").await.expect("opened");
            assert_eq!(stranger.last().await, Ok(None), "nothing was left behind");
            assert_eq!(stranger.next(1).await.expect("minted").first(), 1);
            for sequence in [&sequence, &bystander] {
                let older = |error: Error| {
                    assert_eq!(kind(&error), "other", "{error}");
                    assert!(error.to_string().contains("older copy"), "{error}");
                };
                older(sequence.next(1).await.expect_err("too low"));
                older(sequence.last().await.expect_err("too low"));
                older(sequence.set_last(last - 1).await.expect_err("too low"));
            }
            assert_eq!(stranger.last().await, Ok(Some(2)), "nothing was minted");
            // The remedy that the message recommends.
            sequence.set_last(last).await.expect("raised");
            assert!(bystander.next(1).await.expect("minted").first() > last);
            assert!(stranger.next(1).await.expect("minted").first() > last);
            server
                .sql_as_user("DELETE FROM artisanal_integers")
                .expect("an answer");
        });
    }
    Ok(())
}

/// A mint checks the row in the same round trip in which it advances the mark.
#[test]
fn a_mint_is_one_round_trip() -> TestResult {
    const MINTS: usize = 50;
    let server = Postgres::start()?;
    let proxy = Proxy::to(server.port())?;
    let dsn = postgres::dsn(USER, PASSWORD, &[proxy.port()]);
    run(async {
        let sequence = open(POSTGRES, &format!("{dsn}?timeout=30s"), "k")
            .await
            .expect("opened");
        sequence.next(1).await.expect("minted");
        let before = proxy.round_trips();
        for _ in 0..MINTS {
            sequence.next(1).await.expect("minted");
        }
        assert_eq!(proxy.round_trips() - before, MINTS);
        let before = proxy.round_trips();
        sequence.last().await.expect("last");
        assert_eq!(proxy.round_trips() - before, 1);
    });
    assert_eq!(proxy.accepted(), 1);
    Ok(())
}

/// The table and the row are created by the first mint, even when several clients mint concurrently.
#[test]
fn a_row_is_begun_once() -> TestResult {
    let server = Postgres::start()?;
    for round in 0..3 {
        let dsn = server.dsn();
        let mut minted = run(async move {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let dsn = dsn.clone();
                clients.spawn(async move {
                    let sequence = open(POSTGRES, &dsn, "k").await.expect("opened");
                    sequence.next(1).await.expect("minted").first()
                });
            }
            clients.join_all().await
        });
        minted.sort_unstable();
        assert_eq!(minted, [1, 3, 5, 7, 9, 11, 13, 15], "round {round}");
        server.sql_as_user("DROP TABLE artisanal_integers")?;
    }
    Ok(())
}

/// Transactions that see the database as it was when they began fail when another one has changed the row.
#[test]
fn stricter_isolation_levels_are_retried() -> TestResult {
    let server = Postgres::start()?;
    server.sql(&format!(
        "ALTER DATABASE {DATABASE} SET default_transaction_isolation TO serializable"
    ))?;
    let dsn = format!("{}?timeout=30s", server.dsn());
    let history = run(async move {
        let mut clients = tokio::task::JoinSet::new();
        for process in 0..6 {
            clients.spawn(mint_often(dsn.clone(), process, 30));
        }
        clients.join_all().await
    });
    assert_clean(history);
    Ok(())
}
