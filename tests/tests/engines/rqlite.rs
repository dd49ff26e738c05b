//! The engine `rqlite`: users, existing tables, and nodes that are not in the DSN.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Error};
use std::net::Ipv4Addr;
use std::time::Instant;
use testbed::TestResult;
use testbed::contract::kind;
use testbed::rqlite::{self, Rqlite};
use testbed::runtime::run;
use testbed::scratch::Scratch;

const RQLITE: Builtin = Builtin::Rqlite;

#[test]
fn users_need_the_right_password_and_rights() -> TestResult {
    let scratch = Scratch::new("auth")?;
    let file = scratch.join("auth.json");
    let users = r#"[
        {"username": "minter", "password": "secret", "perms": ["execute", "query", "status"]},
        {"username": "reader", "password": "secret", "perms": ["query"]},
        {"username": "*", "perms": ["ready", "status"]}
    ]"#;
    std::fs::write(&file, users).expect("written");
    let file = file.to_str().expect("UTF-8");
    let rqlite = Rqlite::with(&["-auth", file])?;
    let port = rqlite.ports()[0];
    let dsn = |login: &str| format!("http://{login}127.0.0.1:{port}");
    assert_eq!(mint(RQLITE, &dsn("minter:secret@"), "k"), Ok(1));
    assert_eq!(mint(RQLITE, &dsn("minter:secret@"), "k"), Ok(3));
    for login in ["", "minter:wrong@", "reader:secret@", "nobody:secret@"] {
        assert_fails(mint(RQLITE, &dsn(login), "k"), "denied", &[]);
    }
    Ok(())
}

#[test]
fn a_table_of_another_shape_is_told() -> TestResult {
    for table in [
        "CREATE TABLE artisanal_integers (id INTEGER)",
        "CREATE TABLE artisanal_integers (name TEXT, mark INTEGER)",
        "CREATE VIEW artisanal_integers AS SELECT 'k' AS name, 5 AS mark",
    ] {
        let rqlite = Rqlite::start()?;
        rqlite.sql(table)?;
        assert_fails(
            mint(RQLITE, &rqlite.dsn(), "k"),
            "other",
            &["artisanal_integers"],
        );
    }
    Ok(())
}

#[test]
fn keys_are_values_and_not_statements() -> TestResult {
    let rqlite = Rqlite::start()?;
    for key in [
        "'; DROP TABLE artisanal_integers; --",
        "a'b",
        "a\"b",
        "%_",
        "\\",
    ] {
        assert_eq!(mint(RQLITE, &rqlite.dsn(), key), Ok(1), "{key}");
        assert_eq!(mint(RQLITE, &rqlite.dsn(), key), Ok(3), "{key}");
    }
    let rows = rqlite.sql("SELECT COUNT(*) FROM artisanal_integers")?;
    assert_eq!(rows["values"], serde_json::json!([[5]]));
    Ok(())
}

#[test]
fn the_cluster_names_the_nodes_that_the_dsn_does_not() -> TestResult {
    let rqlite = Rqlite::cluster(3)?;
    let named = rqlite.leader()?;
    let dsn = rqlite::dsn(&[rqlite.ports()[named]]);
    run(async {
        let sequence = open(RQLITE, &dsn, "k").await.expect("opened");
        // The engine asks for the list of nodes at the second call: a single mint does not need it.
        sequence.next(1).await.expect("minted");
        let before = sequence.next(1).await.expect("minted");
        rqlite.node(named).kill();
        let end = Instant::now() + rqlite::ELECTION;
        let after = loop {
            match sequence.next(1).await {
                Ok(minted) => break minted,
                Err(Error::Unavailable(_)) if Instant::now() < end => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert!(after.first() > before.last());
    });
    Ok(())
}

/// Followers forward requests to the leader, so the DSN may contain any node.
#[test]
fn every_node_mints() -> TestResult {
    let rqlite = Rqlite::cluster(3)?;
    let mut expected = 1;
    for port in rqlite.ports() {
        assert_eq!(mint(RQLITE, &rqlite::dsn(&[port]), "k"), Ok(expected));
        expected += 2;
    }
    Ok(())
}

/// The engine learns of nodes on other hosts from the cluster, and the host refuses connections to them. While
/// the node in the DSN is down, the error must still be `unavailable`, a temporary one, from the first call on.
#[test]
fn refused_nodes_do_not_turn_a_node_that_is_away_into_a_refusal() -> TestResult {
    let hosts = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let rqlite = Rqlite::on_hosts(&hosts)?;
    let dsn = format!("http://127.0.0.1:{}?timeout=3s", rqlite.ports()[0]);
    let away = |error: &Error| {
        assert_eq!(kind(error), "unavailable", "{error}");
        assert!(
            error.to_string().contains("--allow-host 127.0.0."),
            "{error}"
        );
    };
    run(async {
        let sequence = open(RQLITE, &dsn, "k").await.expect("opened");
        // The engine asks for the list of nodes at the second call.
        sequence.next(1).await.expect("minted");
        let before = sequence.next(1).await.expect("minted");
        rqlite.node(0).kill();
        for _ in 0..3 {
            away(
                &sequence
                    .next(1)
                    .await
                    .expect_err("the only node that may be reached is away"),
            );
        }
        rqlite.node(0).start_again()?;
        let end = Instant::now() + rqlite::ELECTION;
        let after = loop {
            match sequence.next(1).await {
                Ok(minted) => break minted,
                Err(error) if Instant::now() < end => away(&error),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(after.first() > before.last());
        Ok(())
    })
}
