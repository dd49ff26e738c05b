//! Chooses the primary among several servers by their reports. No I/O.
//!
//! Every primary has a replication id, which identifies the history of its writes. A promoted replica
//! begins a new history and keeps the id of the one that it continued. A server that reports such an
//! id proves that the older history has ended, and a server that still has the older history is
//! superseded. A replica reports the history of its primary, and the previous one, so it is a witness
//! too.
//!
//! Histories whose relation the ids do not show, such as after two promotions, or after a restart gave
//! a primary a new id, can be told apart only by memory: by what this instance used before.
//!
//! One case cannot be detected: the only primary that answers has been superseded by one that does not
//! answer, no other server is a witness of that, and this instance never used the new one.

use crate::report::{Id, Report, Role};
use std::collections::VecDeque;

/// How many superseded histories are remembered.
const MEMORY: usize = 64;

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its address, as `host:port` of the DSN.
    pub(crate) host: String,
    pub(crate) report: Report,
}

/// The result of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The server at this index is the primary.
    Use(usize),
    /// There is no primary at present; a retry may help.
    Wait(String),
    /// The primary cannot be determined; an operator must act.
    Refuse(String),
}

/// What an instance remembers from earlier choices.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    used: Option<Used>,
    /// Histories that another one continued, the latest last.
    superseded: VecDeque<Id>,
}

/// The server that was used last.
#[derive(Debug)]
struct Used {
    host: String,
    replid: Option<Id>,
}

impl Memory {
    /// Remembers which histories have ended.
    pub(crate) fn learn(&mut self, seen: &[Seen]) {
        // A replica that is not connected to its primary may still return to the older history.
        for report in seen.iter().map(|s| &s.report).filter(|r| r.is_live()) {
            if let Some(old) = &report.replid2
                && report.replid.as_ref() != Some(old)
                && !self.superseded.contains(old)
            {
                if self.superseded.len() == MEMORY {
                    self.superseded.pop_front();
                }
                self.superseded.push_back(old.clone());
            }
        }
    }

    /// Remembers which server is used from here on.
    pub(crate) fn uses(&mut self, seen: &Seen) {
        self.used = Some(Used {
            host: seen.host.clone(),
            replid: seen.report.replid.clone(),
        });
    }
}

/// A history that is being written at present: its primary answered, or a replica connected to it.
struct Live<'a> {
    replid: Option<&'a Id>,
    /// Servers that claim to be primary. More than one if several processes claim the same history.
    primaries: Vec<usize>,
    /// The replicas that follow it. All of them, since one that was restarted has forgotten the
    /// history before this one and another has not.
    followers: Vec<usize>,
}

/// Chooses among the servers that answered.
pub(crate) fn choose(seen: &[Seen], memory: &Memory) -> Choice {
    if let Some(choice) = in_cluster(seen) {
        return choice;
    }
    let live = live(seen);
    let mut left: Vec<&Live<'_>> = live
        .iter()
        .filter(|history| end(history, seen, memory).is_none())
        .collect();
    if left.len() > 1
        && let Some(used) = memory.used.as_ref().and_then(|used| used.replid.as_ref())
    {
        // A history that continues the used one would have superseded it.
        let same: Vec<_> = left
            .iter()
            .copied()
            .filter(|h| h.replid == Some(used))
            .collect();
        let heirs: Vec<_> = left
            .iter()
            .copied()
            .filter(|h| h.is_heir_of(used, seen))
            .collect();
        if let [_] = same[..] {
            left = same;
        } else if let [_] = heirs[..] {
            left = heirs;
        }
    }
    match left[..] {
        [] => Choice::Wait(none_left(&live, seen, memory)),
        [history] => judge(history, seen, memory),
        _ => Choice::Refuse(ambiguous(&left, seen)),
    }
}

/// The choice among nodes of a Redis Cluster; None if there are none. The nodes agree among
/// themselves which one has a key, and redirect clients.
fn in_cluster(seen: &[Seen]) -> Option<Choice> {
    let node = seen.iter().find(|s| s.report.cluster)?;
    if let Some(other) = seen.iter().find(|s| !s.report.cluster) {
        return Some(Choice::Refuse(format!(
            "{} is a node of a Redis Cluster and {} is not; the DSN must list servers that have the \
             same data",
            node.host, other.host
        )));
    }
    let primary = seen.iter().position(|s| s.report.is_primary());
    Some(Choice::Use(primary.unwrap_or(0)))
}

