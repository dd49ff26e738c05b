//! Finds the leader and keeps a connection to it.

use crate::refusal::{self, Fault};
use crate::settings::Settings;
use engine_dsn::Address;
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_redis_wire::{Cmd, Value, Wire, cmd, text};
use std::io::Write;
use std::time::Duration;

/// The default port of SummitDB.
const PORT: u16 = 7481;

/// How many rounds of retries are made over all nodes while there is no leader, and the pause between.
const ROUNDS: u32 = 200;
const PACE: Duration = Duration::from_millis(200);

/// How many `TRY` redirects are followed in a row.
const HOPS: usize = 5;

/// The maximum number of peers that are accepted from a node.
const MAX_PEERS: usize = 64;

/// How long a node may take to answer before another one is tried.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// The nodes of one group and the connection to one of them.
pub(crate) struct Group {
    settings: Settings,
    /// The peers that nodes reported.
    learned: Vec<Address>,
    /// The node to try first: the last one that answered.
    at: Address,
    /// The connection to `at`. Taken out while in use, and not put back after a failure.
    wire: Option<Wire>,
}

/// One open connection during one attempt of an operation.
pub(crate) struct Session<'a> {
    wire: &'a mut Wire,
    deadline: Deadline,
    /// Whether replies to abandoned commands may still arrive.
    out_of_step: bool,
}

/// What is known about the nodes during one round.
#[derive(Default)]
struct Round {
    /// Nodes that cannot be reached.
    dead: Vec<Address>,
    /// Whether the first of them closed the connection, rather than not answering.
    restarted: bool,
    /// The reason of the latest failure.
    why: String,
}

impl Round {
    fn lost<T>(&mut self, node: Address, why: String) -> Result<Option<T>, Error> {
        self.why = why;
        self.dead.push(node);
        Ok(None)
    }
}

