//! Queries the state of a host for the survey of all hosts.

use crate::connection::{Connection, pairs};
use crate::quote;
use crate::reply::{Reply, text};
use crate::settings::Settings;
use crate::survey::{Cluster, Replication, Source, Witness};
use engine_guest::failover::Fault;
use mysql_async::Row;
use std::collections::BTreeSet;

/// The status variables that are queried. Every user may read them.
const STATUS: [&str; 6] = [
    "Slave_running",
    "Slaves_running",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_status",
    "wsrep_incoming_addresses",
    "wsrep_ready",
];

/// Queries the host. `sign` is a unique lock name, by which [`recognise`] identifies the server.
pub(crate) async fn ask(
    connection: &mut Connection,
    sign: &str,
    settings: &Settings,
) -> Result<Witness, Fault> {
    let server = &connection.server;
    let mut witness = Witness {
        name: connection.to.clone(),
        read_only: server.read_only,
        id: server.id,
        uuid: server.uuid.clone(),
        position: server.position.clone(),
        ..Witness::default()
    };
    if witness.read_only {
        // It is not used for minting, so the rest does not matter.
        return Ok(witness);
    }
    let (mariadb, galera, says_replica) =
        (server.is_mariadb(), server.galera, server.says_replica());
    let group = server.multi_primary && !server.group.is_empty();
    let group = group.then(|| server.group.clone());
    let names = STATUS.map(|name| format!("'{name}'")).join(",");
    let text = format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({names})");
    let replies = connection.tell(&text, 1, settings).await?;
    let status = Status::read(pairs(replies.first()));
    let all = match (mariadb, says_replica) {
        (true, _) => "SHOW ALL SLAVES STATUS",
        (false, true) => "SHOW REPLICA STATUS",
        (false, false) => "SHOW SLAVE STATUS",
    };
    let channels = connection.try_to_tell(all, settings).await?;
    witness.replication = replication(channels.as_ref(), &status, mariadb);
    if galera {
        witness.cluster = Cluster::Galera {
            ready: status.ready,
            uuid: status.cluster,
            members: status.members,
        };
    } else {
        // Some Galera distributions forbid it. It is not needed there: a node is identified by its cluster.
        let sign = format!("DO GET_LOCK({},0)", quote::text(sign));
        connection.try_to_tell(&sign, settings).await?;
    }
    if let Some(name) = group {
        let members = "SELECT MEMBER_ID,MEMBER_STATE FROM \
                       performance_schema.replication_group_members";
        let members = connection.try_to_tell(members, settings).await?;
        let online = members.map(|members| {
            pairs(Some(&members))
                .filter(|(_, state)| *state == "ONLINE")
                .map(|(id, _)| id.to_owned())
                .collect()
        });
        witness.cluster = Cluster::Group { name, online };
    }
    Ok(witness)
}

/// Which of the lock names are held on the server of this connection, by number.
pub(crate) async fn recognise(
    connection: &mut Connection,
    signs: &[String],
    settings: &Settings,
) -> Result<BTreeSet<usize>, Fault> {
    let looks: Vec<_> = signs
        .iter()
        .map(|sign| format!("IS_USED_LOCK({}) IS NOT NULL", quote::text(sign)))
        .collect();
    let text = format!("SELECT {}", looks.join(","));
    let reply = connection.try_to_tell(&text, settings).await?;
    let row = reply.as_ref().and_then(|reply| reply.rows.first());
    Ok((0..signs.len())
        .filter(|number| row.is_some_and(|row| self::text(row, *number) == "1"))
        .collect())
}

/// The values of the status variables.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    replicates: bool,
    ready: bool,
    cluster: String,
    members: BTreeSet<String>,
}

impl Status {
    fn read<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut status = Self::default();
        let (mut synced, mut primary) = (false, false);
        for (name, value) in variables {
            match name {
                "Slave_running" | "Slaves_running" => {
                    status.replicates |= !matches!(value, "OFF" | "0" | "");
                }
                "wsrep_ready" => synced = value == "ON",
                "wsrep_cluster_status" => primary = value.eq_ignore_ascii_case("primary"),
                "wsrep_cluster_state_uuid" => value.clone_into(&mut status.cluster),
                "wsrep_incoming_addresses" => {
                    let named = |member: &&str| !matches!(*member, "" | "AUTO" | "unspecified");
                    let members = value.split(',').map(str::trim).filter(named);
                    status.members = members.map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        status.ready = synced && primary;
        status
    }
}

/// The replication state of the server. `channels` is None if the server refused to return it.
fn replication(channels: Option<&Reply>, status: &Status, mariadb: bool) -> Replication {
    let Some(channels) = channels else {
        return match (status.replicates, mariadb) {
            (true, _) => Replication::From(Vec::new()),
            // MariaDB shows every user whether it replicates.
            (false, true) => Replication::None,
            (false, false) => Replication::Hidden,
        };
    };
    let mut sources = Vec::new();
    for row in &channels.rows {
        // A group's own channels replicate within the group.
        let own = named(row, &["Channel_Name"]).starts_with("group_replication_");
        let receives = named(row, &["Replica_IO_Running", "Slave_IO_Running"]);
        let applies = named(row, &["Replica_SQL_Running", "Slave_SQL_Running"]);
        let stopped = matches!(receives, "No" | "") && matches!(applies, "No" | "");
        if own || stopped {
            continue;
        }
        let id = named(row, &["Source_Server_Id", "Master_Server_Id"]);
        sources.push(Source {
            id: id.parse().unwrap_or_default(),
            uuid: named(row, &["Source_UUID", "Master_UUID"]).to_owned(),
        });
    }
    if sources.is_empty() {
        Replication::None
    } else {
        Replication::From(sources)
    }
}

/// The value of the first of these columns that exists.
fn named<'a>(row: &'a Row, names: &[&str]) -> &'a str {
    let columns = row.columns_ref();
    let column = columns
        .iter()
        .position(|column| names.contains(&&*column.name_str()));
    column.map_or("", |column| text(row, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read() {
        let status = Status::read([
            ("Slaves_running", "0"),
            ("wsrep_ready", "ON"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_state_uuid", "u"),
            (
                "wsrep_incoming_addresses",
                "10.0.0.1:3306,AUTO,,10.0.0.2:3306",
            ),
        ]);
        assert!(status.ready && !status.replicates);
        assert_eq!(status.members.len(), 2);
        for variables in [
            [("wsrep_ready", "OFF"), ("wsrep_cluster_status", "Primary")],
            [
                ("wsrep_ready", "ON"),
                ("wsrep_cluster_status", "non-Primary"),
            ],
        ] {
            assert!(!Status::read(variables).ready);
        }
        assert!(Status::read([("Slave_running", "ON")]).replicates);
        assert!(Status::read([("Slaves_running", "2")]).replicates);
    }

    #[test]
    fn what_is_not_shown_is_not_guessed() {
        let quiet = Status::default();
        assert_eq!(replication(None, &quiet, true), Replication::None);
        assert_eq!(replication(None, &quiet, false), Replication::Hidden);
        let busy = Status::read([("Slaves_running", "1")]);
        assert_eq!(
            replication(None, &busy, true),
            Replication::From(Vec::new())
        );
        let shown = Reply::default();
        assert_eq!(replication(Some(&shown), &quiet, false), Replication::None);
    }
}
