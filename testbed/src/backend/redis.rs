//! The engine `redis` on a real Redis.

use super::{Backend, Reach};
use crate::certificates::Stored;
use crate::error::Result;
use crate::redis::{Options, Redis};
use std::path::Path;

pub(super) struct RedisBackend {
    server: Redis,
}

impl RedisBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            server: Redis::start()?,
        })
    }

    /// A server that also listens on a port with TLS.
    pub(super) fn with_tls(port: u16, certificate: &Stored, authority: &Path) -> Result<Self> {
        let options = Options::default().with_tls(port, certificate, authority);
        Ok(Self {
            server: Redis::with(options)?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for RedisBackend {
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
        format!("redis://127.0.0.1:{port}")
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(format!("redis://somebody:{password}@127.0.0.1:{port}"))
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        // Other programs store a plain counter under the key's own name.
        self.server
            .query::<()>(&["SET", key, mark.to_string().as_str()])?;
        Ok(true)
    }

    fn crash(&self) -> Result<bool> {
        self.server.kill();
        self.server.start_again()?;
        Ok(true)
    }
}
