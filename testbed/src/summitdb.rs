//! Single nodes and clusters of SummitDB. The program comes from `SUMMITDB_SERVER` or from PATH.
//!
//! No package registry has SummitDB, so tests that need it check [`program`] first and are skipped where it is
//! missing.

use crate::error::{Error, Result};
use crate::redis::connect;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::wait;
use redis::{Connection, RedisResult};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a cluster may take to elect a leader. The server's own timeouts are a second or two.
pub const ELECTION: Duration = Duration::from_secs(60);

/// The reason for skipping tests where [`program`] is None.
pub const MISSING: &str = "there is no summitdb-server on PATH; build github.com/tidwall/summitdb and set SUMMITDB_SERVER to its path";

/// The path of the server, if this machine has it.
pub fn program() -> Option<PathBuf> {
    server::find("summitdb-server", Some("SUMMITDB_SERVER"))
}

/// A Raft cluster of `summitdb-server` processes. The first node is number 0.
pub struct SummitDb {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    port: u16,
}

impl SummitDb {
    /// Starts a single node.
    ///
    /// # Errors
    /// As [`SummitDb::cluster`].
    pub fn start() -> Result<Self> {
        Self::cluster(1)
    }

    /// Starts a cluster and waits until every node knows all others. Every write is synced to the disks of a
    /// majority before it is acknowledged, which is SummitDB's default.
    ///
    /// # Errors
    /// When [`program`] is None, or it does not start.
    pub fn cluster(size: usize) -> Result<Self> {
        let program = program().ok_or_else(|| Error::Missing(MISSING.to_owned()))?;
        let mut cluster = Self { nodes: Vec::new() };
        for _ in 0..size {
            // The first node leads; the others join it one after another.
            let first = cluster.nodes.first().map(|node| node.port);
            let node = server::on_free_port(|port| node(&program, port, first))?;
            cluster.nodes.push(node);
        }
        wait::until_true("every SummitDB node knows all others", ELECTION, || {
            cluster
                .nodes
                .iter()
                .all(|node| peers(node.port).is_ok_and(|peers| peers.len() == size || size == 1))
        })?;
        Ok(cluster)
    }

    /// The DSN that lists every node.
    pub fn dsn(&self) -> String {
        dsn(&self.ports())
    }

    /// The nodes' ports on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// One node's process.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index].server
    }

    /// The number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Waits until a node reports that it leads, and returns its number.
    ///
    /// # Errors
    /// When there is none after [`ELECTION`].
    pub fn leader(&self) -> Result<usize> {
        wait::until("SummitDB has a leader", ELECTION, || {
            self.nodes
                .iter()
                .position(leads)
                .ok_or("no node says that it leads")
        })
    }

    /// Whether a node other than `index` reports that it leads. Node `index` itself is not asked, since it may
    /// be frozen.
    pub fn leads_besides(&self, index: usize) -> bool {
        self.nodes
            .iter()
            .enumerate()
            .any(|(other, node)| other != index && leads(node))
    }

    /// Runs one command on the leader as an administrator.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let port = self.nodes[self.leader()?].port;
        let server = format!("summitdb on port {port}");
        ask(port, words).map_err(Error::refused(server, format!("{words:?}")))
    }
}

/// The DSN of nodes on these ports of this machine.
pub fn dsn(ports: &[u16]) -> String {
    let hosts: Vec<_> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    format!("redis://{}", hosts.join(","))
}

fn node(program: &std::path::Path, port: u16, join: Option<u16>) -> Result<Node> {
    let scratch = Scratch::new("summitdb")?;
    let (program, dir) = (program.to_owned(), scratch.path().to_owned());
    let launch = move || {
        let mut command = Command::new(&program);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        command.arg("-dir").arg(dir.join("data"));
        // The server writes temporary files.
        command.env("TMPDIR", &dir);
        if let Some(first) = join {
            // Ignored once the node has joined.
            command.args(["-join", &format!("127.0.0.1:{first}")]);
        }
        command
    };
    let probe = move || {
        let leader: String = ask(port, &["RAFTLEADER"]).map_err(|e| e.to_string())?;
        if leader.is_empty() {
            return Err("it does not know a leader".to_owned());
        }
        Ok(())
    };
    let server = Server::start("summitdb-server", scratch, launch, probe)?;
    Ok(Node { server, port })
}

/// The addresses of the nodes that a node knows, including itself.
fn peers(port: u16) -> RedisResult<Vec<String>> {
    // The answer alternates between addresses and states.
    let answer: Vec<String> = ask(port, &["RAFTPEERS"])?;
    Ok(answer.into_iter().step_by(2).collect())
}

fn leads(node: &Node) -> bool {
    node.server.is_running()
        && ask::<String>(node.port, &["RAFTSTATE"]).is_ok_and(|state| state == "Leader")
}

fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> RedisResult<T> {
    let mut connection: Connection = connect(port, None)?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query(&mut connection)
}
