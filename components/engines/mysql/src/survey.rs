//! Decides which of several hosts may be used for minting, from the state that they report.
//!
//! Integers repeat when two servers that do not share their commits both mint: a primary that was
//! replaced and came back, a replica that was not set to read-only, two halves of a split cluster.

use std::collections::BTreeSet;

/// The result of querying a host of the DSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It did not answer, for this reason: a sentence that names it.
    Silent(String),
    /// It answered.
    Seen(Witness),
}

/// The state that one host reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The host's name in messages.
    pub(crate) name: String,
    pub(crate) read_only: bool,
    /// `server_id`, 0 if unknown.
    pub(crate) id: u64,
    /// `server_uuid`, empty on MariaDB.
    pub(crate) uuid: String,
    /// Its replication position, for a person to compare; empty if unknown.
    pub(crate) position: String,
    /// The numbers of other hosts that turned out to be this same server.
    pub(crate) same_as: BTreeSet<usize>,
    pub(crate) replication: Replication,
    pub(crate) cluster: Cluster,
}

/// Whether a host replicates from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replication {
    /// It does not.
    None,
    /// This user may not see whether it does.
    #[default]
    Hidden,
    /// It does, from these sources; empty if this user may not see them.
    From(Vec<Source>),
}

/// A source that a host replicates from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// `server_id`, 0 if unknown.
    pub(crate) id: u64,
    /// `server_uuid`, empty if unknown.
    pub(crate) uuid: String,
}

/// The cluster that a host is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cluster {
    #[default]
    None,
    /// Galera.
    Galera {
        /// Whether it is in the primary component and in sync.
        ready: bool,
        /// `wsrep_cluster_state_uuid`.
        uuid: String,
        /// `wsrep_incoming_addresses`, without placeholders.
        members: BTreeSet<String>,
    },
    /// A replication group with several primaries.
    Group {
        name: String,
        /// The `server_uuid` of each member that is online; None if this user may not see them.
        online: Option<BTreeSet<String>>,
    },
}

/// The decision about all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Any of these hosts may be used, by their numbers in the DSN.
    Use(Vec<usize>),
    /// None can be used at present, for this reason.
    Wait(String),
    /// None can be used until an operator acts on this message.
    Refuse(String),
}

/// Decides which hosts may be used.
pub(crate) fn judge(hosts: &[Sight]) -> Verdict {
    let mut reasons = Vec::new();
    let mut writable: Vec<(usize, &Witness)> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        match host {
            Sight::Silent(why) => reasons.push(why.clone()),
            Sight::Seen(host) if host.read_only => reasons.push(format!(
                "{} is read-only, like a replica, so it cannot mint",
                host.name
            )),
            Sight::Seen(host) if host.is_left_behind() => {
                reasons.push(format!("{} is not in sync with its cluster", host.name));
            }
            // The same server under another name is not a second one.
            Sight::Seen(host) if writable.iter().any(|(n, _)| host.same_as.contains(n)) => {}
            Sight::Seen(host) => writable.push((number, host)),
        }
    }
    let mut usable = Vec::new();
    for (number, host) in &writable {
        match replica(host, hosts, &writable) {
            Some(why) => reasons.push(why),
            None => usable.push((*number, *host)),
        }
    }
    let pairs = usable.iter().enumerate();
    let apart = pairs
        .flat_map(|(i, (_, a))| usable[i + 1..].iter().map(move |(_, b)| (*a, *b)))
        .find(|(a, b)| !a.shares_with(b));
    match apart {
        Some((a, b)) => Verdict::Refuse(refusal(a, b)),
        None if usable.is_empty() => Verdict::Wait(reasons.join("; ")),
        None => Verdict::Use(usable.into_iter().map(|(number, _)| number).collect()),
    }
}

/// Why a writable host is a replica that must not be minted from; None if it does not appear to be
/// one.
///
/// Two primaries that replicate from each other, one of them read-only, are common; so a host whose
/// source is read-only is not a replica. Two writable ones are left for [`judge`] to refuse.
fn replica(host: &Witness, hosts: &[Sight], writable: &[(usize, &Witness)]) -> Option<String> {
    let Replication::From(sources) = &host.replication else {
        return None;
    };
    let others = || {
        writable
            .iter()
            .map(|(_, other)| *other)
            .filter(|other| other.name != host.name)
    };
    let known: Vec<_> = sources
        .iter()
        .map(|source| source.among(hosts, host))
        .collect();
    if let Some(source) = known.iter().flatten().find(|source| {
        others().any(|other| other.name == source.name) && !source.replicates_from(host, hosts)
    }) {
        return Some(format!("{} is a replica of {}", host.name, source.name));
    }
    if !known.is_empty() && known.iter().all(Option::is_some) {
        return None;
    }
    // The source is unknown: it may be any host that is, or may be, a primary.
    if let Some(primary) = others().find(|other| !matches!(other.replication, Replication::From(_)))
    {
        return Some(format!(
            "{} is a replica, perhaps of {}",
            host.name, primary.name
        ));
    }
    hosts.iter().find_map(|other| match other {
        Sight::Silent(why) => Some(format!(
            "{} is a replica, perhaps of a host that did not answer ({why})",
            host.name
        )),
        Sight::Seen(_) => None,
    })
}

