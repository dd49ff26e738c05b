//! A Galera cluster of the MariaDB that is installed on this machine.

use crate::error::{Error, Result};
use crate::mariadb::{self, SMALL, as_root, path_option, program, query};
use crate::port;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The paths where packages install Galera.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
    "/usr/local/lib/libgalera_smm.so",
];

/// A state transfer (SST) script that copies nothing, since all nodes start with the same files: the donor
/// sends what a joiner missed from the write sets in its cache (IST). The address that donor and joiner
/// exchange is a file.
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

/// A multi-primary cluster: every node accepts writes.
pub struct Galera {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    port: u16,
}

impl Galera {
    /// Starts a cluster of `nodes` nodes, with the database and the user of [`mariadb::MariaDb`].
    ///
    /// # Errors
    /// When Galera is missing (the message says how to install it), or the cluster does not form.
    pub fn start(nodes: usize) -> Result<Self> {
        // Another process may take one of the ports in the meantime.
        server::retrying(3, || Self::try_start(nodes))
    }

    fn try_start(number: usize) -> Result<Self> {
        let plans: Result<Vec<_>> = (0..number).map(|_| Plan::new()).collect();
        let plans = plans?;
        let group = plans[0].group_port;
        let first = &plans[0];
        mariadb::install(&first.data())?;
        // This writes the cluster's identity into the files that the other nodes start with.
        let seed = first.server(Scratch::new("galera")?, group, true)?;
        seed.launch()?;
        seed.await_ready()?;
        query(first.port, "root", "", &mariadb::users())?;
        seed.stop()?;
        drop(seed);
        for plan in &plans[1..] {
            mariadb::copy(&first.data(), &plan.data())?;
            // The cache of write sets must not be shared between nodes.
            let cache = plan.data().join("galera.cache");
            fs::remove_file(&cache).map_err(Error::io(cache.display().to_string()))?;
        }
        let mut nodes = Vec::new();
        for (number, (plan, scratch)) in plans.into_iter().map(Plan::split).enumerate() {
            let server = plan.server(scratch, group, number == 0)?;
            server.launch()?;
            server.await_ready()?;
            nodes.push(Node {
                server,
                port: plan.port,
            });
        }
        Ok(Self { nodes })
    }

    /// The nodes' ports on 127.0.0.1.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// One of the nodes.
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number].server
    }

    /// The minter's DSN for these nodes.
    pub fn dsn(&self, numbers: &[usize]) -> String {
        let ports: Vec<_> = numbers.iter().map(|n| self.nodes[*n].port).collect();
        mariadb::dsn(mariadb::USER, mariadb::PASSWORD, &ports)
    }

    /// Runs statements on a node as an administrator and returns the rows.
    ///
    /// # Errors
    /// When the node answers with an error.
    pub fn sql(&self, number: usize, statements: &str) -> Result<String> {
        query(self.nodes[number].port, "root", "", statements)
    }

    /// How many transactions were rolled back because of a conflict with another node, summed over all nodes.
    ///
    /// # Errors
    /// When a node does not answer.
    pub fn conflicts(&self) -> Result<u64> {
        self.sum(&["WSREP_LOCAL_CERT_FAILURES", "WSREP_LOCAL_BF_ABORTS"])
    }

    /// How many connections all nodes together have accepted so far.
    ///
    /// # Errors
    /// When a node does not answer.
    pub fn connections(&self) -> Result<u64> {
        self.sum(&["CONNECTIONS"])
    }

    fn sum(&self, variables: &[&str]) -> Result<u64> {
        let mut sum = 0;
        for number in 0..self.nodes.len() {
            let select = format!(
                "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                 WHERE VARIABLE_NAME IN ('{}')",
                variables.join("','")
            );
            for value in self.sql(number, &select)?.lines() {
                let value = value.parse::<u64>();
                sum += value.map_err(|e| Error::unexpected("a counter of the server", e))?;
            }
        }
        Ok(sum)
    }
}

/// The folder and the ports of a node.
struct Plan {
    dir: PathBuf,
    scratch: Option<Scratch>,
    port: u16,
    /// The port for group communication among the nodes.
    group_port: u16,
    /// The port on which the node receives missed write sets (IST).
    transfer_port: u16,
}

impl Plan {
    fn new() -> Result<Self> {
        let scratch = Scratch::new("galera")?;
        let dir = scratch.path().to_owned();
        mariadb::create_dir(&dir.join("tmp"))?;
        let script = dir.join("wsrep_sst_bypass");
        fs::write(&script, TRANSFER)
            .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
            .map_err(Error::io(script.display().to_string()))?;
        Ok(Self {
            dir,
            scratch: Some(scratch),
            port: port::free()?,
            group_port: port::free()?,
            transfer_port: port::free()?,
        })
    }

    fn split(mut self) -> (Self, Scratch) {
        let scratch = self.scratch.take().expect("split once");
        (self, scratch)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A server on the plan's files that joins the cluster through the node on the port `group`, or
    /// bootstraps a new cluster when `alone`.
    fn server(&self, scratch: Scratch, group: u16, alone: bool) -> Result<Server> {
        let (dir, data, port) = (self.dir.clone(), self.data(), self.port);
        let (group_port, transfer_port) = (self.group_port, self.transfer_port);
        let (mariadbd, library) = (program("mariadbd")?, library()?);
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
            match query(port, "root", "", state).as_deref() {
                Ok("ON") => Ok(()),
                Ok(state) => Err(format!("wsrep_ready is {state}")),
                Err(error) => Err(error.to_string()),
            }
        };
        let name = "mariadbd with Galera";
        Ok(Server::prepare(name, scratch, launch, probe))
    }
}

fn library() -> Result<PathBuf> {
    let found = LIBRARIES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::Missing(
            "Galera is not installed: `apt-get install galera-4` on Debian and Ubuntu, `dnf install \
             mariadb-server-galera` on Fedora"
                .to_owned(),
        )
    })
}
