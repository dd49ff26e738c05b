//! Sequences in rqlite, over its HTTP API.
//!
//! DSN: `http://[user:password@]host[:4001][,host2[:4001]…]`; `https://…` if the host of this
//! component offers TLS; or `rqlite://…`, which is the same as `http://…`. The default is
//! `http://localhost:4001`. The parameter `timeout` limits one operation, including attempts at several
//! nodes (default 2 s). The user needs rqlite's permissions `execute` and `query`; with `status` as
//! well, the engine learns the other nodes of the cluster.
//!
//! # The table
//!
//! One table holds all sequences, one row each. It is created if it does not exist:
//!
//! ```sql
//! CREATE TABLE artisanal_integers (name TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL)
//!     STRICT, WITHOUT ROWID
//! ```
//!
//! `name` is the sequence's key and `mark` the greatest integer taken. Rows may already exist; a table
//! with other columns is an error. To continue from integers that were minted elsewhere, set the last
//! one with `set-last`.
//!
//! One statement advances the mark and returns it; another raises it and returns the resulting mark.
//! Each goes through the Raft log, so each is atomic in the whole cluster. Answers are parsed without
//! floats, and a sum beyond 9223372036854775807 changes nothing.
//!
//! # Faults
//!
//! Any node can be used, because nodes forward to their leader. If a node does not answer, or has no
//! leader to forward to, the next one is tried, with backoff until the deadline; redirects are neither
//! requested nor followed. A request whose answer was lost may have taken effect: its integers are
//! never handed out. Nodes that are not in the DSN are learned from the cluster and tried after those
//! of the DSN.
//!
//! An integer handed out is in the log of a majority of the nodes, synced to disk: it survives the
//! loss of any minority of them, and a crash of all (C9). It does not survive the restore of an older
//! backup.

mod codec;
mod fault;
mod http;
mod nodes;

use codec::{Answer, Request};
use engine_guest::deadline;
use engine_guest::retry::Retry;
use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use engine_http_client::sleep;
use fault::Fault;
use http::Client;
use nodes::{Node, Nodes};
use std::time::{Duration, Instant};

/// The pause after all nodes failed once; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How often the member list is fetched while the sequence is in use.
const LEARN_EVERY: Duration = Duration::from_secs(30);

/// The timeout of that fetch. Nodes that are down make the cluster's answer slow.
const LEARN_LIMIT: Duration = Duration::from_millis(300);

/// One sequence in one cluster.
struct Rqlite {
    name: Key,
    client: Client,
    nodes: Nodes,
    timeout: Duration,
    /// The greatest mark seen. The mark of a sequence never goes down.
    seen: i64,
    /// Why the engine may not reach a learned node, for the error message if the others fail too.
    refused: Option<String>,
    /// When to fetch the member list; None before the first answer, because a sequence that is used
    /// only once does not need it.
    learn_at: Option<Instant>,
}

