//! Keeps one connection to the server that serves, and tries until the deadline.

use crate::locate::{self, Known};
use crate::refusal::{self, Fault};
use crate::settings::{PORT, Settings};
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_guest::retry::Retry;
use engine_redis_wire::{Cmd, ServerError, Value, Wire, cmd};
use std::time::Duration;

/// By how much Redis may overrun the timeout of a command that waits, and some room.
const SERVER_TICK: Duration = Duration::from_millis(150);

/// The connection of the sequences that have one DSN.
pub(crate) struct Client {
    settings: Settings,
    known: Known,
    /// Taken out while it is used: what fails is not put back.
    wire: Option<Wire>,
    /// The node of the DSN that a cluster named last, dialled without asking the others.
    named: Option<usize>,
}

/// One open connection in one try of an operation.
pub(crate) struct Session<'a> {
    wire: &'a mut Wire,
    settings: &'a Settings,
    deadline: Deadline,
    /// Whether replies may still come that nobody waits for any more.
    out_of_step: bool,
}

/// A server whose write too few replicas acknowledged.
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
            named: None,
        }
    }

    /// Does it on the primary, which is looked for anew whenever a try fails, until it works, fails for
    /// good, or the time is over.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut retry = Retry::within(self.settings.timeout, "Redis");
        let mut redirected = false;
        let mut short: Option<Short> = None;
        loop {
            let in_time = retry.in_time();
            // What a kept connection brings is old news: the server is dialled again, at once.
            let mut at_once = self.wire.is_some();
            let why = match self.try_once(retry.deadline(), &mut short, &mut operation) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Lost(why) | Fault::Elsewhere(why)) => {
                    self.named = None;
                    why
                }
                Err(Fault::Moved(target)) => {
                    let at = target.as_ref().and_then(|target| self.listed(target));
                    self.named = Some(at.ok_or_else(|| moved(target.as_ref()))?);
                    at_once |= !redirected;
                    redirected = true;
                    "the cluster is being rebuilt".into()
                }
                Err(Fault::Unacknowledged(why)) => {
                    at_once = true;
                    why
                }
            };
            if in_time {
                retry.failed(why);
            } else {
                retry.failed_first(why);
            }
            if at_once {
                retry.check()?;
            } else {
                retry.pause()?;
            }
        }
    }

    fn try_once<T>(
        &mut self,
        deadline: Deadline,
        short: &mut Option<Short>,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.dial(deadline)?,
        };
        // Once more on the same server would only skip more integers.
        if let Some(short) = short.take_if(|short| short.host == wire.to()) {
            return Err(Fault::Final(Error::Unavailable(short.why)));
        }
        let mut session = Session::new(&mut wire, &self.settings, deadline);
        let answer = operation(&mut session);
        // A refusal is a whole reply; the connection that brought it is as good as before.
        if !session.out_of_step && matches!(answer, Ok(_) | Err(Fault::Final(_))) {
            self.wire = Some(wire);
        } else if let Err(Fault::Unacknowledged(why)) = &answer {
            *short = Some(Short {
                host: wire.to().to_owned(),
                why: why.clone(),
            });
        }
        answer
    }

    fn dial(&mut self, deadline: Deadline) -> Result<Wire, Fault> {
        match self.named.and_then(|at| self.settings.nodes.get(at)) {
            Some(node) => locate::connect(&self.settings, node, deadline),
            None => locate::dial(&self.settings, &mut self.known, deadline),
        }
    }

    fn listed(&self, target: &engine_dsn::Address) -> Option<usize> {
        if self.settings.watched.is_some() {
            return None;
        }
        self.settings
            .nodes
            .iter()
            .position(|node| node.host == target.host && node.port_or(PORT) == target.port_or(PORT))
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(wire: &'a mut Wire, settings: &'a Settings, deadline: Deadline) -> Self {
        Self {
            wire,
            settings,
            deadline,
            out_of_step: false,
        }
    }

    /// Sends commands and reads as many replies, which may be errors of the server.
    pub(crate) fn try_ask<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
    ) -> Result<[Value; N], Fault> {
        let replies = self.wire.exchange(commands, self.deadline);
        self.out_of_step |= replies.is_err();
        Ok(replies?)
    }

    /// Sends commands and reads as many replies, none of which is an error.
    pub(crate) fn ask<const N: usize>(&mut self, commands: [&Cmd; N]) -> Result<[Value; N], Fault> {
        let replies = self.try_ask(commands)?;
        self.check(replies)
    }

    /// Turns the first error among the replies into a fault.
    pub(crate) fn check<const N: usize>(&self, replies: [Value; N]) -> Result<[Value; N], Fault> {
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                return Err(refusal::fault(error, &self.words(error)));
            }
        }
        Ok(replies)
    }

    /// The text of an error reply, safe to show.
    pub(crate) fn words(&self, error: &ServerError) -> String {
        let password = self.settings.password.as_ref().map(|p| p.reveal());
        refusal::words(error, password)
    }

    /// Sends a command that writes. With `wait`, the second value says whether enough replicas
    /// have what this connection wrote.
    pub(crate) fn write(&mut self, command: &Cmd) -> Result<(Value, Result<(), Fault>), Fault> {
        let Some(wanted) = self.settings.wait else {
            let [reply] = self.ask([command])?;
            return Ok((reply, Ok(())));
        };
        // The server must give up before this side does, or its answer would never be read. It
        // looks at its clock ten times a second only.
        let left = self.deadline.left().unwrap_or_default();
        let patience = if self.settings.has_choice() {
            // Another server must be found and asked in what remains.
            left / 2
        } else {
            left.saturating_sub(SERVER_TICK).max(left / 2)
        };
        let millis = u64::try_from(patience.as_millis().max(1)).unwrap_or(u64::MAX);
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
                "Redis answers WAIT with {}",
                unreadable.0
            )))),
        };
        Ok((reply, enough))
    }
}

fn moved(target: Option<&engine_dsn::Address>) -> Error {
    let target = target.map_or_else(|| "another node".to_owned(), ToString::to_string);
    Error::Other(format!(
        "this Redis is part of a cluster and {target} has the key; list that node in the DSN too: \
         redirects are followed to nodes that the DSN names, and to no others"
    ))
}

#[cfg(test)]
mod tests;