fn refusal(a: &Witness, b: &Witness) -> String {
    let hint = match (&a.cluster, &b.cluster) {
        (
            Cluster::Group { name, online: x },
            Cluster::Group {
                name: other,
                online: y,
            },
        ) if name == other && (x.is_none() || y.is_none()) => {
            ". If they are members of one replication group, permit this user to see that: GRANT \
             SELECT ON performance_schema.replication_group_members"
        }
        _ if [a, b]
            .iter()
            .any(|host| host.replication == Replication::Hidden) =>
        {
            ". If one is a replica of the other, make it read-only, or permit this user to see its \
             replication status: GRANT REPLICATION CLIENT, on MariaDB REPLICA MONITOR"
        }
        _ => "",
    };
    let positions = if a.position.is_empty() || b.position.is_empty() {
        String::new()
    } else {
        format!(
            " ({} is at {}, {} at {})",
            a.name, a.position, b.name, b.position
        )
    };
    format!(
        "{a} and {b} both accept writes{positions}, and do not appear to be members of one cluster, so \
         both could hand out the same integers. Find out which one is the primary, make the other \
         one read-only (SET GLOBAL read_only=1), and let it replicate from the primary; or list \
         only the primary in the DSN{hint}",
        a = a.name,
        b = b.name,
    )
}

impl Witness {
    /// Whether it is a member that its cluster has excluded.
    fn is_left_behind(&self) -> bool {
        match &self.cluster {
            Cluster::None => false,
            Cluster::Galera { ready, .. } => !ready,
            Cluster::Group { online, .. } => online
                .as_ref()
                .is_some_and(|online| !online.contains(&self.uuid)),
        }
    }

    /// Whether both are members of one cluster, which orders changes before they commit.
    fn shares_with(&self, other: &Self) -> bool {
        match (&self.cluster, &other.cluster) {
            (
                Cluster::Galera { uuid, members, .. },
                Cluster::Galera {
                    uuid: their_uuid,
                    members: theirs,
                    ..
                },
            ) => {
                // Two halves that were both made primary by hand know only their own members.
                let split =
                    members.is_disjoint(theirs) && !(members.is_empty() || theirs.is_empty());
                !uuid.is_empty() && uuid == their_uuid && !split
            }
            (
                Cluster::Group {
                    name,
                    online: Some(online),
                },
                Cluster::Group {
                    name: their_name,
                    online: Some(theirs),
                },
            ) => name == their_name && online.contains(&other.uuid) && theirs.contains(&self.uuid),
            _ => false,
        }
    }

    fn replicates_from(&self, other: &Self, hosts: &[Sight]) -> bool {
        match &self.replication {
            Replication::From(sources) => sources.iter().any(|source| {
                source
                    .among(hosts, self)
                    .is_some_and(|s| s.name == other.name)
            }),
            _ => false,
        }
    }
}

impl Source {
    /// The host that this source is, if exactly one matches.
    fn among<'a>(&self, hosts: &'a [Sight], of: &Witness) -> Option<&'a Witness> {
        let mut matching = hosts.iter().filter_map(|host| match host {
            Sight::Seen(host) if host.name != of.name => {
                let by_uuid = !self.uuid.is_empty() && self.uuid == host.uuid;
                let no_uuid = self.uuid.is_empty() || host.uuid.is_empty();
                (by_uuid || (no_uuid && self.id != 0 && self.id == host.id)).then_some(host)
            }
            _ => None,
        });
        let first = matching.next()?;
        // Other names of the same server do not count.
        let number = |host: &Witness| {
            hosts
                .iter()
                .position(|other| matches!(other, Sight::Seen(other) if other.name == host.name))
        };
        matching
            .all(|other| number(other).is_some_and(|n| first.same_as.contains(&n)))
            .then_some(first)
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
