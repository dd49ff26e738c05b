//! The backends' own clients, minting with the statements that the engines send.
//!
//! One kept connection, one statement a call, no deadline and no retry: what a mint costs where none of
//! this project is in between, save for the arithmetic of the lattice.

mod mysql;
mod rqlite;

use anyhow::Context;
use artisanal_core::{Lattice, Span};
use engine_dsn::Dsn;
use int_host::Builtin;
use int_host::store::Store;
use mysql::Mysql;
use redis::aio::MultiplexedConnection;
use rqlite::Rqlite;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

/// Where a backend is.
#[derive(Clone, Debug)]
pub enum Place {
    /// There.
    Dsn(String),
    /// In the files of this folder.
    Data(PathBuf),
    /// Nowhere: in memory.
    Memory,
}

/// One sequence, reached by a native client.
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
    Rqlite(Rqlite),
}

impl Native {
    /// Connects. Tables that are missing are made.
    ///
    /// # Errors
    /// When there is no such engine, or the backend cannot be reached.
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
            (Builtin::Rqlite, Place::Dsn(dsn)) => {
                Client::Rqlite(Rqlite::connect(&parse(dsn)?).await?)
            }
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
    /// Whatever the client says.
    pub async fn next(&self, count: u32) -> anyhow::Result<Span> {
        let by = self.lattice.stride(count).context("too many integers")?;
        let mark = self.advance(by).await?;
        self.lattice
            .span(mark, count)
            .with_context(|| format!("the mark {mark} leaves no span of {count}"))
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
            Client::Rqlite(rqlite) => rqlite.advance(&self.key, by).await,
        }
    }
}

/// The lattice of an engine's sequences where nobody asked for another one.
///
/// # Errors
/// None that can happen.
pub fn lattice(engine: Builtin) -> anyhow::Result<Lattice> {
    Ok(Lattice::new(Lattice::INCREMENT, engine.about().offset)?)
}

fn parse(dsn: &str) -> anyhow::Result<Dsn> {
    dsn.parse().context("the DSN")
}
