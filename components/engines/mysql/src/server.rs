//! The kind of a server, read from its variables.

/// The variables that [`Server::read`] uses.
pub(crate) const VARIABLES: [&str; 16] = [
    "auto_increment_increment",
    "group_replication_consistency",
    "group_replication_group_name",
    "group_replication_single_primary_mode",
    "gtid_current_pos",
    "gtid_executed",
    "information_schema_stats_expiry",
    "innodb_lock_wait_timeout",
    "innodb_read_only",
    "read_only",
    "server_id",
    "server_uuid",
    "super_read_only",
    "version",
    "version_comment",
    "wsrep_on",
];

/// Whether the server accepts writes from ordinary users: 1 or 0. Servers return `read_only` as a
/// number or, in newer versions, as a name.
///
/// Users who may write to a read-only server, such as administrators, must check this after the commit:
/// a server that is writable then was also writable when the commit was done.
pub(crate) const WRITABLE: &str = "CONCAT(@@global.read_only) IN ('0','OFF')";

/// Products that accept MySQL's statements but are neither MySQL nor MariaDB, by their names in
/// `version` or `version_comment`.
const LOOKALIKES: [&str; 8] = [
    "TiDB",
    "Vitess",
    "OceanBase",
    "SingleStore",
    "MemSQL",
    "Dolt",
    "StarRocks",
    "ClickHouse",
];

/// The relevant properties of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    /// As the server reports it, such as `10.11.6-MariaDB-0+deb12u1`.
    pub(crate) version: String,
    numbers: [u32; 3],
    mariadb: bool,
    /// The name of a product that is neither MySQL nor MariaDB.
    pub(crate) lookalike: Option<&'static str>,
    /// Whether it is a node of a Galera cluster.
    pub(crate) galera: bool,
    /// Whether it is a member of a replication group with several primaries.
    pub(crate) multi_primary: bool,
    /// The name of the replication group that the server is configured for; empty if there is none.
    pub(crate) group: String,
    /// `group_replication_consistency`; empty if there is no such variable.
    consistency: String,
    /// `server_id`, by which replicas identify a server. 0 if the server does not report it.
    pub(crate) id: u64,
    /// `server_uuid`, which only MySQL has; otherwise empty.
    pub(crate) uuid: String,
    /// The server's position in global transaction identifiers, in the notation of MariaDB or MySQL;
    /// empty if it has none. Only shown in messages.
    pub(crate) position: String,
    pub(crate) read_only: bool,
    /// Whether sessions step by something other than one when they draw from a counter.
    pub(crate) strides: bool,
    /// Whether statistics in `information_schema` may be stale unless the session disables that.
    pub(crate) caches_statistics: bool,
    /// Whether InnoDB is available.
    pub(crate) innodb: bool,
}

impl Server {
    /// Reads names and values of variables; ignores all but [`VARIABLES`].
    pub(crate) fn read<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut server = Self::default();
        let mut comment = "";
        for (name, value) in variables {
            match name {
                "version" => value.clone_into(&mut server.version),
                "version_comment" => comment = value,
                "wsrep_on" => server.galera = on(value),
                "group_replication_single_primary_mode" => server.multi_primary = !on(value),
                "group_replication_group_name" => value.clone_into(&mut server.group),
                "group_replication_consistency" => value.clone_into(&mut server.consistency),
                "server_id" => server.id = value.parse().unwrap_or_default(),
                "gtid_current_pos" | "gtid_executed" => server.position = shown(value),
                "server_uuid" => value.clone_into(&mut server.uuid),
                "read_only" | "super_read_only" | "innodb_read_only" => {
                    server.read_only |= on(value);
                }
                "auto_increment_increment" => server.strides = value != "1",
                "information_schema_stats_expiry" => server.caches_statistics = true,
                "innodb_lock_wait_timeout" => server.innodb = true,
                _ => {}
            }
        }
        let names = format!("{} {comment}", server.version).to_ascii_lowercase();
        server.mariadb = names.contains("mariadb");
        server.lookalike = LOOKALIKES
            .into_iter()
            .find(|product| names.contains(&product.to_ascii_lowercase()));
        server.numbers = numbers(&server.version);
        server
    }

    /// Why InnoDB's AUTO_INCREMENT counters may repeat a value on this server; None if they never do,
    /// as since MariaDB 10.11.
    ///
    /// Up to MySQL 5.7 and MariaDB 10.2.3, a restart loses the counter. In all MySQL versions, and in
    /// older MariaDB versions, one session can set the counter back: if its `auto_increment_increment`
    /// differs from that of the previous session on the same cached table handler, InnoDB subtracts the
    /// older increment, whatever others drew since (`ha_innobase::get_auto_increment`).
    pub(crate) fn innodb_repeats(&self) -> Option<&'static str> {
        if self.mariadb {
            (self.numbers < [10, 11, 0]).then_some(
                "InnoDB before MariaDB 10.11 may set an AUTO_INCREMENT counter back, after a \
                 restart or when sessions differ in auto_increment_increment",
            )
        } else {
            Some(
                "MySQL's InnoDB sets an AUTO_INCREMENT counter back when sessions differ in \
                 auto_increment_increment, and before version 8.0 at a restart",
            )
        }
    }

    /// The statement that makes a session see everything that any member of its cluster has committed
    /// before; None if it does so by default.
    ///
    /// Uniqueness and order of integers do not depend on it: of two members that change a row
    /// concurrently, only the first in the cluster's order commits. But a member that applies changes
    /// late would return an old mark, and would detect a conflict only at commit and have to retry. In a
    /// group with one primary, only a new primary can be late.
    pub(crate) fn catch_up(&self) -> Option<&'static str> {
        if self.galera {
            // 1: reads; 2: UPDATE and DELETE; 4: INSERT and REPLACE.
            return Some("SET SESSION wsrep_sync_wait=7");
        }
        match (&*self.consistency, self.multi_primary) {
            ("EVENTUAL" | "BEFORE_ON_PRIMARY_FAILOVER", true) => {
                Some("SET SESSION group_replication_consistency='BEFORE'")
            }
            ("AFTER", true) => Some("SET SESSION group_replication_consistency='BEFORE_AND_AFTER'"),
            ("EVENTUAL", false) => {
                Some("SET SESSION group_replication_consistency='BEFORE_ON_PRIMARY_FAILOVER'")
            }
            _ => None,
        }
    }

    /// Whether this is MariaDB.
    pub(crate) fn is_mariadb(&self) -> bool {
        self.mariadb
    }

    /// Whether the server uses the word "replica" in statements: MySQL since 8.0.22; 8.4 requires it.
    pub(crate) fn says_replica(&self) -> bool {
        !self.mariadb && self.numbers >= [8, 0, 22]
    }

    /// Whether no other server writes to the same tables.
    pub(crate) fn is_alone(&self) -> bool {
        !self.galera && !self.multi_primary
    }

    pub(crate) fn is_lookalike(&self) -> bool {
        self.lookalike.is_some()
    }
}

