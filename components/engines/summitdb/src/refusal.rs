//! Classifies error replies of SummitDB.

use engine_dsn::Address;
use engine_guest::Error;
use engine_redis_wire::{Lost, ServerError, printable};

/// Why a command failed.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// A retry is useless.
    Final(Error),
    /// This node is not the leader and names the leader.
    Try(Address),
    /// The node cannot serve at present; there may be no leader.
    Leaderless(String),
    /// The connection failed or was closed before the reply.
    Lost(String),
    /// The node did not answer in time.
    Silent(String),
    /// The host does not permit a connection to the node.
    Forbidden(String),
}

impl From<Lost> for Fault {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Broken(message) => Self::Lost(message),
            Lost::Silent(message) => Self::Silent(message),
            Lost::Forbidden(message) => Self::Forbidden(message),
            Lost::Strange(message) => Self::Final(Error::Other(message)),
        }
    }
}

/// The beginnings of errors by which a node reports that it cannot serve at present.
const PASSING: [&str; 7] = [
    "ERR leader not known",
    "ERR raft not ready",
    "leadership lost",
    "timed out",
    "raft is already shutdown",
    "node is",
    "not leader",
];

/// The fault for an error reply.
pub(crate) fn fault(error: &ServerError) -> Fault {
    let text = match error.details() {
        Some(detail) => format!("{} {detail}", error.code()),
        None => error.code().to_owned(),
    };
    let words = printable(&text);
    if error.code() == "TRY" {
        return match Address::parse(error.details().unwrap_or_default().trim()) {
            Ok(address) if address.port.is_some() => Fault::Try(address),
            _ => Fault::Leaderless(format!("SummitDB returned an error: {words}")),
        };
    }
    if PASSING.iter().any(|passing| text.starts_with(passing)) {
        return Fault::Leaderless(format!("SummitDB returned an error: {words}"));
    }
    if text.contains("not an integer") {
        return Fault::Final(Error::Other(format!(
            "the key does not hold a 64-bit integer ({words}); delete it, or set it to the \
             greatest integer handed out so far"
        )));
    }
    Fault::Final(Error::Other(format!(
        "the server returned an error: {words}; is it SummitDB?"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_redis_wire::Value;

    fn judge(line: &str) -> Fault {
        match engine_redis_wire::parse(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => fault(&error),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn followers_name_their_leader() {
        for (line, leader) in [
            ("TRY 127.0.0.1:7483", "127.0.0.1:7483"),
            ("TRY [::1]:7483", "[::1]:7483"),
            ("TRY db3.example:7483", "db3.example:7483"),
        ] {
            assert_eq!(
                judge(line),
                Fault::Try(Address::parse(leader).expect(leader))
            );
        }
    }

    #[test]
    fn a_group_without_a_leader_is_waited_for() {
        for line in [
            "ERR leader not known",
            "ERR raft not ready",
            "leadership lost while committing log",
            "timed out enqueuing operation",
            "raft is already shutdown",
            "node is not the leader",
            "TRY",
            "TRY nobody",
            "TRY :7481",
            "TRY a b",
        ] {
            assert!(matches!(judge(line), Fault::Leaderless(_)), "{line}");
        }
    }

    #[test]
    fn other_errors_stay() {
        for line in [
            "ERR value is not an integer or out of range",
            "ERR unknown command 'eval'",
            "",
            "TRYAGAIN later",
        ] {
            assert!(
                matches!(judge(line), Fault::Final(Error::Other(_))),
                "{line}"
            );
        }
    }
}
