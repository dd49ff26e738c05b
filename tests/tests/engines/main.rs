//! Tests of single engines: behaviour that depends on the kind of backend.

mod forms;
mod http;
mod mysql;
mod mysql_hosts;
mod originals;
mod postgres;
mod postgres_hosts;
mod postgres_impostor;
mod postgres_table;
mod redis;
mod redis_cluster;
mod redis_hosts;
mod redis_sentinel;
mod resets;
mod rqlite;
mod secrets;
mod summitdb;

use int_host::{Builtin, Config, Error, Host, Sequence};
use testbed::TestResult;
use testbed::backend;
use testbed::contract::assert_fails;
use testbed::proxy::Proxy;
use testbed::runtime::run;

/// Opens a sequence of an engine on a new host, with the engine's default lattice.
async fn open(engine: Builtin, dsn: &str, key: &str) -> Result<Sequence, Error> {
    backend::open(&backend::host(None)?, &engine.into(), dsn, key).await
}

/// Opens a sequence and mints one integer.
fn mint(engine: Builtin, dsn: &str, key: &str) -> Result<i64, Error> {
    run(async { Ok(open(engine, dsn, key).await?.next(1).await?.first()) })
}

/// Opens a sequence on a host that allows an additional address, and mints one integer.
fn mint_allowing(engine: Builtin, dsn: &str, allowed: &str) -> Result<i64, Error> {
    let mut options = int_host::Options::default();
    options.cache = Some(backend::cache());
    options.allow = vec![engine_dsn::Address::parse(allowed).expect("an address")];
    let config = Config {
        dsn: dsn.to_owned(),
        ..Config::default()
    };
    run(async {
        let sequence = Host::new(options)?.open(engine, config).await?;
        Ok(sequence.next(1).await?.first())
    })
}

/// An engine dials its server once for any number of calls, apart from rare reconnects when a reply is late on
/// a busy machine, and each mint is one round trip.
#[test]
fn connections_are_kept_and_mints_are_one_round_trip() -> TestResult {
    const MINTS: usize = 100;
    for engine in [
        Builtin::Redis,
        Builtin::Mysql,
        Builtin::Postgres,
        Builtin::Rqlite,
        Builtin::Http,
    ] {
        let kinds = backend::KINDS.iter();
        let kind = kinds
            .copied()
            .find(|kind| kind.engine == engine)
            .expect("every engine has a backend");
        let backend = (kind.start)()?;
        let proxy = Proxy::to(backend.port().expect("one server"))?;
        run(async {
            let dsn = backend.dsn_on(proxy.port());
            let sequence = open(engine, &dsn, "kept").await.expect("opened");
            // The first calls log in, inspect the server, and create missing tables.
            for _ in 0..2 {
                sequence.next(1).await.expect("minted");
            }
            let (dialled, begun) = (proxy.accepted(), proxy.round_trips());
            for _ in 0..MINTS {
                sequence.next(1).await.expect("minted");
            }
            let again = proxy.accepted() - dialled;
            let round_trips = proxy.round_trips() - begun;
            // A reconnect costs additional round trips.
            let most = MINTS + 20 * again;
            assert!(
                (MINTS..=most).contains(&round_trips),
                "{engine:?}: {round_trips} round trips, dialled again {again} times"
            );
        });
        let dialled = proxy.accepted();
        assert!((1..10).contains(&dialled), "{engine:?}: {dialled}");
    }
    Ok(())
}
