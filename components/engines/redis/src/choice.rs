//! Which of several servers is the primary, judged by what they report. No I/O.
//!
//! Every primary has a replication id, which names the history of its writes. A replica that is
//! promoted begins a new history and keeps the id of the one that it carried on from: whoever reports
//! that has seen the older history end, and the server that still has the older one is superseded. A
//! replica reports the history of its primary, and the one before, so it is a witness too.
//!
//! Histories that do not show how they are related, such as after two promotions, or once a primary
//! was restarted and so has a new id, are told apart by memory alone: by what this instance used
//! before.
//!
//! What cannot be seen: that a server which is the only primary to answer has been superseded by one
//! that does not answer, when no other server witnesses it and this instance never used that one.

use crate::report::{Id, Report, Role};
use std::collections::VecDeque;

/// How many superseded histories are remembered.
const MEMORY: usize = 64;

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where, as `host:port` of the DSN.
    pub(crate) host: String,
    pub(crate) report: Report,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The server at this index is the primary.
    Use(usize),
    /// There is none now; it may pass by itself.
    Wait(String),
    /// It cannot be told which one it is, and somebody has to see to it.
    Refuse(String),
}

/// What an instance knows from before.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    used: Option<Used>,
    /// Histories that another one carried on from, the latest last.
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
        // A replica without its primary may yet be going back to the older history.
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

    /// Remembers which server is used from now on.
    pub(crate) fn uses(&mut self, seen: &Seen) {
        self.used = Some(Used {
            host: seen.host.clone(),
            replid: seen.report.replid.clone(),
        });
    }
}

/// A history that is being written now: its primary answered, or a replica that is connected to it.
struct Live<'a> {
    replid: Option<&'a Id>,
    /// Servers that call themselves primary. Several, if several processes claim the same history.
    primaries: Vec<usize>,
    /// A replica that follows it.
    follower: Option<usize>,
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
        // What carries on from the history that was used would have superseded it.
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

/// The choice among nodes of a Redis Cluster; None where there are none. They agree among each other
/// who has a key, and send a client on.
fn in_cluster(seen: &[Seen]) -> Option<Choice> {
    let node = seen.iter().find(|s| s.report.cluster)?;
    if let Some(other) = seen.iter().find(|s| !s.report.cluster) {
        return Some(Choice::Refuse(format!(
            "{} is a node of a Redis Cluster and {} is not; name servers in the DSN that have the \
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
                    follower: None,
                });
                let Some(history) = all.last_mut() else {
                    continue;
                };
                history
            }
        };
        if !report.is_primary() {
            at.follower.get_or_insert(index);
        } else if !at.primaries.iter().any(|p| is_same_run(seen, *p, index)) {
            at.primaries.push(index);
        }
    }
    // A server without replication ids that has two names.
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
    /// Whether it carried on from that history.
    fn is_heir_of(&self, replid: &Id, seen: &[Seen]) -> bool {
        self.primaries
            .iter()
            .chain(&self.follower)
            .filter_map(|at| seen.get(*at))
            .any(|s| s.report.replid2.as_ref() == Some(replid))
    }

    /// As messages name it.
    fn name(&self, seen: &[Seen]) -> String {
        let at = |index: &usize| seen.get(*index);
        if let Some(primary) = self.primaries.first().and_then(at) {
            return primary.host.clone();
        }
        match self.follower.as_ref().and_then(at) {
            Some(Seen { host, report }) => match &report.role {
                Role::Replica { of, .. } => format!("{of} (which {host} follows)"),
                Role::Primary => host.clone(),
            },
            None => "an unknown server".to_owned(),
        }
    }
}

/// How it is known that a history has ended: the server that says so, or an empty text for memory.
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

/// The only history that may be written on.
fn judge(history: &Live<'_>, seen: &[Seen], memory: &Memory) -> Choice {
    let at = match history.primaries[..] {
        [at] => at,
        [] => {
            return Choice::Wait(format!(
                "the primary, {}, does not answer here; name it in the DSN too",
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
        // Restarted, perhaps. It is what its files made of it, as with one host alone.
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
            "{} calls itself primary, and its replication ids do not show that it carries on from \
             {}, which was used before and is no primary now; if it is right to use {} all the \
             same, restart this program",
            primary.host, used.host, primary.host
        )),
    }
}

/// Why there is no history left.
fn none_left(live: &[Live<'_>], seen: &[Seen], memory: &Memory) -> String {
    for history in live {
        let name = history.name(seen);
        match end(history, seen, memory).as_deref() {
            None => {}
            Some("") => {
                return format!(
                    "{name} calls itself primary, and was superseded by a server that does not \
                     answer now; if it is right to use {name} all the same, restart this program"
                );
            }
            Some(witness) => {
                return format!(
                    "{name} calls itself primary, and was superseded as {witness} shows; the new \
                     primary does not answer"
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
        "{} call themselves primary, and their replication ids do not show which one was promoted \
         from the other; the wrong one would repeat integers. Make those that are old replicas of \
         the right one (`REPLICAOF <its host> <its port>`), or name the right one alone in the DSN",
        hosts.join(" and ")
    )
}

#[cfg(test)]
mod tests;
