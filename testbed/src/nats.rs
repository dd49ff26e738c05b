//! Single nodes and clusters of NATS with JetStream, whose writes are synced before they are acknowledged. The program
//! comes from `NATS_SERVER`, from PATH, or is built from `testbed/servers`.

use crate::error::{Error, Result};
use crate::go::Tool;
use crate::http;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::target::Once;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A NATS server or cluster on 127.0.0.1. The first node is number 0.
pub struct Nats {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    port: u16,
}

/// The ports of a node.
#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    cluster: u16,
    monitor: u16,
}

impl Nats {
    /// Starts a single node.
    ///
    /// # Errors
    /// As [`Nats::cluster`].
    pub fn start() -> Result<Self> {
        Self::with(1, "")
    }

    /// Starts a cluster and waits until every node is ready for JetStream.
    ///
    /// # Errors
    /// When there is neither `nats-server` nor Go to build it with (the message says how to install them), or when it does
    /// not start.
    pub fn cluster(size: usize) -> Result<Self> {
        Self::with(size, "")
    }

    /// The same with further lines of configuration, such as `authorization { … }`.
    ///
    /// # Errors
    /// As [`Nats::cluster`].
    pub fn with(size: usize, lines: &str) -> Result<Self> {
        let program = SERVER.find()?;
        // Another process may have taken one of the ports in the meantime.
        server::retrying(3, || Self::try_start(&program, size, lines))
    }

    fn try_start(program: &Path, size: usize, lines: &str) -> Result<Self> {
        let ports = |_| {
            Ok(Ports {
                clients: crate::port::free()?,
                cluster: crate::port::free()?,
                monitor: crate::port::free()?,
            })
        };
        let ports: Result<Vec<_>> = (0..size).map(ports).collect();
        let ports = ports?;
        let nodes: Result<Vec<_>> = (0..size)
            .map(|index| node(program, index, &ports, lines))
            .collect();
        let cluster = Self { nodes: nodes? };
        for node in &cluster.nodes {
            node.server.launch()?;
        }
        for node in &cluster.nodes {
            node.server.await_ready()?;
        }
        Ok(cluster)
    }

    /// The servers of a DSN: `host:port,host:port`.
    pub fn hosts(&self) -> String {
        let hosts = self.nodes.iter();
        let hosts: Vec<_> = hosts
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        hosts.join(",")
    }

    /// One node's process.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index].server
    }

    /// Sends a request, such as one of the JetStream API, to a node, and returns the answer.
    ///
    /// # Errors
    /// When there is none within 10 s.
    pub fn request(&self, index: usize, subject: &str, payload: &str) -> Result<String> {
        let mut answers = self.requests(index, subject, &[payload])?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Sends several requests at the same moment, and returns the answers as they come.
    ///
    /// # Errors
    /// When one is missing for 10 s.
    pub fn requests(&self, index: usize, subject: &str, payloads: &[&str]) -> Result<Vec<String>> {
        let what = || format!("NATS, {subject}");
        let failed = |error| Error::io(what())(error);
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.nodes[index].port)).map_err(failed)?;
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).map_err(failed)?;
        let mut text = "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\n".to_owned();
        for payload in payloads {
            let length = payload.len();
            text += &format!("PUB {subject} answer {length}\r\n{payload}\r\n");
        }
        stream.write_all(text.as_bytes()).map_err(failed)?;
        let mut reader = BufReader::new(stream);
        let mut answers = Vec::new();
        while answers.len() < payloads.len() {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(failed)?;
            match line.split_whitespace().next() {
                Some("MSG") => {
                    let length = line.split_whitespace().last().and_then(|n| n.parse().ok());
                    let mut answer = vec![0; length.unwrap_or(0)];
                    reader.read_exact(&mut answer).map_err(failed)?;
                    answers.push(String::from_utf8_lossy(&answer).into_owned());
                }
                Some("-ERR") => return Err(Error::refused(what(), "a request")(line)),
                None if line.is_empty() => {
                    return Err(Error::refused(what(), "a request")(line));
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    /// The number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }
}

fn node(program: &Path, index: usize, ports: &[Ports], lines: &str) -> Result<Node> {
    let scratch = Scratch::new("nats")?;
    let Ports {
        clients,
        cluster,
        monitor,
    } = ports[index];
    let data = scratch.join("data");
    let config = scratch.join("nats.conf");
    let mut text = format!(
        "server_name: node-{index}\nlisten: 127.0.0.1:{clients}\nhttp: 127.0.0.1:{monitor}\n\
         jetstream {{ store_dir: {:?}, sync_interval: always }}\n{lines}\n",
        data.display().to_string()
    );
    if ports.len() > 1 {
        let routes = ports.iter();
        let routes: Vec<_> = routes
            .map(|ports| format!("nats://127.0.0.1:{}", ports.cluster))
            .collect();
        text += &format!(
            "cluster {{ name: test, listen: 127.0.0.1:{cluster}, routes: [{}] }}\n",
            routes.join(", ")
        );
    }
    std::fs::write(&config, text).map_err(Error::io(config.display().to_string()))?;
    let program = program.to_owned();
    let launch = move || {
        let mut command = Command::new(&program);
        command.arg("-c").arg(&config);
        command
    };
    let probe = move || {
        let url = format!("http://127.0.0.1:{monitor}/healthz");
        let answer = http::get(&url).map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    };
    Ok(Node {
        server: Server::prepare("nats-server", scratch, launch, probe),
        port: clients,
    })
}

static SERVER: Tool = Tool {
    program: "nats-server",
    package: "github.com/nats-io/nats-server/v2",
    variable: "NATS_SERVER",
    page: "https://nats.io/download",
    found: Once::new(),
};
