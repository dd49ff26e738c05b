//! The engine `mysql`: ticket tables of the original client in various states, privileges, and DSNs.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Error};
use testbed::TestResult;
use testbed::contract::kind;
use testbed::mariadb::{DATABASE, MariaDb, PASSWORD, USER};
use testbed::proxy::Proxy;
use testbed::runtime::run;

const MYSQL: Builtin = Builtin::Mysql;

/// The statement that creates a ticket table like the original client's.
pub(crate) fn tickets(name: &str, engine: &str) -> String {
    format!(
        "CREATE TABLE `{name}` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, \
         stub CHAR(1) NOT NULL DEFAULT '', PRIMARY KEY (id), UNIQUE KEY stub (stub)) \
         ENGINE={engine}"
    )
}

#[test]
fn both_forms_of_the_dsn_reach_it() -> TestResult {
    let mariadb = MariaDb::start()?;
    let port = mariadb.port();
    let go = format!("{USER}:{PASSWORD}@tcp(127.0.0.1:{port})/{DATABASE}");
    assert_eq!(mint(MYSQL, &mariadb.dsn(), "integers"), Ok(1));
    assert_eq!(mint(MYSQL, &go, "integers"), Ok(3));
    let slow = format!("{go}?timeout=5s");
    assert_eq!(mint(MYSQL, &slow, "integers"), Ok(5));
    // The engine created a ticket table that the original client can continue with.
    let id = mariadb
        .sql_as_user("REPLACE INTO integers (stub) VALUES ('a'); SELECT LAST_INSERT_ID()")?;
    assert!(id.parse::<i64>().expect("an id") > 5, "{id}");
    Ok(())
}

