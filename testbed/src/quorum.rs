//! Groups of nodes of the engine `quorum`, each a process of `int-host node`.

use crate::cli;
use crate::error::{Error, Result};
use crate::http;
use crate::mariadb;
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::{backend, target, wait};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A group of nodes. The first one is number 0.
pub struct Quorum {
    nodes: Vec<Node>,
    token: Option<String>,
}

/// One node.
struct Node {
    server: Server,
    port: u16,
    /// What everybody connects to instead of the node, if there is one.
    proxy: Option<Proxy>,
    data: PathBuf,
}

/// The files of the embedded store in a data directory.
const STORE: [&str; 2] = ["integers", "integers.redb"];

/// How long a node may take to become what it is waited for.
const CHANGES: Duration = Duration::from_secs(60);

/// A copy of the embedded store of a node.
pub struct StoreCopy(Scratch);

/// How to start the nodes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The token of the nodes, if any.
    pub token: Option<String>,
    /// For each node its further arguments, such as `--engine` and `--dsn`; by default three nodes on
    /// the embedded store.
    pub nodes: Vec<Vec<String>>,
}

impl Quorum {
    /// Starts three nodes on embedded stores and makes them a group.
    ///
    /// # Errors
    /// As [`Quorum::with`].
    pub fn start() -> Result<Self> {
        Self::with(Options {
            nodes: vec![Vec::new(); 3],
            ..Options::default()
        })
    }

    /// Starts nodes and makes them a group.
    ///
    /// # Errors
    /// When a node does not start, or the group is refused.
    pub fn with(options: Options) -> Result<Self> {
        let quorum = Self::without_group(options)?;
        quorum.init()?;
        Ok(quorum)
    }

    /// Starts three nodes on embedded stores, each behind a proxy, and makes them a group.
    ///
    /// # Errors
    /// As [`Quorum::start`].
    pub fn start_behind_proxies() -> Result<Self> {
        let nodes = Options {
            nodes: vec![Vec::new(); 3],
            ..Options::default()
        };
        let quorum = Self::without_group(nodes)?.behind_proxies()?;
        quorum.init()?;
        Ok(quorum)
    }

    /// The same nodes, each of which is reached through a proxy from here on, also by the others.
    ///
    /// # Errors
    /// When a proxy does not start.
    pub fn behind_proxies(mut self) -> Result<Self> {
        for node in &mut self.nodes {
            node.proxy = Some(Proxy::to(node.port)?);
        }
        Ok(self)
    }

    /// Makes the nodes a group.
    ///
    /// # Errors
    /// When a node refuses.
    pub fn init(&self) -> Result {
        let mut arguments = vec!["node".to_owned(), "init".to_owned()];
        arguments.extend((0..self.size()).map(|index| self.address(index)));
        self.manage(&arguments).map(drop)
    }