impl Engine for Rqlite {
    const OFFSET: i64 = 1;
    const DSN: Option<&'static str> = Some("http://localhost:4001");
    const SCHEMES: &'static [&'static str] = &["http", "https", "rqlite"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        dsn.only_params(&["timeout"])
            .map_err(|e| Error::Invalid(e.to_string()))?;
        if !dsn.path().is_empty() {
            return Err(Error::Invalid(
                "the DSN has a path; rqlite has only one database, so remove the path".into(),
            ));
        }
        Ok(Self {
            name: key,
            client: Client::new(&dsn)?,
            nodes: Nodes::new(&dsn)?,
            timeout: deadline::timeout(&dsn)?,
            seen: i64::MIN,
            refused: None,
            learn_at: None,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        match self.call(Request::Advance(by)).await? {
            Answer::Mark(mark) => Ok(mark),
            Answer::NoRow => Err(exhausted()),
            Answer::NoTable => Err(no_table()),
        }
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        match self.call(Request::Read).await? {
            Answer::Mark(mark) => Ok(Some(mark)),
            Answer::NoRow | Answer::NoTable => Ok(None),
        }
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        match self.call(Request::Claim { first, last }).await? {
            Answer::Mark(mark) if mark == last => return Ok(()),
            Answer::NoRow => {}
            Answer::Mark(_) => return Err(unclaimed()),
            Answer::NoTable => return Err(no_table()),
        }
        // The mark is not below `first`, and marks never go down.
        match self.call(Request::Read).await? {
            Answer::Mark(mark) if mark >= first => Err(Error::TooSmall(mark)),
            Answer::Mark(_) | Answer::NoRow => Err(unclaimed()),
            Answer::NoTable => Err(no_table()),
        }
    }
}

fn unclaimed() -> Error {
    Error::Other(
        "rqlite did not raise the mark; does a trigger on artisanal_integers, or another client, \
         interfere?"
            .into(),
    )
}

fn no_table() -> Error {
    Error::Other(
        "rqlite created the table artisanal_integers and then did not find it; does another \
         client drop it?"
            .into(),
    )
}

impl Rqlite {
    /// Tries one node after another until one answers.
    async fn call(&mut self, request: Request) -> Result<Answer, Error> {
        let mut retry =
            Retry::within(self.timeout, "rqlite").with_pauses(FIRST_PAUSE, LONGEST_PAUSE);
        let deadline = retry.deadline();
        self.learn_if_due().await;
        let mut create = false;
        loop {
            let mut useless = None;
            let mut passing = false;
            for untried in (0..self.nodes.count()).rev() {
                let (Some(left), Some(node)) = (deadline.left(), self.nodes.first()) else {
                    return Err(self.late(&retry));
                };
                // Unless this is the last node to try, it gets only half of the remaining time.
                let limit = if untried == 0 { left } else { left / 2 };
                let mut result = self.ask(&node, request, create, limit).await;
                if result == Ok(Answer::NoTable) && request != Request::Read && !create {
                    create = true;
                    let limit = deadline.left().unwrap_or_default().min(limit);
                    result = self.ask(&node, request, create, limit).await;
                }
                match result {
                    Ok(answer) => {
                        self.answered(answer, !retry.has_failed());
                        return Ok(answer);
                    }
                    Err(Fault::Final(error)) if !node.learned => return Err(error),
                    Err(Fault::Final(error) | Fault::Node(error)) => {
                        let error = located(error, &node);
                        retry.failed(text(&error));
                        match (node.learned, error) {
                            (false, error) => useless = Some(error),
                            (true, Error::Denied(reason)) => self.refused = Some(reason),
                            (true, _) => {}
                        }
                        self.nodes.useless();
                    }
                    Err(Fault::Passing(reason)) => {
                        retry.failed(format!("{}: {reason}", node.address));
                        passing = true;
                        self.nodes.failed();
                    }
                }
            }
            if let Some(error) = useless.filter(|_| !passing) {
                return Err(error);
            }
            if retry.check().is_err() {
                return Err(self.late(&retry));
            }
            sleep(retry.next_pause()).await;
        }
    }

    /// Sends a request to one node. The answer of a learned node is checked against the greatest mark
    /// seen: it may not belong to this cluster at all, see [`Nodes`].
    async fn ask(
        &self,
        node: &Node,
        request: Request,
        create: bool,
        limit: Duration,
    ) -> Result<Answer, Fault> {
        let name = self.name.as_str();
        if node.learned && matches!(request, Request::Claim { .. }) {
            // The answer to a claim does not show what the mark was before.
            Box::pin(self.ask(node, Request::Read, create, limit)).await?;
        }
        let answer = self.client.ask(node, request, name, create, limit).await?;
        let least = match request {
            Request::Advance(by) => self.seen.saturating_add(by),
            Request::Claim { .. } | Request::Read => self.seen,
        };
        let known = match answer {
            Answer::Mark(mark) => mark >= least,
            Answer::NoRow => request != Request::Read || self.seen == i64::MIN,
            Answer::NoTable => self.seen == i64::MIN,
        };
        if node.learned && !known {
            return Err(Fault::Node(Error::Other(
                "this node, which the cluster lists, has a lower mark than the cluster".into(),
            )));
        }
        Ok(answer)
    }

    fn answered(&mut self, answer: Answer, at_once: bool) {
        if let Answer::Mark(mark) = answer {
            self.seen = self.seen.max(mark);
        }
        if self.learn_at.is_none() || !at_once {
            self.learn_at = Some(Instant::now());
        }
    }

    /// Fetches the member list if it is old, or if nodes failed since. A failure is ignored: the known
    /// nodes are kept.
    async fn learn_if_due(&mut self) {
        let now = Instant::now();
        let (Some(at), Some(node)) = (self.learn_at, self.nodes.first()) else {
            return;
        };
        if at > now {
            return;
        }
        self.learn_at = now.checked_add(LEARN_EVERY);
        let limit = LEARN_LIMIT.min(self.timeout / 4);
        if let Ok(members) = self.client.members(&node, limit).await {
            self.nodes.learn(&members);
        }
    }

    fn late(&self, retry: &Retry) -> Error {
        match (retry.late(), &self.refused) {
            (Error::Unavailable(text), Some(refused)) => Error::Unavailable(format!(
                "{text}; the cluster has more nodes, but: {refused}"
            )),
            (late, _) => late,
        }
    }
}

/// Prefixes the message with the address of the node.
fn located(error: Error, node: &Node) -> Error {
    let at = |text: String| format!("{}: {text}", node.address);
    match error {
        Error::Denied(text) => Error::Denied(at(text)),
        Error::Other(text) => Error::Other(at(text)),
        error => error,
    }
}

fn text(error: &Error) -> String {
    match error {
        Error::Invalid(text)
        | Error::Exhausted(text)
        | Error::Denied(text)
        | Error::Unavailable(text)
        | Error::Other(text) => text.clone(),
        Error::TooSmall(mark) => mark.to_string(),
    }
}

engine_guest::export!(Rqlite);
