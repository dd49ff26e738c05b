//! Whether the server may forget what it acknowledged, and what shows that it may have.

use crate::client::Session;
use crate::locate::text_of;
use crate::refusal::Fault;
use engine_guest::Error;
use engine_redis_wire::{Value, cmd, text};

/// The settings with which a single server keeps every write through a crash.
const DURABLE: [(&str, &str); 3] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
];

/// The id of the server process. None for a single server that syncs every write: after a crash it has
/// what it had. Where another server can take over, that one may lack writes, whatever was synced.
pub(crate) fn generation(session: &mut Session<'_>) -> Result<Option<String>, Fault> {
    if !session.has_choice() && syncs_all(session)? {
        return Ok(None);
    }
    let [info] = session.ask([cmd("INFO").arg("server")])?;
    if field(&info, "redis_mode") == Some("cluster") {
        return Err(Fault::Final(in_cluster()));
    }
    let run = field(&info, "run_id")
        .map(str::to_owned)
        .filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic()));
    match run {
        Some(run) => Ok(Some(run)),
        None => Err(Fault::Final(Error::Other(
            "Redis does not report its run_id, and it may forget writes after a crash; set `appendonly \
             yes` and `appendfsync always`, and let the user run CONFIG GET"
                .into(),
        ))),
    }
}

/// The error for a Redis Cluster: its nodes have keys of their own and forget them one by one, so that what one of
/// them reports says nothing about the others.
pub(crate) fn in_cluster() -> Error {
    Error::Other(
        "a Redis Cluster cannot be the backend of a node of a quorum; use a Redis that is not in a cluster"
            .into(),
    )
}

/// A field in a reply to `INFO`.
fn field<'a>(info: &'a Value, name: &str) -> Option<&'a str> {
    let mut fields = text_of(info)
        .lines()
        .filter_map(|line| line.split_once(':'));
    fields
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.trim())
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
