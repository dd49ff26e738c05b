//! Chooses the primary among the hosts of the DSN, from the state that they report. No I/O.
//!
//! A server that is promoted begins a new *timeline*, with a greater number than the one that it
//! continues. So of two primaries with the same system identifier, the one on the earlier timeline was
//! replaced. A standby reports the latest timeline that it followed, so it is a witness too, also when
//! the new primary does not answer.

use std::collections::BTreeMap;

/// How many systems are remembered besides the one that is used. There is hardly ever another.
const MAX_SYSTEMS: usize = 64;

/// What a host of the DSN is, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It did not answer, for this reason: a sentence that names it.
    Silent(String),
    /// It answered.
    Seen(Seen),
}

/// The state that one host reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The host's name in messages.
    pub(crate) name: String,
    /// Whether it is a standby, or otherwise refuses writes.
    pub(crate) read_only: bool,
    /// When it was started, to the microsecond: two servers hardly ever have this in common.
    pub(crate) started: String,
    /// None if this user may not see it, or if it is not quite PostgreSQL.
    pub(crate) history: Option<History>,
}

/// Which history of changes a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The system identifier, which all copies of one `initdb` have in common.
    pub(crate) system: String,
    /// The latest timeline.
    pub(crate) timeline: u32,
}

/// The result of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The host with this number is the primary.
    Use(usize),
    /// There is no primary at present, for this reason; a retry may help.
    Wait(String),
    /// None can be used until an operator acts on this message.
    Refuse(String),
}

/// What a process remembers of the hosts that answered.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The system identifier of the primary that was used last.
    used: Option<String>,
    /// The latest timeline that any host has reported, by system identifier.
    latest: BTreeMap<String, u32>,
}

impl Memory {
    /// Remembers the timelines that these hosts reported, whether one of them is used or not: a witness
    /// that answered once need not answer again.
    pub(crate) fn learn(&mut self, hosts: &[Sight]) {
        for host in hosts {
            if let Sight::Seen(Seen {
                history: Some(history),
                ..
            }) = host
            {
                self.see(history);
            }
        }
    }

    fn see(&mut self, history: &History) {
        if let Some(latest) = self.latest.get_mut(&history.system) {
            *latest = history.timeline.max(*latest);
        } else if self.latest.len() < MAX_SYSTEMS {
            self.latest.insert(history.system.clone(), history.timeline);
        }
    }

    /// Remembers the history of the primary that is used from now on. None if it does not show it.
    pub(crate) fn uses(&mut self, history: Option<&History>) {
        if let Some(History { system, timeline }) = history {
            self.used = Some(system.clone());
            let latest = self.latest.entry(system.clone()).or_default();
            *latest = (*latest).max(*timeline);
        }
    }
}

/// Chooses a host. A server on an earlier timeline than `memory` has is not used, and none with another
/// system identifier than the one that was used before.
pub(crate) fn choose(hosts: &[Sight], memory: &Memory) -> Choice {
    let mut reasons = Vec::new();
    let mut silent = false;
    let mut primaries: Vec<(usize, &Seen)> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        match host {
            Sight::Silent(why) => {
                silent = true;
                reasons.push(why.clone());
            }
            Sight::Seen(host) if host.read_only => {
                reasons.push(format!(
                    "{} is read-only, like a standby, so it cannot mint",
                    host.name
                ));
            }
            // The same server under another name is not a second one.
            Sight::Seen(host) if primaries.iter().any(|(_, other)| other.is_same(host)) => {}
            Sight::Seen(host) => primaries.push((number, host)),
        }
    }
    let mut foreign = None;
    primaries.retain(|(_, host)| match (&host.history, &memory.used) {
        (_, None) => true,
        (Some(history), Some(used)) if history.system == *used => true,
        (Some(_), Some(_)) => {
            let why = format!(
                "{} has another system identifier than the server that was used before, so it is not \
                 a copy of it and may hand out the same integers; if it is the right one, restart \
                 this program",
                host.name
            );
            reasons.push(why.clone());
            foreign.get_or_insert(why);
            false
        }
        (None, Some(_)) => {
            reasons.push(format!("{} {HIDDEN}", host.name));
            false
        }
    });
    if let Some(why) = strangers(&primaries) {
        return Choice::Refuse(why);
    }
    let mut left = Vec::new();
    for (number, host) in primaries {
        match host
            .history
            .as_ref()
            .and_then(|own| replaced(own, hosts, memory))
        {
            Some(why) => reasons.push(format!("{} {why}", host.name)),
            None => left.push((number, host)),
        }
    }
    match left[..] {
        [(number, _)] => Choice::Use(number),
        [] => match foreign {
            // Another host may still be the right one.
            Some(why) if !silent => Choice::Refuse(why),
            _ => Choice::Wait(reasons.join("; ")),
        },
        [(_, a), (_, b), ..] => Choice::Refuse(format!(
            "{a} and {b} both accept writes on timeline {}, so both could hand out the same integers. \
             Find out which one is the primary, stop the other one, and make it a standby again with \
             pg_rewind or pg_basebackup; or list only the primary in the DSN",
            a.history.as_ref().map_or(0, |history| history.timeline),
            a = a.name,
            b = b.name,
        )),
    }
}

/// What is wrong with a server whose history is not known: a predicate for its name, with a hint.
const HIDDEN: &str = "does not show its system identifier and timeline; permit this user to call \
                      pg_control_system, pg_current_wal_lsn and pg_walfile_name";

/// Why these primaries cannot be compared; None if they can.
fn strangers(primaries: &[(usize, &Seen)]) -> Option<String> {
    let [(_, first), others @ ..] = primaries else {
        return None;
    };
    others.iter().find_map(|(_, other)| {
        let why = match (&first.history, &other.history) {
            (Some(a), Some(b)) if a.system == b.system => return None,
            (Some(_), Some(_)) => {
                "they have different system identifiers, so neither is a copy of the other".to_owned()
            }
            (None, _) => format!("{} {HIDDEN}", first.name),
            (_, None) => format!("{} {HIDDEN}", other.name),
        };
        Some(format!(
            "{} and {} both accept writes, so both could hand out the same integers; {why}. List only \
             the primary and its standbys in the DSN",
            first.name, other.name
        ))
    })
}

/// Why a primary with this history was replaced: a predicate for its name. None if nothing shows that.
fn replaced(own: &History, hosts: &[Sight], memory: &Memory) -> Option<String> {
    let was = format!("is on timeline {}, so it was replaced", own.timeline);
    let related = hosts.iter().filter_map(|host| match host {
        Sight::Seen(host) => {
            let history = host.history.as_ref()?;
            (history.system == own.system).then_some((&host.name, history.timeline))
        }
        Sight::Silent(_) => None,
    });
    if let Some((name, timeline)) = related.max_by_key(|(_, timeline)| *timeline)
        && timeline > own.timeline
    {
        return Some(format!("{was}: {name} is on timeline {timeline}"));
    }
    let latest = *memory.latest.get(&own.system)?;
    (latest > own.timeline).then(|| {
        format!(
            "{was}: timeline {latest} was seen before; if that one is gone for good, restart this program"
        )
    })
}

impl Seen {
    fn is_same(&self, other: &Self) -> bool {
        !self.started.is_empty() && self.started == other.started && self.history == other.history
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
