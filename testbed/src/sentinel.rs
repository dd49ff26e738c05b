//! The Redis Sentinel that is installed on this machine.

use crate::certificates::Stored;
use crate::error::{Error, Result};
use crate::port;
use crate::redis::{Redis, connect};
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::wait;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The name under which the Sentinels monitor the primary.
pub const NAME: &str = "tickets";

/// How long Sentinels may take to discover each other, and to complete a failover. They announce themselves
/// every two seconds, and repeat an undecided vote after a few seconds.
pub const AGREE: Duration = Duration::from_secs(60);

/// A group of `redis-sentinel` processes that monitor one primary.
pub struct Sentinels(Vec<Node>);

struct Node {
    server: Server,
    /// The port without TLS, which the test itself uses.
    port: u16,
    tls_port: Option<u16>,
}

/// What Sentinels need for servers that speak TLS and ask for a password.
#[derive(Clone, Copy, Debug)]
pub struct Secured<'a> {
    /// The password of the servers.
    pub password: &'a str,
    /// The certificate of the Sentinels.
    pub certificate: &'a Stored,
    /// The authority of the certificates of all.
    pub authority: &'a Path,
}

impl Sentinels {
    /// Starts three Sentinels that monitor a primary with that number of replicas, and waits until each knows
    /// the others and all replicas. They start a failover when two of them have not reached the primary for
    /// half a second.
    ///
    /// # Errors
    /// When there is no `redis-sentinel` (the message says how to install it), or they do not agree.
    pub fn watch(primary: &Redis, replicas: usize) -> Result<Self> {
        Self::with(primary.port(), replicas, None)
    }

    /// The same with TLS on all connections. `primary` is the primary's port for TLS.
    ///
    /// # Errors
    /// As [`Sentinels::watch`].
    pub fn watch_through_tls(primary: u16, replicas: usize, secured: Secured<'_>) -> Result<Self> {
        Self::with(primary, replicas, Some(secured))
    }

    fn with(primary: u16, replicas: usize, secured: Option<Secured<'_>>) -> Result<Self> {
        let nodes: Result<Vec<_>> = (0..3).map(|_| start(primary, secured)).collect();
        let sentinels = Self(nodes?);
        wait::until("the Sentinels know each other", AGREE, || {
            for node in &sentinels.0 {
                let told = told(node.port)?;
                let is = |name: &str, wanted: &str| told.get(name).is_some_and(|v| v == wanted);
                if !is("num-other-sentinels", "2")
                    || !is("num-slaves", &replicas.to_string())
                    || !is("flags", "master")
                {
                    return Err(format!("{told:?}"));
                }
            }
            Ok(())
        })?;
        Ok(sentinels)
    }

    /// The DSN that lists all Sentinels, with `parameters` such as `?wait=1`.
    pub fn dsn(&self, parameters: &str) -> String {
        let hosts: Vec<_> = self
            .0
            .iter()
            .map(|n| format!("127.0.0.1:{}", n.tls_port.unwrap_or(n.port)))
            .collect();
        let secured = self.0.iter().any(|n| n.tls_port.is_some());
        let scheme = if secured { "rediss" } else { "redis" };
        format!("{scheme}+sentinel://{}/{NAME}{parameters}", hosts.join(","))
    }

    /// One of the Sentinels.
    pub fn server(&self, index: usize) -> &Server {
        &self.0[index].server
    }

    /// Waits until all Sentinels agree on a primary on another port than this one, and returns that port.
    ///
    /// # Errors
    /// When they do not agree within [`AGREE`].
    pub fn successor_of(&self, port: u16) -> Result<u16> {
        wait::until("the Sentinels have completed a failover", AGREE, || {
            let mut named = Vec::new();
            for node in &self.0 {
                let told = told(node.port)?;
                named.push(told.get("port").cloned().unwrap_or_default());
            }
            match named[0].parse() {
                Ok(new) if new != port && named.iter().all(|n| *n == named[0]) => Ok(new),
                _ => Err(format!("they report {named:?}")),
            }
        })
    }
}

/// A Sentinel's reply to `SENTINEL MASTER`.
fn told(port: u16) -> Result<HashMap<String, String>, String> {
    let ask = || {
        redis::cmd("SENTINEL")
            .arg("MASTER")
            .arg(NAME)
            .query(&mut connect(port, None)?)
    };
    ask().map_err(|e: redis::RedisError| e.to_string())
}

impl Secured<'_> {
    /// The lines of a Sentinel's configuration.
    fn settings(&self, port: u16) -> String {
        format!(
            "tls-port {port}\ntls-replication yes\ntls-auth-clients no\n\
             tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
             sentinel auth-pass {NAME} {}\n",
            self.certificate.chain.display(),
            self.certificate.key.display(),
            self.authority.display(),
            self.password
        )
    }
}

const INSTALL: &str = "`apt-get install redis-sentinel` on Debian and Ubuntu, `dnf install redis` on Fedora, \
                       `brew install redis` on macOS";

fn start(primary: u16, secured: Option<Secured<'_>>) -> Result<Node> {
    let program = server::required("redis-sentinel", INSTALL)?;
    server::on_free_port(|port| {
        let scratch = Scratch::new("sentinel")?;
        // Sentinels rewrite this file to persist their state.
        let file = scratch.join("sentinel.conf");
        let tls_port = secured.map(|_| port::free()).transpose()?;
        let mut settings = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\n\
             sentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {NAME} 500\n\
             sentinel failover-timeout {NAME} 3000\n\
             sentinel parallel-syncs {NAME} 2\n",
            scratch.path().display()
        );
        if let (Some(secured), Some(tls_port)) = (secured, tls_port) {
            settings += &secured.settings(tls_port);
        }
        std::fs::write(&file, settings).map_err(Error::io(file.display().to_string()))?;
        let program = program.clone();
        let launch = move || {
            let mut command = Command::new(&program);
            command.arg(&file);
            command
        };
        let probe = move || told(port).map(drop);
        let server = Server::start("redis-sentinel", scratch, launch, probe)?;
        Ok(Node {
            server,
            port,
            tls_port,
        })
    })
}
