//! Requests to the nodes.

use crate::pace::Pace;
use crate::round::{Attempt, First, Heard, Round, Vote};
use crate::settings::Settings;
use artisanal_quorum::{Answer, Ballot, Claim, FIRST_EPOCH};
use engine_guest::retry::Retry;
use engine_guest::{Error, Key};
use engine_http_client::{Failure, Method, Quoter, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::{Duration, Instant};

/// The maximum size of an answer, in bytes: an order of magnitude above the longest.
const MOST: usize = 16 * 1024;

/// All nodes of a group, and the path of one sequence.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    path: String,
    authorization: Option<Vec<u8>>,
    quoter: Quoter,
    /// The group whose majority answered first. The nodes of another one know nothing of its integers.
    group: Option<u64>,
    /// The number of the member list for which claims are made: the newest that a node told of.
    epoch: u64,
    /// The one for which a majority answered last.
    proven: u64,
    /// The members of a list that is newer than the first one that was tried, for errors.
    members: Vec<String>,
}

/// One node.
pub(crate) struct Node {
    pub(crate) address: String,
    /// How many rounds in a row it answered too late to be waited for.
    pub(crate) late: u32,
    /// Its identity, once it has answered.
    id: Option<u64>,
    pace: Pace,
}

impl Nodes {
    pub(crate) fn new(settings: Settings, key: &Key) -> Self {
        let key = utf8_percent_encode(key.as_str(), NON_ALPHANUMERIC);
        Self {
            path: format!("/v1/sequences/{key}/claim"),
            authorization: settings
                .token
                .as_ref()
                .map(|token| format!("Bearer {token}").into_bytes()),
            quoter: Quoter::new(settings.token),
            nodes: settings
                .nodes
                .into_iter()
                .map(|address| Node {
                    address,
                    late: 0,
                    id: None,
                    pace: Pace::default(),
                })
                .collect(),
            group: None,
            epoch: FIRST_EPOCH,
            proven: FIRST_EPOCH,
            members: Vec::new(),
        }
    }

    /// Begins an operation. A member list that the last one heard of without finding a majority for it is
    /// forgotten: the node that told of it may be none of the group.
    pub(crate) fn begin(&mut self) {
        self.epoch = self.proven;
    }

    /// A claim, or with None a read, that no node was asked for yet.
    pub(crate) fn attempt(&self, claim: Option<Claim>) -> Attempt {
        Attempt::new(claim, self.nodes.len(), self.group, self.epoch)
    }

    /// Asks all nodes that have not answered yet until the ballot is decided: at once, or if it is `queued` the
    /// first node before the others. If one of them tells of a newer member list, all are asked anew, for that one.
    pub(crate) async fn ask(
        &mut self,
        attempt: &mut Attempt,
        queued: bool,
        decided: impl Fn(&Ballot) -> bool,
        retry: &mut Retry,
    ) -> Result<(), Error> {
        loop {
            self.ask_once(attempt, queued, &decided, retry).await?;
            let Some(newer) = attempt.newer.take() else {
                return Ok(());
            };
            // A decided ballot is for an older list, but what it decided was true.
            if decided(&attempt.ballot) {
                return Ok(());
            }
            self.epoch = newer.epoch;
            self.members = newer.addresses;
            *attempt = self.attempt(attempt.claim.take());
            retry.check()?;
        }
    }

