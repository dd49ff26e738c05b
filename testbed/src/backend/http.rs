//! The engine `http` on real servers of integers, in front of a Redis.

use super::{Backend, Reach};
use crate::error::Result;
use crate::served::{self, Served};

pub(super) struct HttpBackend {
    servers: Served,
}

impl HttpBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            servers: Served::start()?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for HttpBackend {
    fn dsn(&self) -> String {
        self.servers.dsn()
    }

    fn dsn_for(&self, increment: i64, offset: i64) -> Result<String> {
        self.servers.dsn_for(increment, offset)
    }

    fn reach(&self) -> Reach {
        Reach::Everybody
    }

    fn port(&self) -> Option<u16> {
        Some(self.servers.port())
    }

    fn dsn_on(&self, port: u16) -> String {
        served::dsn(port)
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(format!("http://{password}:{password}@127.0.0.1:{port}"))
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        let redis = self.servers.redis();
        redis.query::<()>(&["SET", key, mark.to_string().as_str()])?;
        Ok(true)
    }

    fn claims(&self) -> bool {
        false
    }

    fn crash(&self) -> Result<bool> {
        self.servers.server().kill();
        self.servers.server().start_again()?;
        Ok(true)
    }
}