/// How much of a position is shown, in characters.
const MAX_POSITION: usize = 120;

/// The value in a form suitable for messages.
fn shown(value: &str) -> String {
    let shown = value.chars().filter(|c| !c.is_control());
    shown.take(MAX_POSITION).collect()
}

/// Whether a switch variable is on. Some newer read-only modes have names.
fn on(value: &str) -> bool {
    !matches!(value, "OFF" | "off" | "0" | "")
}

/// The three numbers at the beginning of a version, or zeros. MariaDB versions may have the prefix
/// `5.5.5-`, which was once shown to old replicas.
fn numbers(version: &str) -> [u32; 3] {
    let mut found = [0; 3];
    let text = version.strip_prefix("5.5.5-").unwrap_or(version);
    let parts = text.split(|c: char| !c.is_ascii_digit());
    for (number, part) in found.iter_mut().zip(parts) {
        *number = part.parse().unwrap_or(0);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: &str) -> Server {
        Server::read([("version", version)])
    }

    #[test]
    fn counters_that_never_go_back() {
        for sound in [
            "10.11.19-MariaDB-0+deb12u1",
            "5.5.5-10.11.8-MariaDB",
            "11.4.2-MariaDB",
        ] {
            assert_eq!(version(sound).innodb_repeats(), None, "{sound}");
        }
        for unsound in [
            "8.0.15",
            "8.4.3-log",
            "9.1.0",
            "10.11.0",
            "5.7.44-log",
            "10.6.19-MariaDB",
            "5.5.5-10.4.8-MariaDB",
            "",
            "unknown",
            "99999999999.0.0-MariaDB",
        ] {
            assert!(version(unsound).innodb_repeats().is_some(), "{unsound}");
        }
    }

    #[test]
    fn variables_are_read() {
        let plain = Server::read([
            ("version", "10.11.6-MariaDB"),
            ("version_comment", "Debian 12"),
            ("wsrep_on", "OFF"),
            ("read_only", "OFF"),
            ("innodb_read_only", "OFF"),
            ("auto_increment_increment", "1"),
            ("innodb_lock_wait_timeout", "50"),
            ("something_else", "ON"),
        ]);
        assert!(plain.is_alone() && !plain.read_only && !plain.strides && plain.innodb);
        assert!(!plain.caches_statistics && !plain.is_lookalike());
        assert!(Server::read([("wsrep_on", "ON")]).galera);
        assert!(Server::read([("read_only", "ON"), ("super_read_only", "OFF")]).read_only);
        assert!(Server::read([("read_only", "NO_LOCK")]).read_only);
        assert!(Server::read([("auto_increment_increment", "2")]).strides);
        assert!(Server::read([("information_schema_stats_expiry", "86400")]).caches_statistics);
        assert!(Server::read([("group_replication_single_primary_mode", "OFF")]).multi_primary);
        assert!(!Server::read([("group_replication_single_primary_mode", "ON")]).multi_primary);
    }

    #[test]
    fn sessions_catch_up_with_their_cluster() {
        let group = |mode, consistency| {
            let variables = [
                ("group_replication_single_primary_mode", mode),
                ("group_replication_consistency", consistency),
            ];
            Server::read(variables).catch_up().unwrap_or_default()
        };
        assert!(group("OFF", "EVENTUAL").ends_with("'BEFORE'"));
        assert!(group("OFF", "BEFORE_ON_PRIMARY_FAILOVER").ends_with("'BEFORE'"));
        assert!(group("OFF", "AFTER").ends_with("'BEFORE_AND_AFTER'"));
        assert_eq!(group("OFF", "BEFORE_AND_AFTER"), "");
        assert!(group("ON", "EVENTUAL").ends_with("'BEFORE_ON_PRIMARY_FAILOVER'"));
        assert_eq!(group("ON", "BEFORE"), "");
        assert_eq!(version("8.0.36").catch_up(), None);
        let galera = Server::read([("wsrep_on", "ON")]);
        assert_eq!(galera.catch_up(), Some("SET SESSION wsrep_sync_wait=7"));
    }

    #[test]
    fn lookalikes_are_told_apart() {
        assert_eq!(version("8.0.11-TiDB-v7.5.0").lookalike, Some("TiDB"));
        assert_eq!(version("8.0.30-Vitess").lookalike, Some("Vitess"));
        let percona = Server::read([
            ("version", "8.0.36-28"),
            ("version_comment", "Percona Server (GPL), Release 28"),
        ]);
        assert_eq!(percona.lookalike, None);
    }
}
