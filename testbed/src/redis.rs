//! Redis, as installed on this machine.

use crate::scratch::Scratch;
use crate::server::{self, Server};
use redis::{Client, Connection};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How a Redis is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Asked of every client (`requirepass`).
    pub password: Option<String>,
    /// Follows the Redis on this port of this machine (`replicaof`).
    pub replica_of: Option<u16>,
    /// Further lines of `redis.conf`, as arguments: `--name value`.
    pub extra: Vec<String>,
}

/// A `redis-server` that syncs every write to disk before it answers.
pub struct Redis {
    server: Server,
    port: u16,
    options: Options,
}

impl Redis {
    /// Starts one with nothing special.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts one.
    ///
    /// # Panics
    /// When there is no `redis-server`, with how to install it, or it does not start.
    pub fn with(options: Options) -> Self {
        server::on_free_port(|port| {
            let scratch = Scratch::new("redis");
            let dir = scratch.path().to_owned();
            let program = program();
            let (launched, probed) = (options.clone(), options.clone());
            let server = Server::start(
                "redis-server",
                scratch,
                move || {
                    let mut command = Command::new(&program);
                    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                    command.arg("--dir").arg(&dir);
                    // Nothing that was answered may be lost by SIGKILL, nor by a power cut.
                    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
                    command.args(["--save", "", "--daemonize", "no"]);
                    // Replicas come one by one here; waiting for more of them takes seconds.
                    command.args(["--repl-diskless-sync-delay", "0"]);
                    if let Some(password) = &launched.password {
                        command.args(["--requirepass", password, "--masterauth", password]);
                    }
                    if let Some(primary) = launched.replica_of {
                        command.args(["--replicaof", "127.0.0.1", &primary.to_string()]);
                    }
                    command.args(&launched.extra);
                    command
                },
                move || ready(port, &probed),
            )?;
            Ok(Self {
                server,
                port,
                options: options.clone(),
            })
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The DSN, with the password when there is one.
    pub fn dsn(&self) -> String {
        match &self.options.password {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
        }
    }

    /// A native connection, to look behind the engine's back.
    ///
    /// # Panics
    /// When the server does not let us in.
    pub fn connect(&self) -> Connection {
        connect(self.port, self.options.password.as_deref())
            .unwrap_or_else(|e| panic!("redis on port {}: {e}", self.port))
    }

    /// Runs one command as an administrator.
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command
            .query(&mut self.connect())
            .unwrap_or_else(|e| panic!("redis, {words:?}: {e}"))
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A native connection to whatever speaks Redis's protocol on a port of this machine.
///
/// # Errors
/// Those of the client.
pub fn connect(port: u16, password: Option<&str>) -> redis::RedisResult<Connection> {
    let login = password.map(|p| format!(":{p}@")).unwrap_or_default();
    let client = Client::open(format!("redis://{login}127.0.0.1:{port}"))?;
    let limit = Duration::from_secs(5);
    let connection = client.get_connection_with_timeout(limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    Ok(connection)
}

fn ready(port: u16, options: &Options) -> Result<(), String> {
    let ask = |port| -> redis::RedisResult<String> {
        let mut connection = connect(port, options.password.as_deref())?;
        redis::cmd("PING").query::<()>(&mut connection)?;
        redis::cmd("INFO").arg("replication").query(&mut connection)
    };
    let info = ask(port).map_err(|e| e.to_string())?;
    let Some(primary) = options.replica_of else {
        return Ok(());
    };
    if !info.contains("master_link_status:up") {
        return Err("not linked yet".to_owned());
    }
    // Up to a second later: until then it is sent nothing, and acknowledges nothing.
    let info = ask(primary).map_err(|e| e.to_string())?;
    match info.contains(&format!("port={port},state=online")) {
        true => Ok(()),
        false => Err("its primary does not send to it yet".to_owned()),
    }
}

fn program() -> PathBuf {
    server::find("redis-server", None).unwrap_or_else(|| {
        panic!(
            "redis-server is not on PATH. Install it: `apt-get install redis-server` on Debian and \
             Ubuntu, `dnf install redis` on Fedora, `brew install redis` on macOS"
        )
    })
}
