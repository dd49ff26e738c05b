//! The engine `postgres` with several hosts: standbys, promotions, replaced primaries.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Error};
use testbed::TestResult;
use testbed::contract::kind;
use testbed::postgres::{self, PASSWORD, Postgres, USER};
use testbed::proxy::{Fault, Proxy};
use testbed::runtime::run;

const POSTGRES: Builtin = Builtin::Postgres;

/// The minter's DSN for these servers, in this order.
fn dsn(servers: &[&Postgres]) -> String {
    let ports: Vec<_> = servers.iter().map(|server| server.port()).collect();
    format!("{}?timeout=4s", postgres::dsn(USER, PASSWORD, &ports))
}

fn name(server: &Postgres) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// The mark in the row of the key `k`; 0 when there is none.
fn mark(server: &Postgres) -> i64 {
    let select = "SELECT COALESCE(MAX(mark),0) FROM artisanal_integers WHERE name='k'";
    server
        .sql(select)
        .expect("selected")
        .parse()
        .expect("a number")
}

#[test]
fn a_standby_is_not_minted_from() -> TestResult {
    let primary = Postgres::hasty()?;
    let standby = primary.standby()?;
    assert_eq!(mint(POSTGRES, &dsn(&[&standby, &primary]), "k"), Ok(1));
    assert_eq!(mint(POSTGRES, &dsn(&[&primary, &standby]), "k"), Ok(3));
    assert_fails(
        mint(POSTGRES, &dsn(&[&standby]), "k"),
        "unavailable",
        &["read-only", &name(&standby)],
    );
    standby.catch_up(&primary)?;
    primary.kill();
    run(async {
        let sequence = open(POSTGRES, &dsn(&[&standby, &primary]), "k")
            .await
            .expect("opened");
        for error in [
            sequence.next(1).await.expect_err("no primary"),
            sequence.last().await.expect_err("no primary"),
        ] {
            assert_eq!(kind(&error), "unavailable", "{error}");
        }
    });
    assert_eq!(mark(&standby), 4);
    Ok(())
}

#[test]
fn two_servers_that_are_no_copies_are_refused() -> TestResult {
    let (a, b) = (Postgres::hasty()?, Postgres::hasty()?);
    // Both were copied from one folder, like two clones of one machine: the same system identifier and timeline.
    let says = [&*name(&a), &*name(&b), "timeline 1", "pg_rewind"];
    assert_fails(mint(POSTGRES, &dsn(&[&a, &b]), "k"), "denied", &says);
    assert_fails(mint(POSTGRES, &dsn(&[&b, &a]), "k"), "denied", &says);
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename='artisanal_integers'";
    assert_eq!((&*a.sql(tables)?, &*b.sql(tables)?), ("0", "0"));
    a.alter_system("SET default_transaction_read_only = on")?;
    let minted = mint(POSTGRES, &dsn(&[&a, &b]), "k")?;
    assert_eq!((minted, mark(&b)), (1, 2));
    Ok(())
}

/// Two addresses of the same server count as one server, and hosts that are down or do not answer leave enough
/// time for the others.
#[test]
fn hosts_that_are_not_there_do_not_matter() -> TestResult {
    let server = Postgres::hasty()?;
    let by_another_name = Proxy::to(server.port())?;
    let silent = [(); 3].map(|()| Proxy::to(server.port()).expect("a proxy"));
    for proxy in &silent {
        proxy.set(Fault::Stall)?;
    }
    let closed = Proxy::to(server.port())?;
    closed.set(Fault::Refuse)?;
    let mut ports: Vec<_> = silent.iter().map(Proxy::port).collect();
    ports.extend([closed.port(), server.port(), by_another_name.port()]);
    let dsn = format!("{}?timeout=4s", postgres::dsn(USER, PASSWORD, &ports));
    assert_eq!(mint(POSTGRES, &dsn, "k"), Ok(1));
    assert_eq!(mint(POSTGRES, &dsn, "k"), Ok(3));
    Ok(())
}

