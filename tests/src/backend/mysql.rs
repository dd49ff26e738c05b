//! The engine `mysql` on a real MariaDB.

use super::{Backend, Reach};
use crate::mariadb::{MariaDb, PASSWORD, USER};

pub(super) struct MysqlBackend {
    server: MariaDb,
}

impl MysqlBackend {
    pub(super) fn start() -> Self {
        Self {
            server: MariaDb::start(),
        }
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

    fn crash(&self) {
        self.server.kill();
        self.server.start_again();
    }
}
