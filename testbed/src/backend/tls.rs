//! Backends whose server is reached with TLS.

use super::{Backend, Reach, with_parameter};
use crate::backend::{mysql::MysqlBackend, postgres::PostgresBackend, redis::RedisBackend};
use crate::certificates::Authority;
use crate::error::Result;
use std::path::PathBuf;

/// Another backend, with a certificate.
pub(super) struct Tls {
    plain: Box<dyn Backend>,
    authority: Authority,
    /// The port for TLS.
    port: u16,
    /// Makes a DSN ask for TLS.
    secure: fn(String) -> String,
}

impl Tls {
    pub(super) fn redis() -> Result<Self> {
        let authority = Authority::new()?;
        let certificate = authority.for_this_machine()?;
        let port = crate::port::free()?;
        Ok(Self {
            plain: Box::new(RedisBackend::with_tls(
                port,
                &certificate,
                &authority.file(),
            )?),
            authority,
            port,
            secure: |dsn| dsn.replacen("redis://", "rediss://", 1),
        })
    }

    pub(super) fn mysql() -> Result<Self> {
        let authority = Authority::new()?;
        let plain = MysqlBackend::with_tls(&authority.for_this_machine()?)?;
        Ok(Self {
            port: plain.port().unwrap_or_default(),
            plain: Box::new(plain),
            authority,
            secure: |dsn| with_parameter(&dsn, "tls=true"),
        })
    }

    pub(super) fn postgres() -> Result<Self> {
        let authority = Authority::new()?;
        let plain = PostgresBackend::with_tls(&authority.for_this_machine()?, &authority.file())?;
        Ok(Self {
            port: plain.port().unwrap_or_default(),
            plain: Box::new(plain),
            authority,
            secure: |dsn| with_parameter(&dsn, "sslmode=verify-full"),
        })
    }
}

impl Backend for Tls {
    fn dsn(&self) -> String {
        self.dsn_on(self.port)
    }

    fn authority(&self) -> Option<PathBuf> {
        Some(self.authority.file())
    }

    fn reach(&self) -> Reach {
        self.plain.reach()
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn dsn_on(&self, port: u16) -> String {
        (self.secure)(self.plain.dsn_on(port))
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        self.plain
            .dsn_with_password(password, port)
            .map(self.secure)
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        self.plain.store(key, mark)
    }

    fn crash(&self) -> Result<bool> {
        self.plain.crash()
    }
}