    /// Starts nodes that belong to no group yet.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn without_group(options: Options) -> Result<Self> {
        let nodes = options
            .nodes
            .iter()
            .map(|more| Node::start(more, options.token.as_deref()))
            .collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            token: options.token,
        })
    }

    /// Runs `int-host` with these arguments and the nodes' token.
    ///
    /// # Errors
    /// When the command fails, with what it says.
    pub fn manage(&self, arguments: &[String]) -> Result<String> {
        let outcome = cli::run(self.command(arguments)?)?;
        if outcome.code == Some(0) {
            return Ok(outcome.stdout);
        }
        Err(Error::Refused {
            server: "int-host".into(),
            request: arguments.join(" "),
            why: outcome.stderr,
        })
    }

    /// `int-host` with these arguments and the nodes' token.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn command(&self, arguments: &[String]) -> Result<Command> {
        let mut command = program(self.token.as_deref())?;
        command.args(arguments);
        Ok(command)
    }

    /// Lets a node that lost its data join again, through another one.
    ///
    /// # Errors
    /// When the node does not join, with the reason.
    pub fn join(&self, index: usize, via: usize) -> Result<String> {
        self.manage(&[
            "node".into(),
            "join".into(),
            self.address(index),
            "--via".into(),
            self.address(via),
        ])
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, index: usize) -> Result<Value> {
        let token = self.token.as_deref().unwrap_or_default();
        status(&self.address(index), token)
    }

    /// Waits until a field of what a node says of itself has this value.
    ///
    /// # Errors
    /// When it has another one after a minute.
    pub fn await_status(&self, index: usize, field: &str, wanted: &Value) -> Result {
        let token = self.token.as_deref().unwrap_or_default();
        await_status(&self.address(index), token, field, wanted)
    }

    /// Empties the data of a node that was killed, as when its disk is replaced.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn wipe(&self, index: usize) -> Result {
        let data = &self.node(index).data;
        std::fs::remove_dir_all(data).map_err(Error::io(data.display().to_string()))
    }

    /// Copies the embedded store of a node that was stopped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn copy_store(&self, index: usize) -> Result<StoreCopy> {
        let copy = Scratch::new("store")?;
        for name in STORE {
            mariadb::copy(&self.node(index).data.join(name), &copy.path().join(name))?;
        }
        Ok(StoreCopy(copy))
    }

    /// Puts a copy in the place of the embedded store of a node that was stopped.
    ///
    /// # Errors
    /// When the store cannot be removed or written.
    pub fn restore_store(&self, index: usize, copy: &StoreCopy) -> Result {
        self.remove_store(index)?;
        for name in STORE {
            mariadb::copy(&copy.0.path().join(name), &self.node(index).data.join(name))?;
        }
        Ok(())
    }

    /// Removes the embedded store of a node that was stopped, and nothing else of its data.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_store(&self, index: usize) -> Result {
        let [folder, note] = STORE.map(|name| self.node(index).data.join(name));
        let removed = std::fs::remove_dir_all(&folder).and_then(|()| std::fs::remove_file(note));
        removed.map_err(Error::io(folder.display().to_string()))
    }

    /// The folder of a node's data.
    pub fn data(&self, index: usize) -> &Path {
        &self.node(index).data
    }

    /// The process of a node.
    pub fn server(&self, index: usize) -> &Server {
        &self.node(index).server
    }

    /// The port of a node on 127.0.0.1, or that of its proxy.
    pub fn port(&self, index: usize) -> u16 {
        let node = self.node(index);
        node.proxy.as_ref().map_or(node.port, Proxy::port)
    }

    /// The proxy of a node, if it has one.
    pub fn proxy(&self, index: usize) -> Option<&Proxy> {
        self.node(index).proxy.as_ref()
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The DSN that lists all nodes.
    pub fn dsn(&self) -> String {
        self.dsn_with(|index| self.port(index))
    }

    /// The DSN with another port in place of the first node's.
    pub fn dsn_on(&self, port: u16) -> String {
        self.dsn_with(|index| match index {
            0 => port,
            index => self.port(index),
        })
    }

    fn dsn_with(&self, port: impl Fn(usize) -> u16) -> String {
        let token = self.token.as_ref().map(|t| format!("{t}@"));
        let nodes: Vec<_> = (0..self.size())
            .map(|index| format!("127.0.0.1:{}", port(index)))
            .collect();
        format!("quorum://{}{}", token.unwrap_or_default(), nodes.join(","))
    }

    /// `host:port` of a node.
    pub fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.port(index))
    }

    fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }
}

impl Node {
    fn start(more: &[String], token: Option<&str>) -> Result<Self> {
        // Fails here if the program is missing, and not at every start.
        program(token)?;
        server::on_free_port(|port| {
            let scratch = Scratch::new("node")?;
            let data = scratch.join("data");
            let (folder, more) = (data.clone(), more.to_vec());
            let token = token.map(str::to_owned);
            let server = Server::start(
                "int-host node",
                scratch,
                move || {
                    let mut command =
                        program(token.as_deref()).unwrap_or_else(|_| Command::new("int-host"));
                    command.args(["node", "--host", "127.0.0.1", "--port", &port.to_string()]);
                    command.arg("--data").arg(&folder).args(&more);
                    command
                },
                move || {
                    let answer =
                        http::request("GET", &format!("http://127.0.0.1:{port}/ping"), &[], "");
                    answer.map(drop).map_err(|error| error.to_string())
                },
            )?;
            Ok(Self {
                server,
                port,
                proxy: None,
                data,
            })
        })
    }
}

/// The program, without this machine's settings.
pub(crate) fn program(token: Option<&str>) -> Result<Command> {
    let mut command = Command::new(target::int_host()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARTISANAL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.env("ARTISANAL_CACHE", backend::cache());
    if let Some(token) = token {
        command.env("ARTISANAL_NODE_TOKEN", token);
    }
    Ok(command)
}

/// What the node at this address says of itself.
///
/// # Errors
/// When it does not answer.
pub fn status(address: &str, token: &str) -> Result<Value> {
    let answer = http::request(
        "GET",
        &format!("http://{address}/v1/node"),
        &[("authorization", &format!("Bearer {token}"))],
        "",
    )?;
    Ok(answer.json())
}

/// Waits until a field of what the node at this address says of itself has this value.
///
/// # Errors
/// When it has another one after a minute.
pub fn await_status(address: &str, token: &str, field: &str, wanted: &Value) -> Result {
    wait::until(&format!("{address} has {field} {wanted}"), CHANGES, || {
        let status = status(address, token).map_err(|error| error.to_string())?;
        if status[field] == *wanted {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
}
