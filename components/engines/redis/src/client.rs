//! Keeps one connection to the primary and retries operations until the deadline.

use crate::cluster::{Home, Nodes};
use crate::generation;
use crate::locate::{self, Known};
use crate::refusal::{self, Fault, Redirect};
use crate::settings::{PORT, Settings};
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_guest::retry::Retry;
use engine_redis_wire::{Cmd, ServerError, Value, Wire, cmd};
use std::time::Duration;

/// How far Redis may exceed the timeout of a blocking command, with a safety margin.
const SERVER_TICK: Duration = Duration::from_millis(150);

/// The connection shared by the sequences with the same DSN.
pub(crate) struct Client {
    settings: Settings,
    known: Known,
    /// Taken out while in use, and not put back after a failure.
    wire: Option<Wire>,
    /// The server's generation, once it is known for the current connection.
    generation: Option<Option<String>>,
    /// The node of the DSN that a cluster redirect named last; it is connected to without asking others.
    named: Option<usize>,
    /// The node of the DSN that a cluster redirect named for the next command alone.
    asked: Option<usize>,
    /// The connections if the DSN is that of a cluster. Those above are unused then.
    nodes: Nodes,
}

/// One open connection during one attempt of an operation.
pub(crate) struct Session<'a> {
    wire: &'a mut Wire,
    settings: &'a Settings,
    deadline: Deadline,
    /// Whether replies to abandoned commands may still arrive.
    out_of_step: bool,
    /// Whether a redirect for one command alone led here (`ASK`), so that the command must follow `ASKING`.
    pub(crate) asking: bool,
}

