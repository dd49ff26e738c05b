//! Minting with the backends' native clients and the same statements as the engines.
//!
//! A client has one persistent connection, one statement per call, no deadline and no retry. This is the
//! cost of a mint without this project, except for the lattice arithmetic.

mod connection;
mod http;
mod mysql;
mod postgres;
mod quorum;
mod rqlite;

use self::http::Http;
use anyhow::Context;
use artisanal_core::{Lattice, Span};
use engine_dsn::Dsn;
use int_host::Builtin;
use int_host::store::Store;
use mysql::Mysql;
use postgres::Postgres;
use quorum::Quorum;
use redis::aio::MultiplexedConnection;
use rqlite::Rqlite;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

/// The location of a backend.
#[derive(Clone, Debug)]
pub enum Place {
    /// At this DSN.
    Dsn(String),
    /// In the files of this folder.
    Data(PathBuf),
    /// In memory.
    Memory,
}

/// A sequence that is accessed with a native client.
pub struct Native {
    client: Client,
    key: String,
    lattice: Lattice,
}

enum Client {
    Memory(AtomicI64),
    Keyvalue(Store),
    Redis(MultiplexedConnection),
    Mysql(Mysql),
    Postgres(Postgres),
    Rqlite(Rqlite),
    Quorum(Quorum),
    Http(Http),
}

impl Native {
    /// Connects, and creates missing tables.
    ///
    /// # Errors
    /// When there is no such engine, or the connection to the backend fails.
    pub async fn connect(engine: &str, place: &Place, key: &str) -> anyhow::Result<Self> {
        let engine =
            Builtin::named(engine).with_context(|| format!("no engine is called {engine}"))?;
        let client = match (engine, place) {
            (Builtin::Memory, _) => Client::Memory(AtomicI64::new(0)),
            (Builtin::Keyvalue, Place::Data(data)) => Client::Keyvalue(Store::open(data)?),
            (Builtin::Redis | Builtin::Summitdb, Place::Dsn(dsn)) => {
                let client = redis::Client::open(dsn.as_str())?;
                Client::Redis(client.get_multiplexed_async_connection().await?)
            }
            (Builtin::Mysql, Place::Dsn(dsn)) => Client::Mysql(Mysql::connect(&parse(dsn)?).await?),
            (Builtin::Postgres, Place::Dsn(dsn)) => {
                Client::Postgres(Postgres::connect(&parse(dsn)?).await?)
            }
            (Builtin::Rqlite, Place::Dsn(dsn)) => {
                Client::Rqlite(Rqlite::connect(&parse(dsn)?).await?)
            }
            (Builtin::Quorum, Place::Dsn(dsn)) => {
                Client::Quorum(Quorum::connect(&parse(dsn)?).await?)
            }
            (Builtin::Http, Place::Dsn(dsn)) => Client::Http(Http::connect(&parse(dsn)?).await?),
            (engine, place) => anyhow::bail!("no client of {engine:?} for {place:?}"),
        };
        Ok(Self {
            client,
            key: key.to_owned(),
            lattice: lattice(engine)?,
        })
    }

    /// Mints `count` integers.
    ///
    /// # Errors
    /// Those of the client.
    pub async fn next(&self, count: u32) -> anyhow::Result<Span> {
        let by = self.lattice.stride(count).context("too many integers")?;
        let mark = self.advance(by).await?;
        self.lattice
            .span(mark, count)
            .with_context(|| format!("the mark {mark} does not allow a span of {count}"))
    }

    async fn advance(&self, by: i64) -> anyhow::Result<i64> {
        match &self.client {
            Client::Memory(mark) => Ok(mark.fetch_add(by, Ordering::SeqCst) + by),
            Client::Keyvalue(store) => Ok(store.increment("native", &self.key, by).await?),
            Client::Redis(connection) => Ok(redis::cmd("INCRBY")
                .arg(&self.key)
                .arg(by)
                .query_async(&mut connection.clone())
                .await?),
            Client::Mysql(mysql) => mysql.advance(&self.key, by).await,
            Client::Postgres(postgres) => postgres.advance(&self.key, by).await,
            Client::Rqlite(rqlite) => rqlite.advance(&self.key, by).await,
            Client::Quorum(quorum) => quorum.advance(&self.key, by).await,
            // The server has the default lattice, too.
            Client::Http(http) => http.next(&self.key, by / self.lattice.increment()).await,
        }
    }
}

/// The default lattice of an engine.
///
/// # Errors
/// When the engine's default offset is invalid, which cannot happen.
pub fn lattice(engine: Builtin) -> anyhow::Result<Lattice> {
    Ok(Lattice::new(Lattice::INCREMENT, engine.about().offset)?)
}

fn parse(dsn: &str) -> anyhow::Result<Dsn> {
    dsn.parse().context("the DSN")
}
