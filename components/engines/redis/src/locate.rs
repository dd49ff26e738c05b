//! Finds the primary and connects to it, by querying the listed servers or the Sentinels.
//!
//! Hosts are queried one after another, since sockets block. They share half of the remaining time, so
//! that the operation itself has the other half; time that one host does not use is left for the next.

use crate::choice::{Choice, Memory, Seen, choose};
use crate::client::Session;
use crate::refusal::{self, Fault};
use crate::report::Report;
use crate::sentinel::{self, Answer, Named};
use crate::settings::{PORT, SENTINEL_PORT, Settings};
use engine_dsn::Address;
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_guest::hosts::Search;
use engine_redis_wire::{Cmd, Lost, Value, Wire, cmd, printable, text};
use std::slice;
use std::time::{Duration, Instant};

/// How old the primary's report may become while its connection is in use, and how long it may take to get a new one.
const REPORT_AGE: Duration = Duration::from_secs(1);
const REPORT_TIMEOUT: Duration = Duration::from_millis(250);

/// State from earlier searches.
#[derive(Debug, Default)]
pub(crate) struct Known {
    memory: Memory,
    /// When the primary reported its replication ids; None if nobody asked for them.
    reported: Option<Instant>,
    /// The greatest configuration epoch that a Sentinel reported.
    epoch: Option<u64>,
}

/// Connects to the primary.
pub(crate) fn dial(
    settings: &Settings,
    known: &mut Known,
    deadline: Deadline,
) -> Result<Wire, Fault> {
    match (&settings.watched, &settings.nodes[..]) {
        (Some(name), _) => by_sentinels(settings, name, known, deadline),
        (None, [only]) => connect(settings, only, deadline),
        (None, _) => by_roles(settings, known, deadline),
    }
}

/// Connects to this server, whatever its role, and logs in.
pub(crate) fn connect(
    settings: &Settings,
    node: &Address,
    deadline: Deadline,
) -> Result<Wire, Fault> {
    let mut wire = dial_one(settings, node, PORT, deadline)?;
    log_in(settings, &mut wire, deadline)?;
    select(settings, &mut wire, deadline)?;
    Ok(wire)
}

fn dial_one(
    settings: &Settings,
    node: &Address,
    port: u16,
    deadline: Deadline,
) -> Result<Wire, Lost> {
    if settings.tls {
        Wire::dial_with_tls(node, port, deadline)
    } else {
        Wire::dial(node, port, deadline)
    }
}

fn log_in(settings: &Settings, wire: &mut Wire, deadline: Deadline) -> Result<(), Fault> {
    if let Some(auth) = auth(settings) {
        let [reply] = Session::new(wire, settings, deadline).try_ask([&auth])?;
        if let Value::ServerError(error) = reply {
            return Err(refusal::login(&error));
        }
    }
    Ok(())
}

fn auth(settings: &Settings) -> Option<Cmd> {
    let password = settings.password.as_ref()?;
    let mut auth = cmd("AUTH");
    if let Some(user) = &settings.user {
        auth.arg(user);
    }
    auth.arg(password.reveal());
    Some(auth)
}

fn select(settings: &Settings, wire: &mut Wire, deadline: Deadline) -> Result<(), Fault> {
    if settings.database > 0 {
        Session::new(wire, settings, deadline).ask([cmd("SELECT").arg(settings.database)])?;
    }
    Ok(())
}

/// A deadline at half of the remaining time.
fn half(deadline: Deadline) -> Deadline {
    Deadline::after(deadline.left().unwrap_or_default() / 2)
}

/// An equal part of the remaining time when this many hosts are still to be queried.
fn share(budget: Deadline, to_come: usize) -> Deadline {
    let left = budget.left().unwrap_or_default();
    Deadline::after(left / u32::try_from(to_come.max(1)).unwrap_or(u32::MAX))
}