    /// The node that clients which queue ask first: the one with the smallest identity among those that answer in
    /// time. All clients choose the same one, in whatever order their DSNs list the nodes.
    fn first(&self, left: Duration) -> Option<First> {
        let now = Instant::now();
        let usable = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let patience = node.pace.patience(now)?.min(left / 4);
            Some((node.id?, First { index, patience }))
        });
        usable.min_by_key(|(id, _)| *id).map(|(_, first)| first)
    }

    async fn ask_once(
        &mut self,
        attempt: &mut Attempt,
        queued: bool,
        decided: impl Fn(&Ballot) -> bool,
        retry: &mut Retry,
    ) -> Result<(), Error> {
        let body = attempt
            .claim
            .as_ref()
            .map(|claim| serde_json::to_vec(claim).unwrap_or_default());
        let (method, path) = match body {
            Some(_) => (Method::Post, self.path.clone()),
            None => (
                Method::Get,
                format!("{}?epoch={}", self.path, attempt.ballot.epoch()),
            ),
        };
        let left = || retry.left();
        let ask = |index: usize| {
            let request = Request {
                method,
                secure: false,
                authority: self.nodes.get(index).map_or("", |node| &node.address),
                path: &path,
                authorization: self.authorization.as_deref(),
                body: body.as_deref(),
            };
            vote(index, request, left(), &self.quoter)
        };
        let first = if queued && !attempt.spread {
            self.first(left())
        } else {
            None
        };
        let round = Round::new(attempt);
        let heard = round.run(&self.nodes, first, ask, decided).await?;
        self.note(&heard, first);
        if !heard.failures.is_empty() {
            retry.failed(self.reasons(&heard));
        }
        if attempt.ballot.is_read() {
            self.group = attempt.ballot.group();
            self.proven = attempt.ballot.epoch();
        }
        Ok(())
    }

    /// Remembers how the nodes answered.
    fn note(&mut self, heard: &Heard, first: Option<First>) {
        for (index, id, took) in &heard.answers {
            if let Some(node) = self.nodes.get_mut(*index) {
                node.late = 0;
                node.id = Some(*id);
                node.pace.answered(*took);
            }
        }
        let failed = heard.failures.iter().map(|(index, _)| index);
        for index in heard.silent.iter().chain(failed) {
            if let Some(node) = self.nodes.get_mut(*index) {
                node.late = node.late.saturating_add(1);
            }
        }
        if let Some(first) = first.filter(|_| heard.missed)
            && let Some(node) = self.nodes.get_mut(first.index)
        {
            node.pace.missed(Instant::now());
        }
    }

    /// Why nodes failed.
    fn reasons(&self, heard: &Heard) -> String {
        let reasons = heard.failures.iter();
        let mut list: Vec<_> = reasons
            .filter_map(|(index, why)| Some(format!("{}: {why}", self.nodes.get(*index)?.address)))
            .collect();
        if !self.members.is_empty() {
            list.push(format!(
                "the members of the group are {}, all of which the DSN should list",
                self.quoter.quote(&self.members.join(","))
            ));
        }
        list.join("; ")
    }
}

/// Sends the request to one node.
async fn vote(index: usize, request: Request<'_>, limit: Duration, quoter: &Quoter) -> Vote {
    let begun = Instant::now();
    let result = match request.send(limit, MOST, quoter).await {
        Ok(answer) => match answer.status {
            200 | 409 => parse(&answer.body),
            401 | 403 => Err(NodeFault::Final(Error::Denied(format!(
                "the node {} denies access (HTTP status {}): give the nodes' token in the DSN, \
                 `quorum://TOKEN@…`",
                request.authority, answer.status
            )))),
            status => Err(NodeFault::Passing(problem(status, &answer.body, quoter))),
        },
        Err(Failure::Denied) => Err(NodeFault::Final(Error::Denied(format!(
            "the host does not let the engine reach {}; allow it, with int-host by `--allow-host {0}`",
            request.authority
        )))),
        Err(Failure::Late(limit)) => Err(NodeFault::Passing(format!(
            "no answer within {} ms",
            limit.as_millis()
        ))),
        Err(Failure::Passing(why)) => Err(NodeFault::Passing(why)),
        Err(failure) => Err(NodeFault::Passing(format!("{failure:?}"))),
    };
    Vote {
        index,
        result,
        took: begun.elapsed().min(limit),
    }
}

/// Why a node has no vote.
pub(crate) enum NodeFault {
    /// It may vote later.
    Passing(String),
    /// A retry is useless.
    Final(Error),
}

fn parse(body: &[u8]) -> Result<Answer, NodeFault> {
    serde_json::from_slice(body).map_err(|_| {
        NodeFault::Passing(
            "the answer is not a node's; is this the port of `int-host node`?".into(),
        )
    })
}

/// The detail of a problem document, or the status alone.
fn problem(status: u16, body: &[u8], quoter: &Quoter) -> String {
    let detail = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    match detail {
        Some(detail) => quoter.quote(&detail),
        None => format!("HTTP status {status}"),
    }
}
