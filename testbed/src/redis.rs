//! The Redis that is installed on this machine.

use crate::certificates::Stored;
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::wait::until;
use redis::{Client, Commands, Connection};
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The configuration of a Redis server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The password that clients must send (`requirepass`).
    pub password: Option<String>,
    /// The port of the primary on this machine, for a replica (`replicaof`).
    pub replica_of: Option<u16>,
    /// Additional lines of `redis.conf`, as arguments: `--name value`.
    pub extra: Vec<String>,
}

impl Options {
    /// Also listens on a port with TLS, for clients with a certificate and for others.
    #[must_use]
    pub fn with_tls(mut self, port: u16, certificate: &Stored, authority: &Path) -> Self {
        let port = port.to_string();
        let file = |path: &Path| path.display().to_string();
        let files = [&certificate.chain, &certificate.key].map(|path| file(path));
        let lines = [
            ["--tls-port", &port],
            ["--tls-cert-file", &files[0]],
            ["--tls-key-file", &files[1]],
            ["--tls-ca-cert-file", &file(authority)],
            ["--tls-auth-clients", "optional"],
        ];
        let words = lines.as_flattened().iter().map(ToString::to_string);
        self.extra.extend(words);
        self
    }
}

/// A `redis-server` that syncs every write to disk before it answers.
pub struct Redis {
    server: Server,
    port: u16,
    options: Options,
}

impl Redis {
    /// Starts a server with the default options.
    ///
    /// # Errors
    /// As [`Redis::with`].
    pub fn start() -> Result<Self> {
        Self::with(Options::default())
    }

    /// Starts a replica of this server, and waits until it is linked.
    ///
    /// # Errors
    /// As [`Redis::with`].
    pub fn replica(&self) -> Result<Self> {
        Self::with(Options {
            replica_of: Some(self.port),
            ..Options::default()
        })
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When there is no `redis-server` (the message says how to install it), or it does not start.
    pub fn with(options: Options) -> Result<Self> {
        let program = server::required("redis-server", INSTALL)?;
        server::on_free_port(|port| {
            let scratch = Scratch::new("redis")?;
            let dir = scratch.path().to_owned();
            let program = program.clone();
            let (launched, probed) = (options.clone(), options.clone());
            let server = Server::start(
                "redis-server",
                scratch,
                move || {
                    let mut command = Command::new(&program);
                    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                    command.arg("--dir").arg(&dir);
                    // An acknowledged write must survive SIGKILL and a power cut.
                    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
                    command.args(["--save", "", "--daemonize", "no"]);
                    // By default the primary waits for seconds so that more replicas can share one sync.
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

    /// The DSN, including the password if one is set.
    pub fn dsn(&self) -> String {
        match &self.options.password {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
        }
    }

    /// A direct connection that bypasses the engine.
    ///
    /// # Errors
    /// When the server refuses the connection.
    pub fn connect(&self) -> Result<Connection> {
        connect(self.port, self.options.password.as_deref())
            .map_err(Error::refused(self.name(), "a connection"))
    }

    /// Makes this server a replica of another one, and waits until it is linked; or makes it a primary. Closes the
    /// connections of clients, as a Sentinel does.
    ///
    /// # Errors
    /// When the server refuses, or is not linked within 20 seconds.
    pub fn replicate(&self, primary: Option<&Self>) -> Result {
        let port = primary.map(|primary| primary.port.to_string());
        let (host, port) = match &port {
            Some(port) => ("127.0.0.1", port.as_str()),
            None => ("NO", "ONE"),
        };
        self.query::<String>(&["REPLICAOF", host, port])?;
        self.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal"])?;
        let Some(primary) = primary else {
            return Ok(());
        };
        let password = self.options.password.as_deref();
        let is_linked = || linked(self.port, primary.port, password);
        until("the replica is linked", Duration::from_secs(20), is_linked)
    }

    /// Cuts so many bytes from the end of the file with the writes, while the server does not run: what a crash of the
    /// machine loses if writes are not synced.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn lose_tail(&self, bytes: u64) -> Result {
        let folder = self.dir().join("appendonlydir");
        let cut = || {
            let mut files = std::fs::read_dir(&folder)?;
            let path = files.find_map(|file| {
                let path = file.ok()?.path();
                path.to_str()?.ends_with(".incr.aof").then_some(path)
            });
            let path = path.ok_or(std::io::ErrorKind::NotFound)?;
            let file = std::fs::OpenOptions::new().write(true).open(path)?;
            let left = file.metadata()?.len().saturating_sub(bytes);
            file.set_len(left)
        };
        cut().map_err(Error::io(folder.display().to_string()))
    }

    fn name(&self) -> String {
        format!("redis on port {}", self.port)
    }

    /// Runs one command as an administrator.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command
            .query(&mut self.connect()?)
            .map_err(Error::refused(self.name(), format!("{words:?}")))
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A direct connection to any server that speaks the Redis protocol on a port of this machine.
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
    let password = options.password.as_deref();
    let ping = || connect(port, password)?.ping::<()>();
    ping().map_err(|error| error.to_string())?;
    match options.replica_of {
        None => Ok(()),
        Some(primary) => linked(port, primary, password),
    }
}

/// Whether a replica has the data of its primary and gets its writes.
fn linked(port: u16, primary: u16, password: Option<&str>) -> Result<(), String> {
    let ask = |port| -> redis::RedisResult<String> {
        let mut info = redis::cmd("INFO");
        info.arg("replication").query(&mut connect(port, password)?)
    };
    let info = ask(port).map_err(|e| e.to_string())?;
    if !info.contains("master_link_status:up") {
        return Err("not linked yet".to_owned());
    }
    // The primary marks the replica online up to a second after the link is up. Until then it sends no
    // writes to the replica and gets no acknowledgements.
    let info = ask(primary).map_err(|e| e.to_string())?;
    if info.contains(&format!("port={port},state=online")) {
        Ok(())
    } else {
        Err("its primary does not list it as online yet".to_owned())
    }
}

const INSTALL: &str = "`apt-get install redis-server` on Debian and Ubuntu, `dnf install redis` on Fedora, \
                       `brew install redis` on macOS";
