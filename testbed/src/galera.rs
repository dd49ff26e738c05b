//! A Galera cluster of MariaDB servers, as installed on this machine.

use crate::mariadb::{self, SMALL, as_root, path_option, program, query};
use crate::port;
use crate::scratch::Scratch;
use crate::server::Server;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Where packages put Galera.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
    "/usr/local/lib/libgalera_smm.so",
];

/// How a node gets the state of the cluster that it joins. All nodes begin with the same files, so nothing
/// is copied: what a node has missed, the donor sends it from the write sets that it still holds. The
/// address that donor and joiner exchange is a file.
const TRANSFER: &str = r#"#!/bin/sh
set -eu
role="" address="" gtid="" bypass=""
while [ $# -gt 0 ]; do
	case "$1" in
	--role) role=$2 ;;
	--address) address=$2 ;;
	--gtid) gtid=$2 ;;
	--bypass) bypass=1 ;;
	esac
	shift
done
case "$role" in
joiner)
	echo "ready $address"
	until [ -s "$address" ]; do sleep 0.05; done
	cat "$address"
	;;
donor)
	[ -n "$bypass" ] || exit 22
	echo "$gtid" >"$address.new"
	mv "$address.new" "$address"
	echo "done $gtid"
	;;
esac
"#;

/// A cluster. Every node may be written to.
pub struct Galera {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    port: u16,
}

impl Galera {
    /// Starts so many nodes, with the database and the user of [`mariadb::MariaDb`].
    ///
    /// # Panics
    /// When Galera is missing, with how to install it, or the cluster does not form.
    pub fn start(nodes: usize) -> Self {
        let mut attempts = 3;
        loop {
            // Somebody may take one of the ports meanwhile.
            match Self::try_start(nodes) {
                Ok(cluster) => return cluster,
                Err(why) => {
                    attempts -= 1;
                    assert!(attempts > 0, "{why}");
                }
            }
        }
    }

    fn try_start(number: usize) -> Result<Self, String> {
        let plans: Vec<_> = (0..number).map(|_| Plan::new()).collect();
        let group = plans[0].group_port;
        let first = &plans[0];
        mariadb::install(&first.data())?;
        // The cluster's identity gets into its files, for the others to begin with.
        let seed = first.server(Scratch::new("galera"), group, true);
        seed.launch()?;
        seed.await_ready()?;
        query(first.port, "root", "", &mariadb::users())?;
        seed.stop();
        drop(seed);
        for plan in &plans[1..] {
            mariadb::copy(&first.data(), &plan.data())?;
            // Which write sets a node can send to others is its own.
            let cache = plan.data().join("galera.cache");
            fs::remove_file(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
        }
        let mut nodes = Vec::new();
        for (number, (plan, scratch)) in plans.into_iter().map(Plan::split).enumerate() {
            let server = plan.server(scratch, group, number == 0);
            server.launch()?;
            server.await_ready()?;
            nodes.push(Node {
                server,
                port: plan.port,
            });
        }
        Ok(Self { nodes })
    }

    /// The ports of the nodes on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// One of the nodes.
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number].server
    }

    /// The DSN of the minter for these nodes.
    pub fn dsn(&self, numbers: &[usize]) -> String {
        let ports: Vec<_> = numbers.iter().map(|n| self.nodes[*n].port).collect();
        mariadb::dsn(mariadb::USER, mariadb::PASSWORD, &ports)
    }

    /// Runs statements on a node as an administrator, and returns the rows.
    ///
    /// # Panics
    /// When the node answers with an error.
    pub fn sql(&self, number: usize, statements: &str) -> String {
        query(self.nodes[number].port, "root", "", statements)
            .unwrap_or_else(|e| panic!("{statements}: {e}"))
    }

    /// How often a change was undone on some node because another node's came first.
    ///
    /// # Panics
    /// When a node does not answer.
    pub fn conflicts(&self) -> u64 {
        self.sum(&["WSREP_LOCAL_CERT_FAILURES", "WSREP_LOCAL_BF_ABORTS"])
    }

    /// How many connections were made to all nodes so far.
    ///
    /// # Panics
    /// When a node does not answer.
    pub fn connections(&self) -> u64 {
        self.sum(&["CONNECTIONS"])
    }

    fn sum(&self, variables: &[&str]) -> u64 {
        let mut sum = 0;
        for number in 0..self.nodes.len() {
            let select = format!(
                "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                 WHERE VARIABLE_NAME IN ('{}')",
                variables.join("','")
            );
            for value in self.sql(number, &select).lines() {
                sum += value.parse::<u64>().expect("a number");
            }
        }
        sum
    }
}

