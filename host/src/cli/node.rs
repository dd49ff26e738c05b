//! `int-host node`: runs a node of a quorum, and manages groups of them.

use super::flags::{Flags, token};
use super::node_status::status;
use super::{Failure, log, metrics, one_thread, open_files};
use crate::node::{self, Node, Peers};
use crate::serve::{Limits, Listeners, Shutdown};
use crate::{Error, Host, Options, runtime};
use artisanal_core::Secret;
use artisanal_quorum::{Describe, FIRST_EPOCH, List, Member, NodeState, PORT, Status};
use engine_dsn::Address;
use intd::Token;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// Run a node of a quorum, or manage a group of nodes
///
/// A node keeps marks in its own backend (--engine, --dsn; default the embedded store) and accepts
/// claims of `--engine quorum`. Start an odd number of nodes, then make them a group once with
/// `int-host node init ADDRESS ADDRESS ADDRESS`.
#[derive(clap::Args)]
pub(super) struct NodeCommand {
    /// The name or address of this machine to listen on
    #[arg(
        long,
        env = "ARTISANAL_NODE_HOST",
        value_name = "HOST",
        default_value = "localhost",
        hide_env_values = true
    )]
    host: String,
    /// The port to listen on; 0 means any free port, which the log shows
    #[arg(long, env = "ARTISANAL_NODE_PORT", value_name = "PORT", default_value_t = PORT, hide_env_values = true)]
    port: u16,
    /// The token that all nodes of the group and their clients share; without it everybody who reaches the
    /// port can claim. Set it in the environment, since other users can see the command line
    #[arg(long, global = true, env = "ARTISANAL_NODE_TOKEN", value_name = "TOKEN", value_parser = token, hide_env_values = true)]
    node_token: Option<String>,
    /// Serve metrics of this node for Prometheus under /metrics, at this port of localhost or of another address of
    /// this machine
    #[arg(long, env = "ARTISANAL_NODE_METRICS", value_name = "[HOST:]PORT", value_parser = metrics::address, hide_env_values = true)]
    metrics: Option<(String, u16)>,
    #[command(subcommand)]
    command: Option<Manage>,
}

/// More than the instances that a node uses, to replace failed ones.
const INSTANCES: u32 = 16;

/// Commands for a whole group.
#[derive(Debug, clap::Subcommand)]
enum Manage {
    /// Make new nodes the members of a new group, once
    Init {
        /// Every member, as the other members and the clients reach it
        #[arg(required = true, value_name = "HOST[:8081]", value_parser = address)]
        members: Vec<String>,
    },
    /// Let a node that lost its data take its place again
    ///
    /// The node asks more than half of all members, itself not counted, so with three members both others
    /// must be up. One that takes part goes on as it is.
    Join {
        /// The node that lost its data
        #[arg(value_name = "HOST[:8081]", value_parser = address)]
        node: String,
        /// A member of the group that is up
        #[arg(long, value_name = "HOST[:8081]", value_parser = address)]
        via: String,
    },
    /// Put a new node in the place of a member, which may be lost for good
    ///
    /// A majority of the members before and after has to be up. Nothing is minted in the meantime, and clients
    /// with the old list go on with the members that it still has. An interrupted replacement goes on when
    /// the same command runs again; it cannot be given up.
    Replace {
        /// The member that leaves
        #[arg(value_name = "OLD[:8081]", value_parser = address)]
        old: String,
        /// The node that takes its place, which belongs to no group, as the members and the clients reach it
        #[arg(value_name = "NEW[:8081]", value_parser = address)]
        new: String,
        /// Another member of the group that is up
        #[arg(long, value_name = "HOST[:8081]", value_parser = address)]
        via: String,
    },
    /// Show nodes: what they can do, their group, incarnation and marks
    ///
    /// A node lags by the difference between its mark and the greatest one of the nodes that are listed and
    /// answer. A lag is harmless: the node catches up with its next claim.
    Status {
        /// The nodes
        #[arg(required = true, value_name = "HOST[:8081]", value_parser = address)]
        nodes: Vec<String>,
        /// The maximum number of sequences to show, in the order of their keys; --key KEY shows one alone
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        keys: usize,
    },
}

fn address(text: &str) -> Result<String, String> {
    let address = Address::parse(text)
        .map_err(|_| "expected a host, optionally with a port: `a.example.com:8081`".to_owned())?;
    let port = Some(address.port_or(PORT));
    Ok(Address { port, ..address }.to_string())
}

