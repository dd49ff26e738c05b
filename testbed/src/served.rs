//! Servers of integers, `int-host serve`, in front of one Redis: what the engine `http` mints from.
//!
//! A server mints integers of one lattice, so there is one server for each lattice.

use crate::error::Result;
use crate::http;
use crate::quorum::program;
use crate::redis::Redis;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// The token that minting needs.
pub const MINT_TOKEN: &str = "mint-token-for-tests";

/// The token that raising needs.
pub const ADMIN_TOKEN: &str = "admin-token-for-tests";

/// The servers, which have one Redis in common.
pub struct Served {
    /// Those with other lattices than the default one.
    others: Mutex<BTreeMap<(i64, i64), Arc<Front>>>,
    usual: Front,
    redis: Redis,
}

/// One server, and its port on 127.0.0.1.
struct Front {
    server: Server,
    port: u16,
}

impl Served {
    /// Starts a Redis and a server with the default lattice. All keys exist.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start() -> Result<Self> {
        let redis = Redis::start()?;
        Ok(Self {
            usual: Front::start(&redis.dsn(), &[])?,
            others: Mutex::default(),
            redis,
        })
    }

    /// The DSN of the server with this lattice, which is started if there is none yet. That of the usual one for a
    /// lattice that does not exist.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn dsn_for(&self, increment: i64, offset: i64) -> Result<String> {
        if increment < 1 || offset < 0 || (increment, offset % increment) == (2, 0) {
            return Ok(self.dsn());
        }
        let lattice = (increment, offset % increment);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let front = match others.get(&lattice) {
            Some(front) => Arc::clone(front),
            None => {
                let options = [
                    "--set-increment".to_owned(),
                    increment.to_string(),
                    "--set-offset".to_owned(),
                    offset.to_string(),
                ];
                let front = Arc::new(Front::start(&self.redis.dsn(), &options)?);
                others.insert(lattice, Arc::clone(&front));
                front
            }
        };
        Ok(dsn(front.port))
    }

    /// The DSN of the server with the default lattice, with both tokens.
    pub fn dsn(&self) -> String {
        dsn(self.usual.port)
    }

    /// The port of the server with the default lattice.
    pub fn port(&self) -> u16 {
        self.usual.port
    }

    /// The process of the server with the default lattice.
    pub fn server(&self) -> &Server {
        &self.usual.server
    }

    /// The Redis behind all servers.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }
}

/// The DSN of a server on this port, with both tokens.
pub fn dsn(port: u16) -> String {
    format!("http://{MINT_TOKEN}:{ADMIN_TOKEN}@127.0.0.1:{port}")
}

impl Front {
    fn start(dsn: &str, options: &[String]) -> Result<Self> {
        // Fails here if the program is missing, and not at every start.
        program(None)?;
        server::on_free_port(|port| {
            let (dsn, options) = (dsn.to_owned(), options.to_vec());
            let server = Server::start(
                "int-host serve",
                Scratch::new("serve")?,
                move || {
                    let mut command = program(None).unwrap_or_else(|_| Command::new("int-host"));
                    command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
                    command.args(["--engine", "redis", "--dsn", &dsn, "--keys", "*"]);
                    command
                        .args(&options)
                        .env("ARTISANAL_MINT_TOKEN", MINT_TOKEN)
                        .env("ARTISANAL_ADMIN_TOKEN", ADMIN_TOKEN);
                    command
                },
                move || {
                    let url = format!("http://127.0.0.1:{port}/ping");
                    http::get(&url).map(drop).map_err(|error| error.to_string())
                },
            )?;
            Ok(Self { server, port })
        })
    }
}