/// A server whose latest write too few replicas acknowledged.
struct Short {
    host: String,
    why: String,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            known: Known::default(),
            wire: None,
            generation: None,
            named: None,
            asked: None,
            nodes: Nodes::default(),
        }
    }

    /// Runs the operation on the primary, which is searched for again after each failed attempt, until
    /// it succeeds, fails for good, or reaches the deadline. In a cluster that is the node that has the key, whose
    /// home is `home`.
    pub(crate) fn run<T>(
        &mut self,
        home: &mut Home,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        if self.settings.cluster {
            return self.nodes.run(&self.settings, home, operation);
        }
        let mut retry = Retry::within(self.settings.timeout, "Redis");
        let mut redirected = false;
        let mut short: Option<Short> = None;
        loop {
            let in_time = retry.in_time();
            // A failure on a kept connection may be outdated: retry on a new one without a pause.
            let mut at_once = self.wire.is_some();
            let why = match self.try_once(retry.deadline(), &mut short, &mut operation) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Lost(why) | Fault::Elsewhere(why)) => {
                    self.named = None;
                    why
                }
                Err(Fault::Moved(redirect)) => {
                    let at = redirect.as_ref().and_then(|redirect| self.listed(redirect));
                    let at = Some(at.ok_or_else(|| moved(redirect.as_ref()))?);
                    if redirect.is_some_and(|redirect| redirect.once) {
                        self.asked = at;
                    } else {
                        self.named = at;
                    }
                    at_once |= !redirected;
                    redirected = true;
                    "the cluster is being reconfigured".into()
                }
                Err(Fault::Unacknowledged(why)) => {
                    at_once = true;
                    why
                }
            };
            retry.again(why, in_time, at_once)?;
        }
    }

    /// The generation of the server, which is asked once per connection: a server that restarts closes
    /// its connections.
    pub(crate) fn generation(&mut self) -> Result<Option<String>, Error> {
        if let (Some(_), Some(generation)) = (&self.wire, &self.generation) {
            return Ok(generation.clone());
        }
        if self.settings.cluster {
            return Err(generation::in_cluster());
        }
        let generation = self.run(&mut None, generation::generation)?;
        self.generation = Some(generation.clone());
        Ok(generation)
    }

    fn try_once<T>(
        &mut self,
        deadline: Deadline,
        short: &mut Option<Short>,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let asked = self.asked.take();
        let asking = asked.is_some();
        let mut wire = match self.wire.take() {
            Some(wire) if !asking => wire,
            _ => {
                self.generation = None;
                self.dial(asked, deadline)?
            }
        };
        // Another write on the same server would only skip more integers.
        if let Some(short) = short.take_if(|short| short.host == wire.to()) {
            return Err(Fault::Final(Error::Unavailable(short.why)));
        }
        let mut session = Session::new(&mut wire, &self.settings, deadline);
        session.asking = asking;
        let answer = operation(&mut session);
        // A refusal is a complete reply, so the connection stays usable. The next command need not be for that node if
        // it was asked once.
        let complete = !session.out_of_step && matches!(answer, Ok(_) | Err(Fault::Final(_)));
        if complete && !asking {
            if locate::refresh(&self.settings, &mut self.known, &mut wire, deadline) {
                self.wire = Some(wire);
            }
        } else if let Err(Fault::Unacknowledged(why)) = &answer {
            *short = Some(Short {
                host: wire.to().to_owned(),
                why: why.clone(),
            });
        }
        answer
    }

    fn dial(&mut self, asked: Option<usize>, deadline: Deadline) -> Result<Wire, Fault> {
        let at = asked.or(self.named);
        match at.and_then(|at| self.settings.nodes.get(at)) {
            Some(node) => locate::connect(&self.settings, node, deadline),
            None => locate::dial(&self.settings, &mut self.known, deadline),
        }
    }

    fn listed(&self, redirect: &Redirect) -> Option<usize> {
        if self.settings.watched.is_some() {
            return None;
        }
        let target = redirect.address()?;
        let mut nodes = self.settings.nodes.iter();
        nodes.position(|node| node.host == target.host && Some(node.port_or(PORT)) == target.port)
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(wire: &'a mut Wire, settings: &'a Settings, deadline: Deadline) -> Self {
        Self {
            wire,
            settings,
            deadline,
            out_of_step: false,
            asking: false,
        }
    }

    /// Whether replies to abandoned commands may still arrive, so that the connection cannot be used again.
    pub(crate) fn is_out_of_step(&self) -> bool {
        self.out_of_step
    }

    /// Whether another server may take over from this one.
    pub(crate) fn has_choice(&self) -> bool {
        self.settings.has_choice()
    }

    /// Sends commands and reads one reply for each, which may be an error. Only the first one may be about a key.
    pub(crate) fn try_ask<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
    ) -> Result<[Value; N], Fault> {
        if self.asking {
            let reply = self.exchange([&cmd("ASKING")])?;
            self.check(reply)?;
        }
        self.exchange(commands)
    }

    fn exchange<const N: usize>(&mut self, commands: [&Cmd; N]) -> Result<[Value; N], Fault> {
        let replies = self.wire.exchange(commands, self.deadline);
        self.out_of_step |= replies.is_err();
        Ok(replies?)
    }

    /// Sends commands and reads one reply for each, none of which is an error.
    pub(crate) fn ask<const N: usize>(&mut self, commands: [&Cmd; N]) -> Result<[Value; N], Fault> {
        let replies = self.try_ask(commands)?;
        self.check(replies)
    }

    /// Returns a fault for the first error among the replies.
    pub(crate) fn check<const N: usize>(&self, replies: [Value; N]) -> Result<[Value; N], Fault> {
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                return Err(refusal::fault(error, &self.words(error)));
            }
        }
        Ok(replies)
    }

    /// The text of an error reply, without secrets.
    pub(crate) fn words(&self, error: &ServerError) -> String {
        let password = self.settings.password.as_ref().map(|p| p.reveal());
        refusal::words(error, password)
    }

    /// Sends a command that writes. With `wait`, the second value tells whether enough replicas
    /// acknowledged the writes of this connection.
    pub(crate) fn write(&mut self, command: &Cmd) -> Result<(Value, Result<(), Fault>), Fault> {
        let Some(wanted) = self.settings.wait else {
            let [reply] = self.ask([command])?;
            return Ok((reply, Ok(())));
        };
        // The server must give up before the client does, or its answer would never be read. It checks
        // its clock only ten times a second.
        let left = self.deadline.left().unwrap_or_default();
        let limit = if self.settings.has_choice() {
            // The rest of the time is needed to find and use another server.
            left / 2
        } else {
            left.saturating_sub(SERVER_TICK).max(left / 2)
        };
        let millis = u64::try_from(limit.as_millis().max(1)).unwrap_or(u64::MAX);
        let [reply, acknowledged] = self.ask([command, cmd("WAIT").arg(wanted).arg(millis)])?;
        let enough = match engine_redis_wire::integer(&acknowledged) {
            Ok(count) if count >= i64::from(wanted) => Ok(()),
            Ok(count) => {
                let why = format!(
                    "{count} of {wanted} replicas acknowledged within {millis} ms; the write itself \
                     was made, so its integers are skipped"
                );
                Err(if self.settings.has_choice() {
                    Fault::Unacknowledged(why)
                } else {
                    Fault::Final(Error::Unavailable(why))
                })
            }
            Err(unreadable) => Err(Fault::Final(Error::Other(format!(
                "the reply of Redis to WAIT is {} instead of an integer",
                unreadable.0
            )))),
        };
        Ok((reply, enough))
    }
}

fn moved(redirect: Option<&Redirect>) -> Error {
    let target = redirect.and_then(Redirect::address);
    let target = target.map_or_else(|| "another node".to_owned(), |target| target.to_string());
    Error::Other(format!(
        "this Redis is part of a cluster and {target} has the key; write the DSN as \
         `redis+cluster://HOST:PORT`, with which redirects are followed to all nodes, or list that node too"
    ))
}

#[cfg(test)]
mod tests;
