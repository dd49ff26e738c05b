//! A Redis Cluster of the Redis that is installed on this machine.

use crate::error::{Error, Result};
use crate::port;
use crate::redis::{Options, Redis};
use crate::server;
use crate::wait;
use std::process::Command;
use std::time::Duration;

/// How long the nodes may take to agree on a cluster, or on a new primary.
pub const AGREE: Duration = Duration::from_secs(60);

/// Nodes that share the keys: primaries, and possibly replicas.
pub struct Cluster(Vec<Redis>);

impl Cluster {
    /// Starts that many primaries, each with that number of replicas, and waits until the cluster serves all keys.
    /// `extra` are additional settings of the nodes: `--name value`.
    ///
    /// # Errors
    /// When there is no `redis-server` or `redis-cli` (the message says how to install it), or the nodes do not agree.
    pub fn start(primaries: usize, replicas: usize, extra: &[&str]) -> Result<Self> {
        let nodes: Result<Vec<_>> = (0..primaries * (1 + replicas))
            .map(|_| start(extra))
            .collect();
        let cluster = Self(nodes?);
        let mut create = Command::new(server::required("redis-cli", INSTALL)?);
        create.args(["--cluster", "create"]);
        create.args(cluster.0.iter().map(address));
        create.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        server::output_of(create)?;
        cluster.wait_until_ok()?;
        Ok(cluster)
    }

    /// The nodes, in the order of their start.
    pub fn nodes(&self) -> &[Redis] {
        &self.0
    }

    /// A DSN that lists these nodes, with `parameters` such as `?wait=1`.
    pub fn dsn(&self, listed: &[usize], parameters: &str) -> String {
        let hosts: Vec<_> = listed.iter().map(|at| address(&self.0[*at])).collect();
        format!("redis+cluster://{}{parameters}", hosts.join(","))
    }

    /// Waits until every node that runs reports that the cluster serves all keys, and that every replica that runs is
    /// connected to its primary.
    ///
    /// # Errors
    /// When that takes longer than [`AGREE`].
    pub fn wait_until_ok(&self) -> Result {
        wait::until("the cluster serves all keys", AGREE, || {
            for node in self.running() {
                let ask = |words: &[&str]| node.query::<String>(words).map_err(|e| e.to_string());
                let (info, role) = (ask(&["CLUSTER", "INFO"])?, ask(&["INFO", "replication"])?);
                if !info.contains("cluster_state:ok") || role.contains("master_link_status:down") {
                    return Err(format!("{}: {info}{role}", address(node)));
                }
            }
            Ok(())
        })
    }

    /// The position of the running node that has the slot of this key, as it says itself; none while there is none.
    ///
    /// # Errors
    /// When a node answers with an error.
    pub fn owner(&self, key: &str) -> Result<Option<usize>> {
        for (at, node) in self.0.iter().enumerate().filter(|(_, n)| n.is_running()) {
            let slot: u16 = node.query(&["CLUSTER", "KEYSLOT", key])?;
            let nodes: String = node.query(&["CLUSTER", "NODES"])?;
            let itself = nodes.lines().find(|line| line.contains("myself"));
            // Eight fields, then the slots: `0-5460`, or `7` for a single one.
            let mut ranges = itself.unwrap_or_default().split(' ').skip(8);
            let has = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let parse = |text: &str| text.parse::<u16>().ok();
                parse(first) <= Some(slot) && Some(slot) <= parse(last) && parse(first).is_some()
            };
            if ranges.any(has) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Waits until another running node than `before` has the slot of this key, and returns its position.
    ///
    /// # Errors
    /// When that takes longer than [`AGREE`], or a node answers with an error.
    pub fn successor_of(&self, before: usize, key: &str) -> Result<usize> {
        wait::until_or_error("another node has the key", AGREE, || {
            Ok(match self.owner(key)? {
                Some(owner) if owner != before => Ok(owner),
                owner => Err(format!("{owner:?} has it")),
            })
        })
    }

    /// Moves the slot of a key to the primary at `to`, as `redis-cli --cluster reshard` does, and calls `between` after each
    /// step: when the move has begun, when the key was moved, and when it has ended.
    ///
    /// # Errors
    /// Those of `between`, and when a node answers with an error.
    pub fn migrate(
        &self,
        key: &str,
        to: usize,
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let from = self
            .owner(key)?
            .ok_or_else(|| Error::unexpected("the cluster", "no node has the key"))?;
        let (source, target) = (&self.0[from], &self.0[to]);
        let slot = source
            .query::<u16>(&["CLUSTER", "KEYSLOT", key])?
            .to_string();
        let id = |node: &Redis| node.query::<String>(&["CLUSTER", "MYID"]);
        let (source_id, target_id) = (id(source)?, id(target)?);
        let set = |node: &Redis, how: &str, id: &str| {
            node.query::<()>(&["CLUSTER", "SETSLOT", &slot, how, id])
        };
        set(target, "IMPORTING", &source_id)?;
        set(source, "MIGRATING", &target_id)?;
        between()?;
        let port = target.port().to_string();
        source.query::<()>(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"])?;
        between()?;
        set(target, "NODE", &target_id)?;
        set(source, "NODE", &target_id)?;
        between()
    }

    fn running(&self) -> impl Iterator<Item = &Redis> {
        self.0.iter().filter(|node| node.is_running())
    }
}

fn address(node: &Redis) -> String {
    format!("127.0.0.1:{}", node.port())
}

fn start(extra: &[&str]) -> Result<Redis> {
    // The nodes talk to each other on a second port.
    server::retrying(3, || {
        let bus = port::free()?.to_string();
        let mut settings = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
        // Long enough for a busy machine.
        settings.extend(["--cluster-node-timeout", "3000"]);
        settings.extend(extra);
        Redis::with(Options {
            extra: settings.into_iter().map(str::to_owned).collect(),
            ..Options::default()
        })
    })
}

const INSTALL: &str = "`apt-get install redis-tools` on Debian and Ubuntu, `dnf install redis` on Fedora, \
                       `brew install redis` on macOS";
