//! Single nodes and clusters of rqlite. The program comes from `RQLITED`, from PATH, or is built from
//! `testbed/servers`.

use crate::error::{Error, Result};
use crate::go::Tool;
use crate::http;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::target::Once;
use crate::wait;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a cluster may take to elect a leader. The server's own timeouts are a second or two.
pub const ELECTION: Duration = Duration::from_secs(60);

/// A Raft cluster of `rqlited` processes. The first node is number 0.
pub struct Rqlite {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    http: SocketAddr,
}

impl Rqlite {
    /// Starts a single node.
    ///
    /// # Errors
    /// As [`Rqlite::cluster`].
    pub fn start() -> Result<Self> {
        Self::cluster(1)
    }

    /// Starts a single node with additional options, such as `-auth`.
    ///
    /// # Errors
    /// As [`Rqlite::cluster`].
    pub fn with(options: &[&str]) -> Result<Self> {
        Self::start_some(&[Ipv4Addr::LOCALHOST], options)
    }

    /// Starts a cluster with one node on each of these addresses, and waits until every node knows the leader.
    /// The engine's host treats different loopback addresses as different machines.
    ///
    /// # Errors
    /// As [`Rqlite::cluster`].
    pub fn on_hosts(hosts: &[Ipv4Addr]) -> Result<Self> {
        Self::start_some(hosts, &[])
    }

    /// Starts a cluster and waits until every node knows the leader.
    ///
    /// # Errors
    /// When there is neither `rqlited` nor Go to build it with (the message says how to install them), or when
    /// it does not start.
    pub fn cluster(size: usize) -> Result<Self> {
        Self::start_some(&vec![Ipv4Addr::LOCALHOST; size], &[])
    }

    fn start_some(hosts: &[Ipv4Addr], options: &[&str]) -> Result<Self> {
        let program = SERVER.find()?;
        // Another process may have taken one of the ports in the meantime.
        server::retrying(3, || Self::try_start(&program, hosts, options))
    }

    fn try_start(program: &Path, hosts: &[Ipv4Addr], options: &[&str]) -> Result<Self> {
        let size = hosts.len();
        let free = |host: &Ipv4Addr| Ok(SocketAddr::from((*host, crate::port::free()?)));
        let raft: Result<Vec<_>> = hosts.iter().map(free).collect();
        let raft = raft?;
        let everybody: Vec<_> = raft.iter().map(ToString::to_string).collect();
        let mut arguments: Vec<_> = options.iter().map(ToString::to_string).collect();
        if size > 1 {
            arguments.extend(["-bootstrap-expect".to_owned(), size.to_string()]);
            arguments.extend(["-join".to_owned(), everybody.join(",")]);
        }
        let nodes: Result<Vec<_>> = raft
            .iter()
            .enumerate()
            .map(|(index, raft)| node(program, index, *raft, &arguments))
            .collect();
        let cluster = Self { nodes: nodes? };
        // No node is ready before a majority runs.
        for node in &cluster.nodes {
            node.server.launch()?;
        }
        for node in &cluster.nodes {
            node.server.await_ready()?;
        }
        Ok(cluster)
    }

    /// The DSN that lists every node.
    pub fn dsn(&self) -> String {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.http.to_string())
            .collect();
        format!("http://{}", nodes.join(","))
    }

    /// The nodes' HTTP ports, for clusters on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.http.port()).collect()
    }

    /// One node's process.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index].server
    }

    /// The number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Waits until a running node reports a leader that runs too, and returns the leader's number.
    ///
    /// # Errors
    /// When there is none after [`ELECTION`].
    pub fn leader(&self) -> Result<usize> {
        wait::until("rqlite has a leader", ELECTION, || {
            self.nodes
                .iter()
                .filter(|node| node.server.is_running())
                .find_map(|node| self.leader_according_to(node))
                .ok_or("no node knows one")
        })
    }

    fn leader_according_to(&self, node: &Node) -> Option<usize> {
        let answer = http::get(&format!("http://{}/nodes?timeout=1s", node.http)).ok()?;
        let nodes: Value = serde_json::from_str(&answer.body).ok()?;
        let (id, _) = nodes
            .as_object()?
            .iter()
            .find(|(_, about)| about["leader"] == true && about["reachable"] == true)?;
        let index: usize = id.parse().ok()?;
        self.nodes[index].server.is_running().then_some(index)
    }

    /// Makes another node the leader and returns its number.
    ///
    /// # Errors
    /// When leadership does not move within [`ELECTION`].
    pub fn move_leader(&self) -> Result<usize> {
        let before = self.leader()?;
        let url = format!("http://{}/leader?wait", self.nodes[before].http);
        let answer = http::request("POST", &url, &[], "")?;
        if answer.status != 200 {
            return Err(Error::refused(url, "to step down")(answer.body));
        }
        wait::until_or_error("leadership moves", ELECTION, || {
            let now = self.leader()?;
            Ok(Some(now).filter(|now| *now != before).ok_or("it has not"))
        })
    }

    /// Runs one statement as an administrator and returns the result as in rqlite's JSON.
    ///
    /// # Errors
    /// When the statement fails.
    pub fn sql(&self, statement: &str) -> Result<Value> {
        let node = self.nodes[self.leader()?].http;
        let body = serde_json::json!([statement]).to_string();
        let answer = http::request(
            "POST",
            &format!("http://{node}/db/request?level=strong"),
            &[("content-type", "application/json")],
            &body,
        )?;
        let all: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match &all["results"][0] {
            result if answer.status == 200 && result.is_object() && result["error"].is_null() => {
                Ok(result.clone())
            }
            _ => Err(Error::refused(format!("rqlite on {node}"), statement)(
                answer.body,
            )),
        }
    }
}

/// The DSN of nodes on these ports of this machine.
pub fn dsn(ports: &[u16]) -> String {
    let hosts: Vec<_> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    format!("http://{}", hosts.join(","))
}

fn node(program: &Path, index: usize, raft: SocketAddr, arguments: &[String]) -> Result<Node> {
    let scratch = Scratch::new("rqlite")?;
    let http = SocketAddr::from((raft.ip(), crate::port::free()?));
    let (program, data) = (program.to_owned(), scratch.join("data"));
    let has_tls = arguments.iter().any(|argument| argument == "-http-cert");
    let arguments = arguments.to_owned();
    let launch = move || {
        let mut command = Command::new(&program);
        command.args(["-node-id", &index.to_string()]);
        command.args(["-http-addr", &http.to_string()]);
        command.args(["-raft-addr", &raft.to_string()]);
        command.args(&arguments);
        command.arg(&data);
        command
    };
    let probe = move || {
        if has_tls {
            // The client of the tests has no TLS. The engine waits for the leader itself.
            return std::net::TcpStream::connect(http)
                .map(drop)
                .map_err(|e| e.to_string());
        }
        let answer = http::get(&format!("http://{http}/readyz")).map_err(|e| e.to_string())?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    };
    Ok(Node {
        server: Server::prepare("rqlited", scratch, launch, probe),
        http,
    })
}

static SERVER: Tool = Tool {
    program: "rqlited",
    package: "github.com/rqlite/rqlite/v8/cmd/rqlited",
    variable: "RQLITED",
    page: "https://rqlite.io/docs/install-rqlite",
    found: Once::new(),
};
