//! The engine `postgres` on a real PostgreSQL.

use super::{Backend, Reach};
use crate::certificates::Stored;
use crate::error::Result;
use crate::postgres::{self, HASTY, PASSWORD, Postgres, USER};
use std::path::Path;

pub(super) struct PostgresBackend(Postgres);

impl PostgresBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self(Postgres::start()?))
    }

    /// A server with this certificate, which does not wait for the disk.
    pub(super) fn with_tls(certificate: &Stored, authority: &Path) -> Result<Self> {
        Ok(Self(Postgres::with_tls(certificate, authority, &[HASTY])?))
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for PostgresBackend {
    fn dsn(&self) -> String {
        self.0.dsn()
    }

    fn reach(&self) -> Reach {
        Reach::Everybody
    }

    fn port(&self) -> Option<u16> {
        Some(self.0.port())
    }

    fn dsn_on(&self, port: u16) -> String {
        postgres::dsn(USER, PASSWORD, &[port])
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(postgres::dsn(USER, password, &[port]))
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        // The documented table, which the engine uses if it exists.
        self.0.sql_as_user(&format!(
            "SET client_min_messages TO warning; \
             CREATE TABLE IF NOT EXISTS artisanal_integers \
                 (name text COLLATE \"C\" PRIMARY KEY, mark bigint NOT NULL); \
             INSERT INTO artisanal_integers AS own VALUES ('{key}', {mark}) \
                 ON CONFLICT (name) DO UPDATE SET mark = excluded.mark"
        ))?;
        Ok(true)
    }

    fn crash(&self) -> Result<bool> {
        self.0.kill();
        self.0.start_again()?;
        Ok(true)
    }
}