/// Where a node is going to be.
struct Plan {
    dir: PathBuf,
    scratch: Option<Scratch>,
    port: u16,
    /// Where the nodes talk to each other.
    group_port: u16,
    /// Where the node is sent what it missed.
    transfer_port: u16,
}

impl Plan {
    fn new() -> Self {
        let scratch = Scratch::new("galera");
        let dir = scratch.path().to_owned();
        fs::create_dir(dir.join("tmp")).expect("a folder");
        let script = dir.join("wsrep_sst_bypass");
        fs::write(&script, TRANSFER).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        Self {
            dir,
            scratch: Some(scratch),
            port: port::free(),
            group_port: port::free(),
            transfer_port: port::free(),
        }
    }

    fn split(mut self) -> (Self, Scratch) {
        let scratch = self.scratch.take().expect("split once");
        (self, scratch)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A server on the plan's files that joins the cluster by way of the node on the port `group`, or makes
    /// a cluster of its own.
    fn server(&self, scratch: Scratch, group: u16, alone: bool) -> Server {
        let (dir, data, port) = (self.dir.clone(), self.data(), self.port);
        let (group_port, transfer_port) = (self.group_port, self.transfer_port);
        let (mariadbd, library) = (program("mariadbd"), library());
        let launch = move || {
            let mut command = Command::new(&mariadbd);
            command.arg("--no-defaults");
            command.arg(path_option("--datadir", &data));
            command.arg(path_option("--tmpdir", &dir.join("tmp")));
            command.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
            command.args(["--socket=mariadb.sock", "--pid-file=mariadb.pid"]);
            command.args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"]);
            command.args(["--wsrep-on=ON", "--wsrep-cluster-name=artisanal"]);
            command.arg(path_option("--wsrep-provider", &library));
            command.args(["--wsrep-sst-method=bypass"]);
            command.arg(path_option(
                "--wsrep-sst-receive-address",
                &dir.join("transfer"),
            ));
            command.arg(format!("--port={port}"));
            command.arg(format!("--wsrep-node-address=127.0.0.1:{group_port}"));
            command.arg(format!("--wsrep-node-incoming-address=127.0.0.1:{port}"));
            command.arg(format!("--wsrep-cluster-address=gcomm://127.0.0.1:{group}"));
            command.arg(format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group_port};\
                 ist.recv_addr=127.0.0.1:{transfer_port};gcache.size=8M;pc.recovery=no"
            ));
            command.args(SMALL).args(as_root());
            command.args(alone.then_some("--wsrep-new-cluster"));
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::iter::once(dir.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(path).expect("no colon in it"));
            command
        };
        let probe = move || {
            let state = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE \
                         VARIABLE_NAME='WSREP_READY'";
            match query(port, "root", "", state)?.as_str() {
                "ON" => Ok(()),
                state => Err(format!("wsrep_ready is {state}")),
            }
        };
        Server::prepare("mariadbd with Galera", scratch, launch, probe)
    }
}

fn library() -> PathBuf {
    let found = LIBRARIES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "Galera is not installed: `apt-get install galera-4` on Debian and Ubuntu, `dnf install \
             mariadb-server-galera` on Fedora"
        )
    })
}
