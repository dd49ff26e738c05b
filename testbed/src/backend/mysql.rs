//! The engine `mysql` on a real MariaDB.

use super::{Backend, Reach};
use crate::certificates::Stored;
use crate::error::Result;
use crate::mariadb::{MariaDb, PASSWORD, USER};

pub(super) struct MysqlBackend {
    server: MariaDb,
    /// The storage engine of ticket tables, if sequences are to be stored in such tables.
    tickets: Option<&'static str>,
}

impl MysqlBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            server: MariaDb::start()?,
            tickets: None,
        })
    }

    /// Stores each sequence whose key is a valid table name in a ticket table like the original client's.
    pub(super) fn on_tickets(engine: &'static str) -> Result<Self> {
        Ok(Self {
            tickets: Some(engine),
            ..Self::start()?
        })
    }

    /// A server with this certificate.
    pub(super) fn with_tls(certificate: &Stored) -> Result<Self> {
        Ok(Self {
            server: MariaDb::with_tls(certificate)?,
            tickets: None,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for MysqlBackend {
    fn dsn(&self) -> String {
        self.server.dsn()
    }

    fn reach(&self) -> Reach {
        Reach::Everybody
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port())
    }

    fn dsn_on(&self, port: u16) -> String {
        self.server.dsn_of(USER, PASSWORD, port)
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(self.server.dsn_of(USER, password, port))
    }

    fn prepare(&self, key: &str) -> Result {
        // Table names have at most 64 characters of the Basic Multilingual Plane and no trailing space, and are
        // not case-sensitive everywhere.
        let fits = key.chars().count() <= 64
            && key.chars().all(|c| c < '\u{10000}' && !c.is_control())
            && !key.is_empty()
            && !key.ends_with(' ')
            && !key.contains(['`', '\\', '/', '.'])
            && key.to_lowercase() == key;
        if let (Some(engine), true) = (self.tickets, fits) {
            self.server.sql_as_user(&format!(
                "CREATE TABLE IF NOT EXISTS `{key}` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, \
                     stub CHAR(1) NOT NULL DEFAULT '', PRIMARY KEY (id), UNIQUE KEY stub (stub)) \
                     ENGINE={engine}"
            ))?;
        }
        Ok(())
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        if self.tickets.is_some() {
            // The column is unsigned, and the original client never writes a row with 0.
            if mark > 0 {
                self.prepare(key)?;
                self.server.sql_as_user(&format!(
                    "REPLACE INTO `{key}` (id, stub) VALUES ({mark}, 'a')"
                ))?;
            }
            return Ok(mark > 0);
        }
        // The documented table, which the engine uses if it exists.
        self.server.sql_as_user(&format!(
            "CREATE TABLE IF NOT EXISTS artisanal_integers \
                 (name VARBINARY(128) PRIMARY KEY, mark BIGINT NOT NULL); \
             REPLACE INTO artisanal_integers VALUES ('{key}', {mark})"
        ))?;
        Ok(true)
    }

    fn crash(&self) -> Result<bool> {
        self.server.kill();
        self.server.start_again()?;
        // MyISAM is not crash-safe.
        Ok(self.tickets != Some("MyISAM"))
    }
}
