//! Whether the server may forget what it acknowledged, and what shows that it may have.

use crate::client::Session;
use crate::locate::text_of;
use crate::refusal::Fault;
use crate::report::Report;
use engine_guest::Error;
use engine_redis_wire::{Value, cmd, text};

/// The settings with which a single server keeps every write through a crash.
const DURABLE: [(&str, &str); 3] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
];

/// The process and the history of writes of the server. None for a server that syncs every write and takes no part in
/// replication: after a crash it has what it had. A server that takes part may lack writes, whatever was synced: another one
/// that lacks them takes over, or became its primary meanwhile and replaced its data.
pub(crate) fn generation(session: &mut Session<'_>) -> Result<Option<String>, Fault> {
    let syncs = !session.has_choice() && syncs_all(session)?;
    let [a, b, c, d] = ["replication", "server", "cluster", "memory"].map(|name| {
        let mut command = cmd("INFO");
        command.arg(name);
        command
    });
    let replies = session.ask([&a, &b, &c, &d])?;
    let Some(report) = Report::parse(&replies.each_ref().map(text_of).join("\n")) else {
        return Err(unknown());
    };
    if report.cluster {
        return Err(Fault::Final(in_cluster()));
    }
    if let Some(policy) = report.evicts {
        return Err(Fault::Final(Error::Other(format!(
            "Redis removes keys when its memory is full (maxmemory-policy {policy}), which nothing would show; set \
             maxmemory-policy to noeviction"
        ))));
    }
    if syncs && report.stands_alone() {
        return Ok(None);
    }
    let Some(run) = report.run else {
        return Err(unknown());
    };
    // Failovers leave the process as it is, and some servers have no replication ids.
    let history = report.replid.unwrap_or_default();
    Ok(Some(format!("{run} {history}")))
}

fn unknown() -> Fault {
    Fault::Final(Error::Other(
        "Redis does not report its role and its run_id (INFO), and without them it does not show whether it has lost writes"
            .into(),
    ))
}

/// The error for a Redis Cluster: its nodes have keys of their own and forget them one by one, so that what one of
/// them reports says nothing about the others.
pub(crate) fn in_cluster() -> Error {
    Error::Other(
        "a Redis Cluster cannot be the backend of a node of a quorum; use a Redis that is not in a cluster"
            .into(),
    )
}

fn syncs_all(session: &mut Session<'_>) -> Result<bool, Fault> {
    let [a, b, c] = DURABLE.map(|(name, _)| {
        let mut command = cmd("CONFIG");
        command.arg("GET").arg(name);
        command
    });
    // A user may lack the permission: then the server counts as one that forgets.
    let replies = session.try_ask([&a, &b, &c])?;
    Ok(DURABLE
        .iter()
        .zip(&replies)
        .all(|((_, wanted), reply)| setting(reply) == Some(*wanted)))
}

/// The value in a reply to `CONFIG GET` of one setting.
fn setting(reply: &Value) -> Option<&str> {
    match reply {
        Value::Array(pair) => pair.get(1).and_then(text),
        Value::Map(pairs) => pairs.first().and_then(|(_, value)| text(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_both_protocols() {
        let name = || Value::BulkString(b"appendonly".to_vec());
        let yes = || Value::BulkString(b"yes".to_vec());
        assert_eq!(setting(&Value::Array(vec![name(), yes()])), Some("yes"));
        assert_eq!(setting(&Value::Map(vec![(name(), yes())])), Some("yes"));
        assert_eq!(setting(&Value::Array(vec![])), None);
        assert_eq!(setting(&Value::Nil), None);
    }
}
