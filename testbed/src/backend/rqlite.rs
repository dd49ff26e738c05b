//! The engine `rqlite` on a real single node. The fault tests use clusters.

use super::{Backend, Reach};
use crate::error::Result;
use crate::rqlite::{self, Rqlite};

pub(super) struct RqliteBackend {
    server: Rqlite,
}

impl RqliteBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            server: Rqlite::start()?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for RqliteBackend {
    fn dsn(&self) -> String {
        self.server.dsn()
    }

    fn reach(&self) -> Reach {
        Reach::Everybody
    }

    fn port(&self) -> Option<u16> {
        self.server.ports().first().copied()
    }

    fn dsn_on(&self, port: u16) -> String {
        rqlite::dsn(&[port])
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(format!("http://somebody:{password}@127.0.0.1:{port}"))
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        // The documented table, which the engine uses if it exists.
        self.server.sql(
            "CREATE TABLE IF NOT EXISTS artisanal_integers \
             (name TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        )?;
        self.server.sql(&format!(
            "INSERT OR REPLACE INTO artisanal_integers VALUES ('{key}', {mark})"
        ))?;
        Ok(true)
    }

    fn knows_other_ways(&self) -> bool {
        true
    }

    fn crash(&self) -> Result<bool> {
        self.server.node(0).kill();
        self.server.node(0).start_again()?;
        Ok(true)
    }
}