/// The statements lock the table, and those after the one that fails are not run: only the end of the connection unlocks
/// it, while the sequence stays open.
#[test]
fn an_exhausted_table_is_unlocked_for_others() -> TestResult {
    let mariadb = MariaDb::start()?;
    for engine in ["InnoDB", "MyISAM"] {
        let name = format!("integers_{engine}");
        mariadb.sql_as_user(&tickets(&name, engine))?;
        run(async {
            let sequence = open(MYSQL, &mariadb.dsn(), &name).await.expect("opened");
            sequence.set_last(i64::MAX - 1).await.expect("raised");
            let refused = sequence.next(2).await.expect_err("one is left");
            assert_eq!(kind(&refused), "exhausted", "{engine}: {refused}");
            mariadb.sql_as_user(&format!(
                "SET lock_wait_timeout=30; LOCK TABLES {name} WRITE; UNLOCK TABLES"
            ))?;
            TestResult::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_originals_table_is_taken_as_it_is() -> TestResult {
    let mariadb = MariaDb::start()?;
    for engine in ["InnoDB", "MyISAM"] {
        let name = format!("integers_{engine}");
        mariadb.sql_as_user(&tickets(&name, engine))?;
        run(async {
            let sequence = open(MYSQL, &mariadb.dsn(), &name).await.expect("opened");
            assert_eq!(sequence.last().await, Ok(None), "{engine}: empty");
            assert_eq!(sequence.next(1).await.expect("minted").first(), 1);
            // A row that the original client wrote.
            mariadb.sql_as_user(&format!(
                "REPLACE INTO {name} (id, stub) VALUES (5000, 'a')"
            ))?;
            assert_eq!(sequence.last().await, Ok(Some(5000)), "{engine}");
            let minted = sequence.next(2).await.expect("minted");
            assert!(minted.first() > 5000, "{engine}: {minted:?}");
            sequence.set_last(1 << 54).await.expect("raised");
            let minted = sequence.next(1).await.expect("minted");
            assert!(minted.first() > 1 << 54, "{engine}: {minted:?}");
            TestResult::Ok(())
        })?;
        // The original client continues above the engine's integers.
        let id = mariadb.sql_as_user(&format!(
            "REPLACE INTO {name} (stub) VALUES ('a'); SELECT LAST_INSERT_ID()"
        ))?;
        assert!(
            id.parse::<i64>().expect("an id") > 1 << 54,
            "{engine}: {id}"
        );
        let rows = mariadb.sql_as_user(&format!("SELECT COUNT(*) FROM {name}"))?;
        assert_eq!(rows, "1", "{engine}: the table stays one row");
    }
    Ok(())
}

/// The column is unsigned, so it can hold values above `s64`.
#[test]
fn ids_beyond_s64_are_exhausted() -> TestResult {
    let mariadb = MariaDb::start()?;
    for engine in ["InnoDB", "MyISAM"] {
        let name = format!("integers_{engine}");
        mariadb.sql_as_user(&tickets(&name, engine))?;
        let above = "9223372036854775808";
        mariadb.sql_as_user(&format!("INSERT INTO {name} VALUES ({above}, 'a')"))?;
        assert_fails(mint(MYSQL, &mariadb.dsn(), &name), "exhausted", &[]);
        let id = mariadb.sql_as_user(&format!("SELECT MAX(id) FROM {name}"))?;
        assert_eq!(id, above, "{engine}: nothing was taken");
    }
    Ok(())
}

#[test]
fn tables_that_cannot_be_used_are_told_with_what_to_do() -> TestResult {
    let mariadb = MariaDb::start()?;
    let cases = [
        (
            "id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, stub CHAR(1) UNIQUE",
            "InnoDB",
            "MODIFY id BIGINT",
        ),
        (
            "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, stub CHAR(1)",
            "InnoDB",
            "ADD UNIQUE KEY",
        ),
        (
            "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, stub CHAR(1) UNIQUE",
            "Aria",
            "ENGINE=InnoDB",
        ),
        ("number BIGINT", "InnoDB", "AUTO_INCREMENT"),
    ];
    for (columns, engine, says) in cases {
        mariadb.sql_as_user(&format!(
            "DROP TABLE IF EXISTS integers; CREATE TABLE integers ({columns}) ENGINE={engine}"
        ))?;
        assert_fails(
            mint(MYSQL, &mariadb.dsn(), "integers"),
            "other",
            &["integers", says],
        );
    }
    Ok(())
}

#[test]
fn a_sequence_that_is_kept_twice_is_told() -> TestResult {
    let mariadb = MariaDb::start()?;
    assert_eq!(mint(MYSQL, &mariadb.dsn(), "k"), Ok(1));
    mariadb.sql_as_user(&tickets("k", "InnoDB"))?;
    assert_fails(
        mint(MYSQL, &mariadb.dsn(), "k"),
        "other",
        &["kept twice", "RENAME TABLE"],
    );
    Ok(())
}

/// When a table is dropped while a sequence is open, the sequence does not silently start again from 1.
#[test]
fn a_table_that_is_dropped_is_not_begun_anew() -> TestResult {
    let mariadb = MariaDb::start()?;
    run(async {
        let sequence = open(MYSQL, &mariadb.dsn(), "integers")
            .await
            .expect("opened");
        sequence.next(5).await.expect("minted");
        mariadb.sql_as_user("DROP TABLE integers")?;
        let error = sequence.next(1).await.expect_err("it is gone");
        assert!(matches!(kind(&error), "other" | "unavailable"), "{error}");
        Ok(())
    })
}

/// The same for a deleted row: open sequences that minted from it get an error, and do not write a low mark.
#[test]
fn a_row_that_is_deleted_is_not_begun_anew() -> TestResult {
    let mariadb = MariaDb::start()?;
    run(async {
        let sequence = open(MYSQL, &mariadb.dsn(), "row").await.expect("opened");
        let bystander = open(MYSQL, &mariadb.dsn(), "row").await.expect("opened");
        sequence.next(5).await.expect("minted");
        let last = bystander.last().await.expect("last").expect("minted");
        mariadb.sql_as_user("DELETE FROM artisanal_integers")?;
        for sequence in [&sequence, &bystander] {
            let gone = |error: Error| {
                assert_eq!(kind(&error), "other", "{error}");
                assert!(error.to_string().contains("is gone from it"), "{error}");
            };
            gone(sequence.next(1).await.expect_err("it is gone"));
            gone(sequence.last().await.expect_err("it is gone"));
            gone(sequence.set_last(last + 9).await.expect_err("it is gone"));
        }
        let rows = mariadb.sql_as_user("SELECT COUNT(*) FROM artisanal_integers")?;
        assert_eq!(rows, "0", "nothing was left behind");

        // A sequence that never saw the row cannot know that it is missing.
        let stranger = open(MYSQL, &mariadb.dsn(), "row").await.expect("opened");
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
        Ok(())
    })
}

/// A truncated ticket table counts from 1 again, so open sequences refuse to mint from it.
#[test]
fn a_ticket_table_that_is_truncated_is_not_minted_from() -> TestResult {
    let mariadb = MariaDb::start()?;
    run(async {
        let sequence = open(MYSQL, &mariadb.dsn(), "integers")
            .await
            .expect("opened");
        sequence.next(50).await.expect("minted");
        let last = sequence.last().await.expect("last").expect("minted");
        mariadb.sql_as_user("TRUNCATE integers")?;
        let error = sequence.next(1).await.expect_err("too low");
        assert_eq!(kind(&error), "other", "{error}");
        assert!(error.to_string().contains("older copy"), "{error}");
        sequence.last().await.expect_err("too low");
        sequence.set_last(last).await.expect("raised");
        assert!(sequence.next(1).await.expect("minted").first() > last);
        Ok(())
    })
}

/// A mint checks the server and the table in the same round trip in which it advances the mark.
#[test]
fn a_mint_is_one_round_trip_wherever_the_sequence_is() -> TestResult {
    const MINTS: usize = 50;
    let mariadb = MariaDb::start()?;
    let proxy = Proxy::to(mariadb.port())?;
    let dsn = mariadb.dsn_of(USER, PASSWORD, proxy.port());
    for key in ["row", "integers"] {
        run(async {
            let sequence = open(MYSQL, &format!("{dsn}?timeout=30s"), key)
                .await
                .expect("opened");
            sequence.next(1).await.expect("minted");
            let before = proxy.round_trips();
            for _ in 0..MINTS {
                sequence.next(1).await.expect("minted");
            }
            assert_eq!(proxy.round_trips() - before, MINTS, "{key}");
        });
    }
    assert_eq!(proxy.accepted(), 2, "one connection for each sequence");
    Ok(())
}

/// The row is created by the first mint, even when several clients mint concurrently.
#[test]
fn a_row_is_begun_once() -> TestResult {
    let mariadb = MariaDb::start()?;
    for key in ["first", "second", "third"] {
        let dsn = mariadb.dsn();
        let mut minted = run(async move {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let dsn = dsn.clone();
                clients.spawn(async move {
                    let sequence = open(MYSQL, &dsn, key).await.expect("opened");
                    sequence.next(1).await.expect("minted").first()
                });
            }
            clients.join_all().await
        });
        minted.sort_unstable();
        assert_eq!(minted, [1, 3, 5, 7, 9, 11, 13, 15]);
    }
    Ok(())
}

#[test]
fn users_need_the_right_password_and_rights() -> TestResult {
    let mariadb = MariaDb::start()?;
    mariadb.sql(&format!(
        "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT SELECT ON {DATABASE}.* TO poor@'127.0.0.1'"
    ))?;
    let dsn = |user: &str, password: &str| mariadb.dsn_of(user, password, mariadb.port());
    let minted = || mint(MYSQL, &dsn("poor", "secret"), "integers");
    assert_fails(minted(), "denied", &["as an administrator", "CREATE TABLE"]);
    mariadb.sql_as_user(&tickets("integers", "InnoDB"))?;
    assert_fails(
        minted(),
        "denied",
        &["as an administrator", "GRANT", "poor"],
    );
    assert_fails(
        mint(MYSQL, &dsn("poor", "wrong"), "integers"),
        "denied",
        &["password"],
    );
    assert_fails(
        mint(MYSQL, &dsn("nobody", "secret"), "integers"),
        "denied",
        &[],
    );
    let elsewhere = mariadb.dsn().replace(DATABASE, "nowhere");
    assert_fails(mint(MYSQL, &elsewhere, "integers"), "denied", &["nowhere"]);
    Ok(())
}

#[test]
fn a_server_that_is_read_only_for_now_is_tried_again() -> TestResult {
    let mariadb = MariaDb::start()?;
    let dsn = format!("{}?timeout=3s", mariadb.dsn());
    run(async {
        let sequence = open(MYSQL, &dsn, "integers").await.expect("opened");
        let before = sequence.next(1).await.expect("minted");
        mariadb.sql("SET GLOBAL read_only = 1")?;
        let error = sequence.next(1).await.expect_err("read-only");
        assert_eq!(kind(&error), "unavailable", "{error}");
        mariadb.sql("SET GLOBAL read_only = 0")?;
        let after = sequence.next(1).await.expect("minted");
        assert!(after.first() > before.last());
        Ok(())
    })
}

/// An open transaction of another client blocks a mint until its deadline, and no longer.
#[test]
fn a_lock_of_somebody_else_is_waited_for_until_the_deadline() -> TestResult {
    let mariadb = MariaDb::start()?;
    let dsn = format!("{}?timeout=3s", mariadb.dsn());
    run(async {
        let sequence = open(MYSQL, &dsn, "row").await.expect("opened");
        let before = sequence.next(1).await.expect("minted");
        let pool = mysql_async::Pool::new(mariadb.dsn().as_str());
        let mut other = pool.get_conn().await.expect("connected");
        use mysql_async::prelude::Queryable;
        let lock = "SELECT * FROM artisanal_integers WHERE name = 'row' FOR UPDATE";
        other.query_drop("BEGIN").await.expect("begun");
        other.query_drop(lock).await.expect("locked");
        let error = sequence.next(1).await.expect_err("locked");
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        other.query_drop("ROLLBACK").await.expect("ended");
        let after = sequence.next(1).await.expect("minted");
        assert!(after.first() > before.last());
    });
    Ok(())
}
