//! The engine `summitdb` on a real single node. The fault tests use clusters.

use super::{Backend, Reach};
use crate::error::Result;
use crate::summitdb::{self, SummitDb};

pub(super) struct SummitdbBackend {
    server: SummitDb,
}

impl SummitdbBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            server: SummitDb::start()?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        summitdb::program().is_none().then_some(summitdb::MISSING)
    }
}

impl Backend for SummitdbBackend {
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
        summitdb::dsn(&[port])
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(format!("redis://:{password}@127.0.0.1:{port}"))
    }

    fn store(&self, key: &str, mark: i64) -> Result<bool> {
        self.server
            .query::<()>(&["SET", key, mark.to_string().as_str()])?;
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
