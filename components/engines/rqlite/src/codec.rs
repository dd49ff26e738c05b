//! Encodes requests to rqlite and decodes its answers: SQL and JSON, no I/O.

use crate::fault::Fault;
use engine_guest::Error;
use engine_http_client::Quoter;
use serde::Deserialize;
use serde_json::json;

/// rqlite's own SQL parser decides which statements return rows, and assumes none for statements
/// that it cannot parse, so no column may be named like a keyword, such as `key`.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS artisanal_integers \
    (name TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// SQLite silently converts an integer sum that overflows to a float, so the statement changes no row,
/// and returns none, if the sum does not fit. A mark that is not an integer, in a table created without
/// STRICT, is returned as null: rqlite prints some floats exactly like integers.
const ADVANCE: &str = "INSERT INTO artisanal_integers (name, mark) VALUES (CAST(? AS TEXT), ?) \
    ON CONFLICT (name) DO UPDATE SET mark = mark + excluded.mark \
    WHERE mark <= 9223372036854775807 - excluded.mark \
    RETURNING CASE typeof(mark) WHEN 'integer' THEN mark END AS mark";

/// Returns no row if the mark is not below the last parameter.
const CLAIM: &str = "INSERT INTO artisanal_integers (name, mark) VALUES (CAST(? AS TEXT), ?) \
    ON CONFLICT (name) DO UPDATE SET mark = excluded.mark WHERE mark < ? \
    RETURNING CASE typeof(mark) WHEN 'integer' THEN mark END AS mark";

const READ: &str = "SELECT CASE typeof(mark) WHEN 'integer' THEN mark END AS mark \
    FROM artisanal_integers WHERE name = CAST(? AS TEXT)";

const NO_TABLE: &str = "no such table: artisanal_integers";

/// One operation on one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Adds this, 1 or more, to the mark.
    Advance(i64),
    /// Sets the mark to `last` if it is below `first` or missing.
    Claim { first: i64, last: i64 },
    /// Reads the mark.
    Read,
}

/// The cluster's answer about the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The mark after the operation.
    Mark(i64),
    /// The statement ran and returned no row.
    NoRow,
    /// The table does not exist yet.
    NoTable,
}

impl Request {
    /// The path, to which query parameters can be appended.
    ///
    /// Reads are `strong`: they go through the Raft log like the writes. With `weak`, a deposed leader
    /// may return stale data; with `linearizable`, reads in rqlite 8.43.4 hang after a change of the
    /// cluster's members until the next write.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Advance(_) | Self::Claim { .. } => "/db/execute?",
            Self::Read => "/db/query?level=strong&",
        }
    }

    /// The body: the statement for the sequence with this name, preceded by one that creates the table
    /// if `create` is set.
    pub(crate) fn body(self, name: &str, create: bool) -> Vec<u8> {
        let name = blob(name);
        let statement = match self {
            Self::Advance(by) => json!([ADVANCE, name, by]),
            Self::Claim { first, last } => json!([CLAIM, name, last, first]),
            Self::Read => json!([READ, name]),
        };
        if create {
            json!([[CREATE], statement])
        } else {
            json!([statement])
        }
        .to_string()
        .into_bytes()
    }
}

/// A text as the parameter `x'…'`, which rqlite decodes to bytes. It would also decode any plain text
/// of that form, so that the names `x'61'` and `X'61'` would be the same.
fn blob(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = text
        .bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| HEX.get(usize::from(nibble)))
        .map(|digit| char::from(*digit));
    ["x'", &digits.collect::<String>(), "'"].concat()
}

/// The answer to [`Request::body`]. `serde_json` parses an `i64` exactly and rejects floats for it.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    error: Option<String>,
    /// Absent if the statement was not run as one that returns rows.
    #[serde(default)]
    columns: Option<Vec<String>>,
    /// Absent if there are no rows.
    #[serde(default)]
    values: Vec<Vec<Option<i64>>>,
}

/// Parses the body of an answer with status 200.
pub(crate) fn answer(body: &[u8], quoter: &Quoter) -> Result<Answer, Fault> {
    let mut reply: Reply = parse(body, quoter)?;
    // Raft's errors: not the leader, leadership lost, leader not reached, not ready yet. The
    // statement may have been applied, or may still be.
    if let Some(error) = reply.error {
        return Err(Fault::Passing(quoter.quote(&error)));
    }
    for outcome in &reply.results {
        match outcome.error.as_deref() {
            None => {}
            Some(NO_TABLE) => return Ok(Answer::NoTable),
            Some(busy) if busy.starts_with("database is locked") => {
                return Err(Fault::Passing(quoter.quote(busy)));
            }
            Some(error) => {
                return Err(Fault::Final(Error::Other(format!(
                    "rqlite rejected the statement on the table artisanal_integers: {}",
                    quoter.quote(error)
                ))));
            }
        }
    }
    let Some(Outcome {
        columns: Some(_),
        values,
        ..
    }) = reply.results.pop()
    else {
        return Err(Fault::Node(Error::Other(
            "rqlite answered without the row that the statement returns; it must be a version \
             that supports RETURNING, such as 8.43.4"
                .into(),
        )));
    };
    match values.as_slice() {
        [] => Ok(Answer::NoRow),
        [row] => match row.as_slice() {
            [Some(mark)] => Ok(Answer::Mark(*mark)),
            _ => Err(Fault::Final(Error::Other(
                "the mark in the table artisanal_integers is not an integer; the column must be \
                 `mark INTEGER NOT NULL` in a STRICT table"
                    .into(),
            ))),
        },
        rows => Err(Fault::Final(Error::Other(format!(
            "rqlite answered with {} rows instead of one",
            rows.len()
        )))),
    }
}

/// A node in the cluster's member list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its HTTP address, as a URL.
    pub(crate) url: String,
    pub(crate) leader: bool,
}

#[derive(Deserialize)]
struct Members {
    nodes: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    /// Absent for nodes that could not be reached.
    #[serde(default)]
    api_addr: Option<String>,
    #[serde(default)]
    leader: bool,
}

/// Parses the body of an answer to `/nodes?ver=2`.
pub(crate) fn members(body: &[u8], quoter: &Quoter) -> Result<Vec<Member>, Fault> {
    let members: Members = parse(body, quoter)?;
    Ok(members
        .nodes
        .into_iter()
        .filter_map(|node| {
            Some(Member {
                url: node.api_addr?,
                leader: node.leader,
            })
        })
        .collect())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], quoter: &Quoter) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            return Fault::Passing("the answer was cut off".into());
        }
        Fault::Node(Error::Other(format!(
            "the answer is not from rqlite: {}; does the DSN name an rqlite node's HTTP port?",
            quoter.quote(&error.to_string())
        )))
    })
}

#[cfg(test)]
mod tests;