impl NodeCommand {
    /// Whether this process becomes a node, so that it needs a backend.
    pub(super) fn starts_node(&self) -> bool {
        self.command.is_none()
    }

    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let peers = Peers::new(self.node_token.clone().map(Secret::new));
        match &self.command {
            None => self.serve(flags, peers),
            Some(manage) => {
                log::start(flags.log_format, log::QUIET);
                let text = one_thread()?.block_on(manage.run(&peers, flags.key.as_deref()))?;
                Ok(std::io::stdout().write_all(text.as_bytes())?)
            }
        }
    }

    fn serve(&self, flags: &Flags, peers: Peers) -> Result<(), Failure> {
        log::start(
            flags.log_format,
            "warn,int_host=info,int_host::requests=off",
        );
        let files = open_files::raise_limit();
        let runtime = runtime::start(&runtime::Options {
            threads: 1,
            ..runtime::Options::default()
        })?;
        let ended = runtime.block_on(self.serve_until_stopped(flags, peers, files));
        // No result of a task that is still running is needed.
        runtime.shutdown_background();
        Ok(ended?)
    }

    async fn serve_until_stopped(
        &self,
        flags: &Flags,
        peers: Peers,
        files: Option<u64>,
    ) -> Result<(), Error> {
        let token = match self.node_token.clone().map(Token::new) {
            Some(None) => {
                return Err(Error::Invalid(
                    "the node token must be 1 to 1024 printable ASCII characters without spaces"
                        .into(),
                ));
            }
            token => token.flatten(),
        };
        let options = Options {
            instances: INSTANCES,
            ..flags.options()
        };
        let directory = options.data.clone().ok_or_else(|| {
            Error::Misconfigured(
                "this platform has no data directory; name one with --data DIR".into(),
            )
        })?;
        let host = Host::new(options)?;
        let source = flags.source()?;
        let dsn = flags.dsn.clone().unwrap_or_default();
        let node = Arc::new(Node::open(&host, &source, dsn, &directory, peers).await?);
        let listeners = Listeners::bind(&self.host, self.port).await?;
        let shutdown = Shutdown::new();
        node.report_to(host.metrics());
        metrics::start(self.metrics.as_ref(), host.metrics(), &shutdown).await?;
        tokio::spawn(super::serve::end_on_signals(shutdown.clone()));
        tokio::spawn(Arc::clone(&node).keep_up());
        let status = node.status();
        tracing::info!("node {}: {}", status.node, summary(&status));
        for address in listeners.addresses() {
            tracing::info!("listening on http://{address}");
        }
        let limits = Limits {
            connections: Limits::default()
                .connections
                .min(files.map_or(u32::MAX, |files| {
                    open_files::connections_within(files, INSTANCES, 0)
                })),
            metrics: host.metrics().clone(),
            ..Limits::default()
        };
        node::serve(listeners, node, token, limits, shutdown).await;
        tracing::info!("stopped");
        Ok(())
    }
}

impl Manage {
    async fn run(&self, peers: &Peers, key: Option<&str>) -> Result<String, Error> {
        match self {
            Self::Init { members } => init(peers, members).await,
            Self::Join { node, via } => join(peers, node, via).await,
            Self::Replace { old, new, via } => replace(peers, old, new, via).await,
            Self::Status { nodes, keys } => status(peers, nodes, key, *keys).await,
        }
    }
}

/// Makes a group of nodes that belong to none. A node that was reached before another one failed keeps its
/// group, so that the command says what to do.
async fn init(peers: &Peers, addresses: &[String]) -> Result<String, Error> {
    let mut members = Vec::new();
    for address in addresses {
        let status = peers.status(address).await?;
        if status.group != 0 {
            return Err(Error::Denied(format!(
                "{address} is a member of group {} already; a new group needs nodes whose data directory and \
                 backend are empty",
                status.group
            )));
        }
        members.push(Member {
            node: status.node,
            address: address.clone(),
        });
    }
    let group = node::random();
    for (done, member) in members.iter().enumerate() {
        let described = Describe {
            node: member.node,
            group,
            epoch: FIRST_EPOCH,
            members: members.clone(),
        };
        if let Err(error) = peers.init(&member.address, &described).await {
            return Err(match done {
                0 => error.into(),
                _ => Error::Unavailable(format!(
                    "{error}; the group is incomplete: {done} of {} nodes are members of group {group}. \
                     Nothing was minted; empty the data of these nodes and begin again",
                    members.len()
                )),
            });
        }
    }
    let dsn = addresses.join(",");
    Ok(format!(
        "group {group}\nuse it with --engine quorum --dsn quorum://{dsn}\n"
    ))
}

async fn join(peers: &Peers, address: &str, via: &str) -> Result<String, Error> {
    let group = peers.status(via).await?;
    if group.group == 0 {
        return Err(Error::Invalid(format!("{via} belongs to no group")));
    }
    let member = group
        .members
        .iter()
        .find(|member| member.address == address)
        .ok_or_else(|| {
            let known: Vec<_> = group.members.iter().map(|m| m.address.as_str()).collect();
            Error::Invalid(format!(
                "{via} knows no member at {address}; it knows {}",
                known.join(", ")
            ))
        })?;
    let described = Describe {
        node: member.node,
        group: group.group,
        epoch: group.epoch,
        members: group.members.clone(),
    };
    let before = peers.status(address).await;
    let status = peers.join(address, &described).await?;
    let did = summary(&status);
    let same = before.is_ok_and(|before| {
        before.state == NodeState::Serving && before.incarnation == status.incarnation
    });
    Ok(if same {
        format!(
            "{address}: it takes part already and has not joined again; a node that was restored from a backup has to be \
             emptied first ({did})\n"
        )
    } else {
        format!("{address}: {did}\n")
    })
}

async fn replace(peers: &Peers, old: &str, new: &str, via: &str) -> Result<String, Error> {
    let replaced = node::replace(peers, old, new, via).await?;
    let List { epoch, .. } = replaced.list;
    let addresses = replaced.list.addresses();
    let mut text = format!(
        "the members are {addresses} (list {epoch})\nuse them with --engine quorum --dsn quorum://{addresses}\n"
    );
    for address in &replaced.missed {
        // The new one knows no member that it could ask.
        let then = if address == new {
            "run the same command again when it answers"
        } else {
            "it will from the others"
        };
        text += &format!("{address} has not heard of it yet; {then}\n");
    }
    Ok(text)
}

pub(super) fn summary(status: &Status) -> String {
    let Status {
        group,
        incarnation,
        members,
        epoch,
        ..
    } = status;
    match (&status.reason, &status.open) {
        (Some(reason), _) => reason.clone(),
        (None, Some(open)) => format!(
            "in group {group}, incarnation {incarnation}; a change of the members to {} has begun and not ended",
            open.addresses()
        ),
        (None, None) => format!(
            "serving group {group} of {} members, incarnation {incarnation}, member list {epoch}",
            members.len()
        ),
    }
}

/// Omits the token.
impl fmt::Debug for NodeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCommand")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
