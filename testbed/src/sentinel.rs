//! The Redis Sentinel that is installed on this machine.

use crate::error::{Error, Result};
use crate::redis::{Redis, connect};
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::wait;
use std::collections::HashMap;
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
    port: u16,
}

impl Sentinels {
    /// Starts three Sentinels that monitor a primary with that number of replicas, and waits until each knows
    /// the others and all replicas. They start a failover when two of them have not reached the primary for
    /// half a second.
    ///
    /// # Errors
    /// When there is no `redis-sentinel` (the message says how to install it), or they do not agree.
    pub fn watch(primary: &Redis, replicas: usize) -> Result<Self> {
        let nodes: Result<Vec<_>> = (0..3).map(|_| start(primary.port())).collect();
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
            .map(|n| format!("127.0.0.1:{}", n.port))
            .collect();
        format!("redis+sentinel://{}/{NAME}{parameters}", hosts.join(","))
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

const INSTALL: &str = "`apt-get install redis-sentinel` on Debian and Ubuntu, `dnf install redis` on Fedora, \
                       `brew install redis` on macOS";

fn start(primary: u16) -> Result<Node> {
    let program = server::required("redis-sentinel", INSTALL)?;
    server::on_free_port(|port| {
        let scratch = Scratch::new("sentinel")?;
        // Sentinels rewrite this file to persist their state.
        let file = scratch.join("sentinel.conf");
        let settings = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\n\
             sentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {NAME} 500\n\
             sentinel failover-timeout {NAME} 3000\n\
             sentinel parallel-syncs {NAME} 2\n",
            scratch.path().display()
        );
        std::fs::write(&file, settings).map_err(Error::io(file.display().to_string()))?;
        let program = program.clone();
        let launch = move || {
            let mut command = Command::new(&program);
            command.arg(&file);
            command
        };
        let probe = move || told(port).map(drop);
        let server = Server::start("redis-sentinel", scratch, launch, probe)?;
        Ok(Node { server, port })
    })
}
