//! A server's report about its role in replication.

use engine_redis_wire::printable;

/// The maximum length of an id; replication ids and run ids have 40 digits.
const MAX_ID: usize = 64;

/// A replication id or run id.
pub(crate) type Id = String;

/// The answer of one server to `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) role: Role,
    /// The history of writes of its data (`master_replid`). A primary begins a new history when it is
    /// restarted, and a replica when it is promoted; replicas have that of their primary.
    pub(crate) replid: Option<Id>,
    /// The history that this one continued (`master_replid2`). Only the latest change is known.
    pub(crate) replid2: Option<Id>,
    /// Identifies the process (`run_id`), so that a server with two names is recognized as one.
    pub(crate) run: Option<Id>,
    /// Whether it has replicas at present.
    pub(crate) replicated: bool,
    /// Whether it is a node of a Redis Cluster.
    pub(crate) cluster: bool,
    /// The policy by which it removes any keys when its memory is full; None if it removes at most those that expire.
    pub(crate) evicts: Option<String>,
}

/// A server's role in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It accepts writes.
    Primary,
    /// It replicates another server.
    Replica {
        /// The other server as `host:port`, as the replica reports it.
        of: String,
        /// Whether it is connected to that server, and up to date except for data in transit.
        linked: bool,
    },
}

impl Report {
    /// Parses the text of `INFO`, sections `replication`, `server`, `cluster` and perhaps `memory`. None if it does not
    /// have the role.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.trim())
        };
        let id = |name| field(name).and_then(id);
        let role = match field("role")? {
            "master" | "primary" => Role::Primary,
            "slave" | "replica" => {
                let host = field("master_host").unwrap_or("an unknown host");
                let port = field("master_port").unwrap_or("?");
                Role::Replica {
                    of: printable(&format!("{host}:{port}")),
                    linked: field("master_link_status") == Some("up"),
                }
            }
            _ => return None,
        };
        let limited = field("maxmemory").is_some_and(|bytes| bytes != "0");
        let policy = field("maxmemory_policy").filter(|policy| policy.starts_with("allkeys"));
        Some(Self {
            role,
            replid: id("master_replid"),
            replid2: id("master_replid2"),
            run: id("run_id"),
            replicated: field("connected_slaves").is_none_or(|count| count != "0"),
            cluster: field("cluster_enabled") == Some("1"),
            evicts: policy.filter(|_| limited).map(printable),
        })
    }

    /// Whether another report of the same server has the same role and ids.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.is_primary() == other.is_primary()
            && (&self.replid, &self.replid2, &self.run)
                == (&other.replid, &other.replid2, &other.run)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Whether its data are its own: no other server has replaced them, and none is about to.
    pub(crate) fn stands_alone(&self) -> bool {
        self.is_primary() && !self.replicated && self.replid2.is_none()
    }

    /// Whether the primary of its history is running at present.
    pub(crate) fn is_live(&self) -> bool {
        match self.role {
            Role::Primary => true,
            Role::Replica { linked, .. } => linked,
        }
    }
}

/// An id; None for the placeholder of zeros, and for invalid ids.
fn id(text: &str) -> Option<Id> {
    let is_id = !text.is_empty()
        && text.len() <= MAX_ID
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.bytes().any(|b| b != b'0');
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Redis 7.0.15, shortened.
    const PROMOTED: &str = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\
        master_failover_state:no-failover\r\n\
        master_replid:2a0a1c1fe02ee03cf4a0b9bcd7e7bbd4bb7bd4a6\r\n\
        master_replid2:8c7b5f38d1d6ea0a3ac5a3cf9a7c7d1a1c1b4f1e\r\n\
        master_repl_offset:112\r\nsecond_repl_offset:113\r\n# Server\r\n\
        run_id:5b7d4ef8f7bd5ae1cdb2a1ecb1d0e05ac90be5a8\r\n# Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn primaries_and_replicas_are_read() {
        let report = Report::parse(PROMOTED).expect("a role");
        assert!(report.is_primary() && report.is_live() && !report.cluster);
        assert!(!report.stands_alone(), "it was a replica");
        assert_eq!(
            report.replid.as_deref(),
            Some("2a0a1c1fe02ee03cf4a0b9bcd7e7bbd4bb7bd4a6")
        );
        assert_eq!(
            report.replid2.as_deref(),
            Some("8c7b5f38d1d6ea0a3ac5a3cf9a7c7d1a1c1b4f1e")
        );
        assert_eq!(
            report.run.as_deref(),
            Some("5b7d4ef8f7bd5ae1cdb2a1ecb1d0e05ac90be5a8")
        );
        let replica = "role:slave\r\nmaster_host:::1\r\nmaster_port:6379\r\n\
            master_link_status:down\r\nmaster_replid2:0000000000000000000000000000000000000000\r\n\
            cluster_enabled:1";
        let report = Report::parse(replica).expect("a role");
        let of = "::1:6379".to_owned();
        assert_eq!(report.role, Role::Replica { of, linked: false });
        assert!(!report.is_live() && report.cluster);
        assert_eq!((report.replid, report.replid2), (None, None));
        let up = replica.replace("down", "up");
        assert!(Report::parse(&up).expect("a role").is_live());
    }

    #[test]
    fn a_server_with_replicas_or_a_primary_does_not_stand_alone() {
        let alone =
            "role:master\r\nconnected_slaves:0\r\nmaster_replid:a\r\nmaster_replid2:0000\r\n";
        let stands_alone = |text: &str| Report::parse(text).expect("a role").stands_alone();
        assert!(stands_alone(alone));
        for (from, to) in [
            ("slaves:0", "slaves:1"),
            ("connected_slaves:0", "x:0"),
            ("master\r", "slave\r"),
            ("0000", "b"),
        ] {
            assert!(!stands_alone(&alone.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn a_server_that_may_remove_any_key_says_so() {
        let evicts = |memory: &str| {
            let text = format!("role:master\r\n# Memory\r\n{memory}");
            Report::parse(&text).expect("a role").evicts
        };
        let policy = evicts("maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert_eq!(policy.as_deref(), Some("allkeys-lru"));
        for keeps in [
            "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n",
            "maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n",
            "maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n",
            "",
        ] {
            assert_eq!(evicts(keeps), None, "{keeps}");
        }
    }

    #[test]
    fn what_tells_no_role_is_no_report() {
        for text in ["", "OK", "role:", "role:sentinel\r\n", "arole:master"] {
            assert_eq!(Report::parse(text), None, "{text:?}");
        }
        let long = format!("role:master\r\nmaster_replid:{}\r\n", "a".repeat(65));
        assert_eq!(Report::parse(&long).expect("a role").replid, None);
    }
}