impl Group {
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let at = settings.nodes.first().cloned().map(with_port);
        let at = at.ok_or_else(|| Error::Invalid("the DSN has no host".into()))?;
        Ok(Self {
            settings,
            learned: Vec::new(),
            at,
            wire: None,
        })
    }

    /// Runs the operation on the leader, following `TRY` redirects. While there is no leader, tries every
    /// node, at most [`ROUNDS`] times.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let overall = Deadline::after(self.settings.timeout);
        let kept = self.wire.is_some();
        let mut round = Round::default();
        if let Some(answer) = self.follow(self.at.clone(), &mut round, overall, &mut operation)? {
            return Ok(answer);
        }
        // The node may just have been restarted: reconnect without a pause.
        if kept && round.restarted {
            round = Round::default();
            let answer = self.follow(self.at.clone(), &mut round, overall, &mut operation)?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        for number in 0..=ROUNDS {
            // The other nodes are tried without a pause; pauses begin with the next round.
            if number > 0 {
                say(format_args!(
                    "couldn't connect to leader so trying to see if the peers are rebalancing \
                     themselves ({number}/{ROUNDS})..."
                ));
                std::thread::sleep(PACE.min(overall.left().unwrap_or_default()));
                round = Round {
                    why: round.why,
                    ..Round::default()
                };
            }
            for node in self.candidates() {
                if overall.left().is_none() {
                    return Err(self.unavailable(&round));
                }
                if let Some(answer) = self.follow(node, &mut round, overall, &mut operation)? {
                    return Ok(answer);
                }
            }
        }
        Err(self.unavailable(&round))
    }

    /// Runs the operation on this node or on the one that it redirects to; None if neither can serve.
    fn follow<T>(
        &mut self,
        mut node: Address,
        round: &mut Round,
        overall: Deadline,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        let mut asked = Vec::new();
        while asked.len() <= HOPS && !asked.contains(&node) && !round.dead.contains(&node) {
            match self.try_node(&node, overall, operation) {
                Ok(answer) => return Ok(Some(answer)),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Try(leader)) => {
                    say(format_args!(
                        "summitdb told me to try redis://{leader} instead, so here we go..."
                    ));
                    round.why = format!("{node} names {leader} as the leader");
                    asked.push(std::mem::replace(&mut node, leader));
                }
                Err(Fault::Leaderless(why)) => {
                    round.why = why;
                    return Ok(None);
                }
                Err(Fault::Lost(why)) => {
                    round.restarted = round.dead.is_empty();
                    return round.lost(node, why);
                }
                Err(Fault::Silent(why)) => return round.lost(node, why),
                // Access to the leader and to nodes of the DSN is required; other nodes can be skipped.
                Err(Fault::Forbidden(why)) if !asked.is_empty() || self.is_named(&node) => {
                    return Err(Error::Denied(why));
                }
                Err(Fault::Forbidden(why)) => return round.lost(node, why),
            }
        }
        Ok(None)
    }

    fn try_node<T>(
        &mut self,
        node: &Address,
        overall: Deadline,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // With a short timeout, one node that does not answer must not use up all of it.
        let left = overall.left().unwrap_or_default();
        let deadline = Deadline::after(NODE_TIMEOUT.min(left / 2));
        let mut wire = match self.wire.take() {
            Some(wire) if self.at == *node => wire,
            _ => self.dial(node, deadline)?,
        };
        let mut session = Session {
            wire: &mut wire,
            deadline,
            out_of_step: false,
        };
        let answer = operation(&mut session);
        // A refusal is a complete reply, so the connection stays usable.
        if !session.out_of_step && matches!(answer, Ok(_) | Err(Fault::Final(_))) {
            self.at = node.clone();
            self.wire = Some(wire);
        }
        answer
    }

    /// Connects and requests the node's peers, which are needed if this node fails.
    fn dial(&mut self, node: &Address, deadline: Deadline) -> Result<Wire, Fault> {
        let mut wire = Wire::dial(node, PORT, deadline)?;
        let [reply] = wire.exchange([&cmd("RAFTPEERS")], deadline)?;
        let peers = peers(&reply);
        if !peers.is_empty() {
            self.learned = peers;
        }
        Ok(wire)
    }

    /// All known nodes, with the one that was tried last at the end.
    fn candidates(&self) -> Vec<Address> {
        let mut nodes: Vec<Address> = Vec::new();
        let named = self.settings.nodes.iter().cloned().map(with_port);
        for node in named.chain(self.learned.iter().cloned()) {
            if node != self.at && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes.push(self.at.clone());
        nodes
    }

    fn unavailable(&self, round: &Round) -> Error {
        Error::Unavailable(format!(
            "no node of the SummitDB group served the request within {:?}: {}",
            self.settings.timeout, round.why
        ))
    }

    fn is_named(&self, node: &Address) -> bool {
        self.settings
            .nodes
            .iter()
            .any(|named| with_port(named.clone()) == *node)
    }
}

impl Session<'_> {
    /// Sends a command and reads its reply; an error reply becomes a fault.
    pub(crate) fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let reply = self.wire.exchange([command], self.deadline);
        self.out_of_step |= reply.is_err();
        match reply? {
            [Value::ServerError(error)] => Err(refusal::fault(&error)),
            [reply] => Ok(reply),
        }
    }
}

/// The addresses in a reply to `RAFTPEERS`, which alternates addresses and states. Empty for any other
/// reply.
fn peers(reply: &Value) -> Vec<Address> {
    let Value::Array(items) = reply else {
        return Vec::new();
    };
    items
        .iter()
        .step_by(2)
        .filter_map(|item| Address::parse(text(item)?).ok())
        .filter(|address| address.port.is_some())
        .take(MAX_PEERS)
        .collect()
}

fn with_port(node: Address) -> Address {
    Address {
        port: Some(node.port_or(PORT)),
        ..node
    }
}

/// Writes a line to standard error. Failures are ignored: nobody may read it.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests;