fn live(seen: &[Seen]) -> Vec<Live<'_>> {
    let mut all: Vec<Live<'_>> = Vec::new();
    for (index, Seen { report, .. }) in seen.iter().enumerate() {
        if !report.is_live() || (!report.is_primary() && report.replid.is_none()) {
            continue;
        }
        let replid = report.replid.as_ref();
        let known = all
            .iter_mut()
            .find(|history| replid.is_some() && history.replid == replid);
        let at = match known {
            Some(history) => history,
            None => {
                all.push(Live {
                    replid,
                    primaries: Vec::new(),
                    followers: Vec::new(),
                });
                let Some(history) = all.last_mut() else {
                    continue;
                };
                history
            }
        };
        if !report.is_primary() {
            at.followers.push(index);
        } else if !at.primaries.iter().any(|p| is_same_run(seen, *p, index)) {
            at.primaries.push(index);
        }
    }
    // Removes duplicates: one server without replication ids that is listed under two names.
    let mut runs: Vec<&Id> = Vec::new();
    all.retain(|history| {
        let run = history
            .primaries
            .first()
            .and_then(|p| seen.get(*p))
            .and_then(|s| s.report.run.as_ref());
        match (history.replid, run) {
            (None, Some(run)) if runs.contains(&run) => false,
            (None, Some(run)) => {
                runs.push(run);
                true
            }
            _ => true,
        }
    });
    all
}

fn is_same_run(seen: &[Seen], one: usize, other: usize) -> bool {
    let run = |at: usize| seen.get(at).and_then(|s| s.report.run.as_ref());
    run(one).is_some() && run(one) == run(other)
}

impl Live<'_> {
    /// Whether this history continues the one with that id.
    fn is_heir_of(&self, replid: &Id, seen: &[Seen]) -> bool {
        self.primaries
            .iter()
            .chain(&self.followers)
            .filter_map(|at| seen.get(*at))
            .any(|s| s.report.replid2.as_ref() == Some(replid))
    }

    /// The name of this history in messages.
    fn name(&self, seen: &[Seen]) -> String {
        let at = |index: &usize| seen.get(*index);
        if let Some(primary) = self.primaries.first().and_then(at) {
            return primary.host.clone();
        }
        match self.followers.first().and_then(at) {
            Some(Seen { host, report }) => match &report.role {
                Role::Replica { of, .. } => format!("{of} (which {host} follows)"),
                Role::Primary => host.clone(),
            },
            None => "an unknown server".to_owned(),
        }
    }
}

/// The evidence that a history has ended: the server that proves it, or an empty text for memory.
fn end(history: &Live<'_>, seen: &[Seen], memory: &Memory) -> Option<String> {
    let replid = history.replid?;
    let witness = seen.iter().find(|s| {
        s.report.replid2.as_ref() == Some(replid) && s.report.replid.as_ref() != Some(replid)
    });
    match witness {
        Some(witness) => Some(witness.host.clone()),
        None => memory.superseded.contains(replid).then(String::new),
    }
}

/// The choice if only one history is left.
fn judge(history: &Live<'_>, seen: &[Seen], memory: &Memory) -> Choice {
    let at = match history.primaries[..] {
        [at] => at,
        [] => {
            return Choice::Wait(format!(
                "the primary, {}, is not among the servers that answer; list it in the DSN too",
                history.name(seen)
            ));
        }
        _ => {
            let hosts: Vec<_> = history
                .primaries
                .iter()
                .filter_map(|p| seen.get(*p))
                .map(|s| s.host.as_str())
                .collect();
            return Choice::Refuse(both(&hosts));
        }
    };
    let Some(primary) = seen.get(at) else {
        return Choice::Wait("no server answered".to_owned());
    };
    match &memory.used {
        None => Choice::Use(at),
        // It may have restarted; its data are what its files contain, as with a single host.
        Some(used) if used.host == primary.host => Choice::Use(at),
        Some(used)
            if used
                .replid
                .as_ref()
                .is_some_and(|id| history.replid == Some(id) || history.is_heir_of(id, seen)) =>
        {
            Choice::Use(at)
        }
        Some(used) => Choice::Wait(format!(
            "{} reports that it is the primary, but its replication ids do not show that it was \
             promoted from {}, which was used before and is not a primary any longer; if {} is the \
             right one, restart this program",
            primary.host, used.host, primary.host
        )),
    }
}

/// The reason why no history is left.
fn none_left(live: &[Live<'_>], seen: &[Seen], memory: &Memory) -> String {
    for history in live {
        let name = history.name(seen);
        match end(history, seen, memory).as_deref() {
            None => {}
            Some("") => {
                return format!(
                    "{name} reports that it is the primary, but was superseded by a server that \
                     does not answer; if {name} is the right one, restart this program"
                );
            }
            Some(witness) => {
                return format!(
                    "{name} reports that it is the primary, but was superseded according to \
                     {witness}; the new primary does not answer"
                );
            }
        }
    }
    match seen {
        [] => "no server answered".to_owned(),
        [only] => format!(
            "{} is a replica, and the primary does not answer",
            only.host
        ),
        _ => "all servers that answer are replicas; the primary does not answer".to_owned(),
    }
}

fn ambiguous(left: &[&Live<'_>], seen: &[Seen]) -> String {
    let names: Vec<_> = left.iter().map(|history| history.name(seen)).collect();
    both(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn both(hosts: &[&str]) -> String {
    format!(
        "{} all report that they are the primary, and their replication ids do not show which one \
         was promoted from the other; the wrong one would repeat integers. Make the old ones \
         replicas of the right one (`REPLICAOF <its host> <its port>`), or list only the right one \
         in the DSN",
        hosts.join(" and ")
    )
}

#[cfg(test)]
mod tests;