/// Continues if a host is temporarily unavailable, and records the reason; other faults need an
/// operator and are returned.
fn unless_away<T>(asked: Result<T, Fault>, why: &mut String) -> Result<Option<T>, Fault> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(Fault::Lost(reason) | Fault::Elsewhere(reason)) => {
            *why = reason;
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Queries the role of all listed servers and connects to the primary.
fn by_roles(settings: &Settings, known: &mut Known, deadline: Deadline) -> Result<Wire, Fault> {
    let memory = &mut known.memory;
    let search = Search::new(settings.nodes.len(), settings.timeout, deadline);
    let budget = Deadline::after(search.limit);
    let mut why = String::new();
    let mut late = false;
    let mut wires = Vec::new();
    let mut seen = Vec::new();
    for (n, node) in settings.nodes.iter().enumerate() {
        let deadline = share(budget, settings.nodes.len() - n);
        let asked = dial_one(settings, node, PORT, deadline)
            .map_err(Fault::from)
            .and_then(|mut wire| {
                log_in(settings, &mut wire, deadline)?;
                let report = report(settings, &mut wire, deadline)?;
                Ok((wire, report))
            });
        if let Some((wire, report)) = unless_away(asked, &mut why)? {
            let host = wire.to().to_owned();
            wires.push(wire);
            seen.push(Seen { host, report });
        } else {
            late |= deadline.left().is_none();
        }
    }
    memory.learn(&seen);
    let at = match choose(&seen, memory) {
        Choice::Use(_) if late && search.is_short => {
            return Err(Fault::Elsewhere(search.undecided()));
        }
        Choice::Use(at) => at,
        Choice::Refuse(why) => return Err(Fault::Final(Error::Denied(why))),
        Choice::Wait(reason) if why.is_empty() => return Err(Fault::Elsewhere(reason)),
        Choice::Wait(reason) => return Err(Fault::Elsewhere(format!("{reason} ({why})"))),
    };
    // The servers were queried one after another: a replica may have been promoted after its answer,
    // and before the old primary returned and answered as a primary. If nothing has changed since,
    // all answers were true at the moment when the chosen server answered.
    let budget = half(deadline);
    let mut to_come = seen.len().saturating_sub(1);
    let again = wires.iter_mut().zip(&seen).enumerate();
    for (_, (wire, before)) in again.filter(|(n, _)| *n != at) {
        let now = report(settings, wire, share(budget, to_come))?;
        to_come = to_come.saturating_sub(1);
        if !now.is_as(&before.report) {
            return Err(Fault::Elsewhere(format!(
                "{} changed its role during the search for the primary",
                before.host
            )));
        }
    }
    let (Some(chosen), true) = (seen.get(at), at < wires.len()) else {
        return Err(Fault::Elsewhere("no server answered".to_owned()));
    };
    let mut wire = wires.swap_remove(at);
    select(settings, &mut wire, half(deadline))?;
    memory.uses(chosen);
    known.reported = Some(Instant::now());
    Ok(wire)
}

/// Asks the primary for its replication ids again if its last report is old, after a call on its connection. Whether
/// the connection can still be used.
///
/// A primary gets a new id when the first replica connects to it after its start, or after a long time without
/// replicas. A promotion is recognized by the last id of the old primary alone.
pub(crate) fn refresh(
    settings: &Settings,
    known: &mut Known,
    wire: &mut Wire,
    deadline: Deadline,
) -> bool {
    if known.reported.is_none_or(|at| at.elapsed() < REPORT_AGE) {
        return true;
    }
    let limit = deadline.left().unwrap_or_default().min(REPORT_TIMEOUT);
    let Ok(report) = report(settings, wire, Deadline::after(limit)) else {
        return false;
    };
    if report.is_primary() {
        let host = wire.to().to_owned();
        let seen = Seen { host, report };
        known.memory.learn(slice::from_ref(&seen));
        known.memory.uses(&seen);
    }
    known.reported = Some(Instant::now());
    true
}

fn report(settings: &Settings, wire: &mut Wire, deadline: Deadline) -> Result<Report, Fault> {
    let host = wire.to().to_owned();
    let mut session = Session::new(wire, settings, deadline);
    let replies = session.try_ask([
        cmd("INFO").arg("replication"),
        cmd("INFO").arg("server"),
        cmd("INFO").arg("cluster"),
    ])?;
    let mut all = String::new();
    for reply in replies {
        match reply {
            Value::ServerError(error) if refusal::is_about_the_command(&error) => {
                let words = session.words(&error);
                return Err(Fault::Final(Error::Denied(format!(
                    "{host} does not report its role ({words}); if the DSN has several hosts, the \
                     user needs INFO on each"
                ))));
            }
            reply => {
                let [reply] = session.check([reply])?;
                // Separates the sections.
                all += text_of(&reply);
                all.push('\n');
            }
        }
    }
    Report::parse(&all).ok_or_else(|| {
        Fault::Final(Error::Other(format!(
            "{host} does not report whether it is a primary or a replica; is it Redis? (Sentinels \
             are listed as `redis+sentinel://host:26379/NAME`)"
        )))
    })
}

/// The text of a reply to `INFO`.
pub(crate) fn text_of(reply: &Value) -> &str {
    match reply {
        Value::VerbatimString { text, .. } => text,
        reply => text(reply).unwrap_or_default(),
    }
}

/// Asks the Sentinels for the primary and checks its role.
fn by_sentinels(
    settings: &Settings,
    name: &str,
    known: &mut Known,
    deadline: Deadline,
) -> Result<Wire, Fault> {
    let budget = half(deadline);
    let listed = settings.nodes.len();
    let mut why = String::new();
    let mut wires = Vec::new();
    let mut answers = Vec::new();
    for (n, node) in settings.nodes.iter().enumerate() {
        let deadline = share(budget, listed - n);
        let asked = dial_one(settings, node, SENTINEL_PORT, deadline)
            .map_err(Fault::from)
            .and_then(|mut wire| {
                let primary = named(settings, name, &mut wire, deadline)?;
                Ok((wire, primary))
            });
        if let Some((wire, primary)) = unless_away(asked, &mut why)? {
            let from = wire.to().to_owned();
            wires.push(wire);
            answers.push(Answer { from, primary });
        }
    }
    let chosen =
        sentinel::decide(&answers, listed, name, known.epoch).map_err(|fault| match fault {
            Fault::Elsewhere(reason) if !why.is_empty() => {
                Fault::Elsewhere(format!("{reason} ({why})"))
            }
            fault => fault,
        })?;
    known.epoch = known.epoch.max(Some(chosen.epoch));

    let mut wire = connect(settings, &chosen.address, half(deadline))?;
    check_role(settings, &mut wire, half(deadline))?;
    // Meanwhile it may have been replaced, and may have returned as a primary. If the Sentinels still
    // name it, it was the primary when it was connected to.
    let budget = half(deadline);
    let mut again = Vec::new();
    let count = wires.len();
    for (n, wire) in wires.iter_mut().enumerate() {
        let asked = named(settings, name, wire, share(budget, count - n));
        if let Some(primary) = unless_away(asked, &mut why)? {
            let from = wire.to().to_owned();
            again.push(Answer { from, primary });
        }
    }
    let now = sentinel::decide(&again, listed, name, known.epoch)?;
    if (&now.address, now.epoch) != (&chosen.address, chosen.epoch) {
        return Err(Fault::Elsewhere(format!(
            "the Sentinels made {} the primary in place of {}",
            now.address, chosen.address
        )));
    }
    Ok(wire)
}

/// Queries one Sentinel and logs in if it requires that.
fn named(
    settings: &Settings,
    name: &str,
    wire: &mut Wire,
    deadline: Deadline,
) -> Result<Option<Named>, Fault> {
    let from = wire.to().to_owned();
    let mut session = Session::new(wire, settings, deadline);
    let mut address = cmd("SENTINEL");
    address.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let mut details = cmd("SENTINEL");
    details.arg("MASTER").arg(name);
    let mut replies = session.try_ask([&address, &details])?;
    if let [Value::ServerError(error), _] = &replies
        && error.code() == "NOAUTH"
    {
        let auth = auth(settings).ok_or_else(|| {
            Fault::Final(Error::Denied(format!(
                "the Sentinel {from} requires a password; write it into the DSN as \
                 `redis+sentinel://user:password@host/NAME`"
            )))
        })?;
        let [reply] = session.try_ask([&auth])?;
        if matches!(reply, Value::ServerError(_)) {
            return Err(Fault::Final(Error::Denied(format!(
                "the Sentinel {from} does not accept the user and password of the DSN, which are \
                 those of the Redis servers; give the Sentinels the same ones"
            ))));
        }
        replies = session.try_ask([&address, &details])?;
    }
    if let [Value::ServerError(error), _] = &replies {
        let words = session.words(error);
        return Err(match error.code() {
            "ERR" if words.contains("unknown command") => Fault::Final(Error::Other(format!(
                "{from} is no Sentinel ({words}); list Redis servers as `redis://host:6379`"
            ))),
            "NOPERM" | "DENIED" => Fault::Final(Error::Denied(format!(
                "the Sentinel {from} denies access ({words}); the user needs SENTINEL there"
            ))),
            _ => Fault::Elsewhere(format!("the Sentinel {from} returned an error: {words}")),
        });
    }
    let [address, details] = &replies;
    Named::parse(address, details).map_err(|why| Fault::Elsewhere(format!("{from} {why}")))
}

/// Checks that the server itself reports that it is the primary.
fn check_role(settings: &Settings, wire: &mut Wire, deadline: Deadline) -> Result<(), Fault> {
    let host = wire.to().to_owned();
    let mut session = Session::new(wire, settings, deadline);
    let [reply] = session.try_ask([&cmd("ROLE")])?;
    if let Value::ServerError(error) = &reply
        && refusal::is_about_the_command(error)
    {
        let words = session.words(error);
        return Err(Fault::Final(Error::Denied(format!(
            "{host} does not report its role ({words}); with Sentinels the user needs ROLE"
        ))));
    }
    let [reply] = session.check([reply])?;
    let role = match &reply {
        Value::Array(items) => items.first().and_then(text),
        _ => None,
    };
    match role {
        Some("master" | "primary") => Ok(()),
        Some(role) => Err(Fault::Elsewhere(format!(
            "the Sentinels name {host} as the primary, but its own role is {}",
            printable(role)
        ))),
        None => Err(Fault::Final(Error::Other(format!(
            "the reply of {host} to ROLE is not that of Redis"
        )))),
    }
}
