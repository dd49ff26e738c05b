//! `int-host node status`: shows nodes and the marks of their sequences.

use super::node::summary;
use crate::Error;
use crate::node::{PeerError, Peers};
use artisanal_quorum::{MAX_KEYS, NodeState, Read, Status};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A bound on the pages of one node's list, which is more than a node has.
const PAGES: usize = 1000;

/// A node that takes part.
struct Serving<'a> {
    address: &'a str,
    group: u64,
}

/// The marks of one sequence, by node; Err with the reason for those that could not be read.
struct Row {
    key: String,
    marks: Vec<Result<Option<i64>, Error>>,
}

/// Describes nodes, then the marks of one sequence or of so many.
pub(super) async fn status(
    peers: &Peers,
    nodes: &[String],
    key: Option<&str>,
    most: usize,
) -> Result<String, Error> {
    let mut text = String::new();
    let mut failed = Vec::new();
    let mut serving = Vec::new();
    let found = join_all(nodes.iter().map(|node| peers.status(node))).await;
    for (address, found) in nodes.iter().zip(found) {
        let line = match found {
            Ok(status) => {
                serving.extend(Serving::of(address, &status));
                format!("node {}: {}", status.node, summary(&status))
            }
            Err(error) => {
                let reason = error.reason.to_string();
                failed.push(error);
                reason
            }
        };
        text += &format!("{address}  {line}\n");
    }
    if failed.len() == nodes.len() {
        return Err(no_status(&failed));
    }
    let groups: BTreeSet<u64> = serving.iter().map(|node| node.group).collect();
    for group in groups {
        let members: Vec<_> = serving.iter().filter(|node| node.group == group).collect();
        text += &sequences(peers, &members, key, most).await;
    }
    Ok(text)
}

/// The error when every node failed.
fn no_status(failed: &[PeerError]) -> Error {
    let reasons: Vec<_> = failed.iter().map(ToString::to_string).collect();
    let text = format!("no node reports its status: {}", reasons.join("; "));
    if failed.iter().any(PeerError::is_denied) {
        Error::Denied(text)
    } else {
        Error::Unavailable(text)
    }
}

impl<'a> Serving<'a> {
    fn of(address: &'a str, status: &Status) -> Option<Self> {
        (status.state == NodeState::Serving).then_some(Self {
            address,
            group: status.group,
        })
    }
}

/// The marks in one group.
async fn sequences(
    peers: &Peers,
    nodes: &[&Serving<'_>],
    key: Option<&str>,
    most: usize,
) -> String {
    let (keys, further) = match (key, most) {
        (Some(key), _) => (vec![key.to_owned()], 0),
        (None, 0) => return String::new(),
        (None, most) => {
            let lists = join_all(nodes.iter().map(|node| list(peers, node.address))).await;
            // A node whose list cannot be read has its error in place of its marks.
            let all: BTreeSet<String> = lists.into_iter().flatten().flatten().collect();
            let further = all.len().saturating_sub(most);
            (all.into_iter().take(most).collect(), further)
        }
    };
    let mut text = String::new();
    for part in keys.chunks(MAX_KEYS) {
        let read = Read {
            after: None,
            keys: part.to_vec(),
        };
        let reports = join_all(nodes.iter().map(|node| peers.read(node.address, &read))).await;
        for (index, key) in part.iter().enumerate() {
            let mark = |report: &Result<artisanal_quorum::Report, PeerError>| match report {
                Ok(report) => Ok(report.marks.get(index).copied().flatten()),
                Err(error) => Err(error.reason.clone()),
            };
            let row = Row {
                key: key.clone(),
                marks: reports.iter().map(mark).collect(),
            };
            text += &row.describe(nodes);
        }
    }
    if further > 0 {
        text += &format!(
            "{further} more sequences (--keys COUNT shows more of them, --key KEY one of them)\n"
        );
    }
    text
}

/// All keys of a node.
async fn list(peers: &Peers, address: &str) -> Result<Vec<String>, PeerError> {
    let mut keys = Vec::new();
    let mut read = Read {
        after: Some(String::new()),
        keys: Vec::new(),
    };
    for _ in 0..PAGES {
        let page = peers.read(address, &read).await?;
        read.after = page.next_page().cloned();
        keys.extend(page.listed);
        if read.after.is_none() {
            break;
        }
    }
    Ok(keys)
}

impl Row {
    fn describe(&self, nodes: &[&Serving<'_>]) -> String {
        let known = self.marks.iter().flatten().flatten();
        let greatest = known.copied().max();
        let mut text = format!("sequence {}\n", self.key);
        for (node, mark) in nodes.iter().zip(&self.marks) {
            let address = node.address;
            // Marks are 0 or more, so the difference cannot overflow.
            let lag = |mark: i64| greatest.unwrap_or(0).saturating_sub(mark);
            let _ = match mark {
                Ok(Some(mark)) => {
                    writeln!(text, "  {address}  mark {mark}, lag {}", lag(*mark))
                }
                Ok(None) => writeln!(text, "  {address}  no mark, lag {}", lag(0)),
                Err(reason) => writeln!(text, "  {address}  mark unknown: it {reason}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_distance_to_the_greatest_mark_that_was_read() {
        let nodes = ["a:1", "b:1", "c:1"].map(|address| Serving { address, group: 1 });
        let nodes: Vec<_> = nodes.iter().collect();
        let row = Row {
            key: "k".into(),
            marks: vec![Ok(Some(7)), Ok(Some(i64::MAX)), Ok(None)],
        };
        assert_eq!(
            row.describe(&nodes),
            "sequence k\n  a:1  mark 7, lag 9223372036854775800\n  \
             b:1  mark 9223372036854775807, lag 0\n  c:1  no mark, lag 9223372036854775807\n"
        );
        let down = Error::Unavailable("does not answer: connection refused".into());
        let row = Row {
            key: "k".into(),
            marks: vec![Ok(None), Err(down), Ok(Some(4))],
        };
        let text = row.describe(&nodes);
        assert!(text.contains("a:1  no mark, lag 4"), "{text}");
        assert!(
            text.contains("b:1  mark unknown: it does not answer: connection refused\n"),
            "{text}"
        );
    }
}
