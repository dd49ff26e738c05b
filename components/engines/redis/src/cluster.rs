//! Follows a key through the nodes of a Redis Cluster.
//!
//! The cluster assigns each key to a slot, and each slot to one primary. A node that does not have the slot names the one
//! that has it: `MOVED` for good, `ASK` for one command while the slot is being moved. A sequence has one key, so
//! every command and script is about one slot.
//!
//! The nodes decide by a majority which of them has a slot, so the engine follows them and compares nothing itself.

use crate::client::Session;
use crate::locate::{self, text_of};
use crate::refusal::Fault;
use crate::settings::{PORT, Settings};
use engine_dsn::Address;
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_guest::retry::Retry;
use engine_redis_wire::{Wire, cmd};

/// How many redirects are followed in a row. More of them mean that the nodes do not agree at present.
const MAX_HOPS: u32 = 5;

/// How many connections are kept. A cluster has up to about a thousand nodes, and a process few sequences.
const MAX_OPEN: usize = 64;

/// The node that a sequence's key was on last; None if that is unknown.
pub(crate) type Home = Option<Address>;

/// The connections to the nodes of one cluster.
#[derive(Default)]
pub(crate) struct Nodes {
    /// The one used last is at the end. A connection is taken out while in use, and not put back after a failure.
    open: Vec<(Address, Wire)>,
    /// The position in the DSN of the node to ask when the home of a key is unknown.
    first: usize,
}

/// A node whose latest write too few replicas acknowledged.
struct Short {
    node: Address,
    why: String,
}

impl Nodes {
    /// Runs the operation on the node that has the key, until it succeeds, fails for good, or reaches the deadline.
    pub(crate) fn run<T>(
        &mut self,
        settings: &Settings,
        home: &mut Home,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut retry = Retry::within(settings.timeout, "the Redis Cluster");
        let mut asked: Option<Address> = None;
        let mut short: Option<Short> = None;
        let (mut hops, mut strangers) = (0, 0);
        loop {
            let in_time = retry.in_time();
            let asking = asked.is_some();
            let node = match asked.take().or_else(|| home.clone()) {
                Some(node) => node,
                None => self.listed(settings)?,
            };
            // Another write on the same node would only skip more integers.
            if let Some(short) = short.take_if(|short| short.node == node) {
                return Err(Error::Unavailable(short.why));
            }
            let kept = self.open.iter().any(|(other, _)| *other == node);
            // The other half is for another node, if this one does not answer.
            let deadline = Deadline::after(retry.left() / 2);
            let (why, at_once) =
                match self.try_once(settings, &node, asking, deadline, &mut operation) {
                    Ok(answer) => {
                        if !asking {
                            *home = Some(node);
                        }
                        return Ok(answer);
                    }
                    Err(Fault::Final(error)) => return Err(error),
                    Err(Fault::Moved(redirect)) => {
                        let why = format!("the cluster is being reconfigured ({node} redirects)");
                        match redirect {
                            Some(redirect) if redirect.once => asked = Some(redirect.target(&node)),
                            redirect => *home = redirect.map(|redirect| redirect.target(&node)),
                        }
                        hops += 1;
                        let follows = hops <= MAX_HOPS && (asked.is_some() || home.is_some());
                        if !follows {
                            (hops, asked, *home) = (0, None, None);
                        }
                        (why, follows)
                    }
                    Err(Fault::Unacknowledged(why)) => {
                        *home = None;
                        short = Some(Short {
                            node,
                            why: why.clone(),
                        });
                        (why, true)
                    }
                    Err(Fault::Lost(why) | Fault::Elsewhere(why)) => {
                        let unknown = !asking && home.is_none();
                        if unknown {
                            self.first = self.first.wrapping_add(1);
                            strangers += 1;
                        }
                        *home = None;
                        // A failure on a kept connection may be outdated. Of the listed nodes each is tried once.
                        (why, kept || unknown && strangers < settings.nodes.len())
                    }
                };
            retry.again(why, in_time, at_once)?;
        }
    }

    fn try_once<T>(
        &mut self,
        settings: &Settings,
        node: &Address,
        asking: bool,
        deadline: Deadline,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let at = self.open.iter().position(|(other, _)| other == node);
        let mut wire = match at {
            Some(at) => self.open.remove(at).1,
            None => connect(settings, node, deadline)?,
        };
        let mut session = Session::new(&mut wire, settings, deadline);
        session.asking = asking;
        let answer = operation(&mut session);
        // A refusal or a redirect is a complete reply, so the connection stays usable.
        let complete = matches!(answer, Ok(_) | Err(Fault::Final(_) | Fault::Moved(_)));
        if complete && !session.is_out_of_step() {
            if self.open.len() >= MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push((node.clone(), wire));
        }
        answer
    }

    fn listed(&self, settings: &Settings) -> Result<Address, Error> {
        let all = &settings.nodes;
        let at = self.first.checked_rem(all.len()).unwrap_or(0);
        let node = all
            .get(at)
            .ok_or_else(|| Error::Invalid("the DSN has no host".into()))?;
        Ok(Address {
            host: node.host.clone(),
            port: Some(node.port_or(PORT)),
        })
    }
}

/// Connects to a node. A server outside a cluster redirects nobody: two of them in one DSN would both mint.
fn connect(settings: &Settings, node: &Address, deadline: Deadline) -> Result<Wire, Fault> {
    let mut wire = locate::connect(settings, node, deadline)?;
    let mut session = Session::new(&mut wire, settings, deadline);
    let [info] = session.ask([cmd("INFO").arg("cluster")])?;
    let enabled = text_of(&info)
        .lines()
        .any(|line| line.trim() == "cluster_enabled:1");
    if enabled {
        return Ok(wire);
    }
    Err(Fault::Final(Error::Other(format!(
        "{node} is no node of a Redis Cluster; write its DSN as `redis://{node}`"
    ))))
}

#[cfg(test)]
mod tests;