/// The primary fails, its standby is promoted, and the old primary comes back as a primary.
#[test]
fn an_old_primary_that_comes_back_is_not_minted_from() -> TestResult {
    let old = Postgres::hasty()?;
    let new = old.standby()?;
    let witness = old.standby()?;
    let both = dsn(&[&old, &new]);
    let all = dsn(&[&old, &new, &witness]);
    run(async {
        let sequence = open(POSTGRES, &both, "k").await.expect("opened");
        let mut last = sequence.next(5).await.expect("minted").last();
        new.catch_up(&old).expect("an answer");
        witness.catch_up(&old).expect("an answer");
        old.kill();
        new.promote().expect("an answer");
        let span = sequence
            .next(5)
            .await
            .expect("minted from the promoted one");
        assert!(span.first() > last, "{span:?} after {last}");
        last = span.last();

        // Both accept writes. The timelines show which one is the newer.
        old.start_again().expect("an answer");
        for dsn in [&both, &dsn(&[&new, &old])] {
            let opened = open(POSTGRES, dsn, "k").await.expect("opened");
            let span = opened.next(1).await.expect("minted");
            assert!(span.first() > last, "{span:?} after {last}");
            last = span.last();
        }
        let kept = mark(&old);

        // Only the old primary is left. A process that used the new one does not go back to it, and one that is
        // new does not use it if a standby has followed the new one.
        witness
            .alter_system(&format!(
                "SET primary_conninfo = 'host=127.0.0.1 port={} user=postgres'",
                new.port()
            ))
            .expect("an answer");
        new.sql("CHECKPOINT").expect("an answer");
        witness.catch_up(&new).expect("an answer");
        witness.sql("CHECKPOINT").expect("an answer");
        new.kill();
        let was_replaced = |error: Error| {
            assert_eq!(kind(&error), "unavailable", "{error}");
            for text in [&*name(&old), "timeline 1", "replaced"] {
                assert!(error.to_string().contains(text), "no {text} in: {error}");
            }
        };
        was_replaced(sequence.next(1).await.expect_err("an old primary"));
        was_replaced(sequence.last().await.expect_err("an old primary"));
        let fresh = open(POSTGRES, &all, "k").await.expect("opened");
        was_replaced(fresh.next(1).await.expect_err("an old primary"));
        // The standby need not answer again.
        witness.kill();
        was_replaced(fresh.next(1).await.expect_err("an old primary"));
        assert_eq!(mark(&old), kept, "nothing was written");

        new.start_again().expect("an answer");
        for sequence in [&sequence, &fresh] {
            let span = sequence.next(1).await.expect("minted");
            assert!(span.first() > last, "{span:?} after {last}");
            last = span.last();
        }
    });
    Ok(())
}

/// A server under the same address is replaced by one that is no copy of it.
#[test]
fn another_system_is_not_minted_from() -> TestResult {
    let (a, b) = (Postgres::hasty()?, Postgres::anew()?);
    let proxy = Proxy::to(a.port())?;
    let through = format!(
        "{}?timeout=5s",
        postgres::dsn(USER, PASSWORD, &[proxy.port()])
    );
    run(async {
        let sequence = open(POSTGRES, &through, "k").await.expect("opened");
        let last = sequence.next(5).await.expect("minted").last();
        proxy.set(Fault::Refuse).expect("set");
        proxy.aim(b.port());
        proxy.set(Fault::None).expect("set");
        let error = sequence.next(1).await.expect_err("another system");
        assert_eq!(kind(&error), "denied", "{error}");
        for text in ["system identifier", "restart"] {
            assert!(error.to_string().contains(text), "{error}");
        }
        proxy.set(Fault::Refuse).expect("set");
        proxy.aim(a.port());
        proxy.set(Fault::None).expect("set");
        assert!(sequence.next(1).await.expect("minted").first() > last);
    });
    let says = [&*name(&a), &*name(&b), "different system identifiers"];
    assert_fails(mint(POSTGRES, &dsn(&[&a, &b]), "k"), "denied", &says);
    Ok(())
}

/// Two standbys are both promoted: both are on the next timeline, which none of them shares with the other.
#[test]
fn two_promoted_standbys_are_refused() -> TestResult {
    let primary = Postgres::hasty()?;
    let (a, b) = (primary.standby()?, primary.standby()?);
    let all = dsn(&[&primary, &a, &b]);
    assert_eq!(mint(POSTGRES, &all, "k"), Ok(1));
    a.promote()?;
    b.promote()?;
    let says = [&*name(&a), &*name(&b), "timeline 2"];
    assert_fails(mint(POSTGRES, &all, "k"), "denied", &says);
    assert_eq!([mark(&a), mark(&b)], [2, 2]);
    Ok(())
}
