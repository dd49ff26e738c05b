//! PgBouncer, a pooler in front of PostgreSQL.

use crate::error::{Error, Result};
use crate::postgres::{self, DATABASE, PASSWORD, Postgres, USER};
use crate::scratch::Scratch;
use crate::server::{self, Server};
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

/// A PgBouncer that lends each of its two connections to a server for one transaction.
pub struct PgBouncer {
    server: Server,
    port: u16,
}

impl PgBouncer {
    /// Starts a pooler in front of a server.
    ///
    /// # Errors
    /// When there is no `pgbouncer` (the message says how to install it), or it does not start.
    pub fn of(backend: &Postgres) -> Result<Self> {
        let target = backend.port();
        let program = server::required("pgbouncer", INSTALL)?;
        server::on_free_port(|port| {
            let scratch = Scratch::new("pgbouncer")?;
            postgres::give_away(scratch.path())?;
            let (settings, users) = (scratch.join("pgbouncer.ini"), scratch.join("users.txt"));
            let write = |path: &Path, text: String| {
                std::fs::write(path, text).map_err(Error::io(path.display().to_string()))
            };
            write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
            write(
                &settings,
                format!(
                    "[databases]\n{DATABASE} = host=127.0.0.1 port={target}\n\
                     [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                     auth_type = scram-sha-256\nauth_file = {}\n\
                     pool_mode = transaction\ndefault_pool_size = 2\n",
                    users.display()
                ),
            )?;
            let server = Server::start(
                "pgbouncer",
                scratch,
                {
                    let program = program.clone();
                    move || {
                        let mut command = Command::new(&program);
                        postgres::as_account(&mut command);
                        command.arg(&settings);
                        command
                    }
                },
                move || {
                    let asked = postgres::query(port, USER, PASSWORD, DATABASE, "SELECT 1");
                    asked.map(drop).map_err(|error| error.to_string())
                },
            )?;
            Ok(Self { server, port })
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The DSN of the pooler.
    pub fn dsn(&self) -> String {
        postgres::dsn(USER, PASSWORD, &[self.port])
    }
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

const INSTALL: &str = "`apt-get install pgbouncer` on Debian and Ubuntu, `dnf install pgbouncer` on Fedora, \
                       `brew install pgbouncer` on macOS";
