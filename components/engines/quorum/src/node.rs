//! Requests to the nodes.

use crate::flight::Flights;
use crate::pace::Pace;
use crate::round::{Attempt, Command, First, Heard, Round, Vote};
use crate::settings::Settings;
use crate::transport::Transport;
use artisanal_quorum::{Advance, Answer, Ballot, Claim, FIRST_EPOCH};
use engine_guest::Error;
use engine_guest::retry::Retry;
use engine_http_client::{Failure, Method, Quoter, Request};
use futures::future::LocalBoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The maximum size of an answer, in bytes: an order of magnitude above the longest.
const MOST: usize = 16 * 1024;

/// All nodes of a group, and the path of one sequence.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    flights: Flights,
    common: Rc<Common>,
    /// How many attempts there were.
    attempts: u64,
    /// The group of a majority, once it has answered. The nodes of another one know nothing of its integers.
    group: Option<u64>,
    /// The number of the member list for which claims are made: the newest that a node told of.
    epoch: u64,
    /// The one for which a majority answered last.
    proven: u64,
    /// The members of a list that is newer than the first one that was tried, for errors.
    members: Vec<String>,
}

/// What all requests share.
struct Common {
    path: String,
    authorization: Option<Vec<u8>>,
    quoter: Quoter,
    transport: Transport,
}

/// One node.
pub(crate) struct Node {
    pub(crate) address: Rc<str>,
    /// Its identity, once it has answered.
    id: Option<u64>,
    pub(crate) pace: Pace,
}

impl Nodes {
    pub(crate) fn new(settings: Settings) -> Self {
        let key = utf8_percent_encode(&settings.key, NON_ALPHANUMERIC);
        let authorization = settings
            .token
            .as_ref()
            .map(|token| format!("Bearer {token}").into_bytes());
        Self {
            flights: Flights::new(settings.nodes.len()),
            common: Rc::new(Common {
                path: format!("/v1/sequences/{key}"),
                authorization,
                quoter: Quoter::new(settings.token),
                transport: Transport::default(),
            }),
            nodes: settings
                .nodes
                .into_iter()
                .map(|address| Node {
                    address: address.into(),
                    id: None,
                    pace: Pace::default(),
                })
                .collect(),
            attempts: 0,
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
        // How fast a node is that always answers after a majority is known only from these.
        for vote in self.flights.begin_operation() {
            if let Some((index, node, took)) = vote.late(self.group) {
                self.note_answer(index, node, took);
            }
        }
    }

    /// Ends an operation.
    pub(crate) fn end(&mut self) {
        self.flights.end_operation();
    }

    /// A request that no node has answered yet.
    pub(crate) fn attempt(&mut self, command: Command) -> Attempt {
        let ballot = Ballot::new(self.nodes.len(), self.group, self.epoch);
        Attempt::new(self.next_number(), command, ballot)
    }

    fn next_number(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// Asks all nodes that have not answered yet until the ballot is decided. All are asked anew if one of them tells of a
    /// newer member list, for that one; and if a majority belongs to another group than the node that answered first.
    pub(crate) async fn ask(
        &mut self,
        attempt: &mut Attempt,
        decided: impl Fn(&Ballot) -> bool,
        retry: &mut Retry,
    ) -> Result<(), Error> {
        loop {
            let round = self.round(attempt, retry.left());
            let heard = round.run(&decided).await?;
            self.note(&heard, retry);
            if attempt.ballot.is_read() {
                self.group = attempt.ballot.group();
                self.proven = attempt.ballot.epoch();
            }
            let newer = attempt.newer.take();
            // A decided ballot may be for an older list, but what it decided was true.
            if decided(&attempt.ballot) {
                return Ok(());
            }
            if let Some(group) = attempt.ballot.other_group() {
                self.settle(group);
            } else if let Some(newer) = newer {
                self.epoch = newer.epoch;
                self.members = newer.addresses;
            } else {
                return Ok(());
            }
            *attempt = self.attempt(attempt.command);
            retry.check()?;
        }
    }

    /// Settles which group the nodes belong to. What the node told that answered first was about another one.
    fn settle(&mut self, group: u64) {
        self.group = Some(group);
        self.epoch = self.proven;
        self.members.clear();
        for node in &mut self.nodes {
            node.id = None;
        }
    }

    /// Lets the node that clients which queue ask first take the next `count` integers. Returns the claim of the same
    /// integers, for the other nodes; None if that node did not answer in time, or if they are not above `mark`.
    pub(crate) async fn advance_first(
        &mut self,
        count: u32,
        mark: i64,
        retry: &mut Retry,
    ) -> Option<Attempt> {
        let first = self.first(retry.left())?;
        let mut attempt = self.attempt(Command::Advance(count));
        let round = self.round(&mut attempt, retry.left());
        let heard = round.run_first(first).await;
        self.note(&heard, retry);
        let Some(last) = attempt.ballot.mark() else {
            if let Some(node) = self.nodes.get_mut(first.index) {
                node.pace.missed(Instant::now());
            }
            return None;
        };
        let begin = last.checked_sub(i64::from(count) - 1)?;
        if begin <= mark {
            return None;
        }
        // A number of its own: a vote on the advance that comes later must not count for the claim.
        attempt.number = self.next_number();
        attempt.command = Command::Claim { first: begin, last };
        Some(attempt)
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

    /// A round of requests within `limit`.
    fn round<'a>(
        &'a mut self,
        attempt: &'a mut Attempt,
        limit: Duration,
    ) -> Round<'a, impl Fn(usize, Instant) -> LocalBoxFuture<'static, Vote> + use<'a>> {
        let message = Rc::new(Message::of(attempt, &self.common.path));
        let number = attempt.number;
        let (nodes, common) = (&self.nodes, &self.common);
        let request = move |index: usize, asked: Instant| -> LocalBoxFuture<'static, Vote> {
            let address = nodes.get(index).map(|node| Rc::clone(&node.address));
            let (message, common) = (Rc::clone(&message), Rc::clone(common));
            Box::pin(async move {
                let result = message
                    .send_to(&address.unwrap_or_default(), &common, limit)
                    .await;
                Vote {
                    attempt: number,
                    index,
                    result,
                    took: asked.elapsed(),
                }
            })
        };
        Round::new(attempt, &self.nodes, &mut self.flights, limit, request)
    }

    /// Remembers how the nodes answered.
    fn note(&mut self, heard: &Heard, retry: &mut Retry) {
        for (index, id, took) in &heard.answers {
            self.note_answer(*index, *id, *took);
        }
        if !heard.failures.is_empty() {
            retry.failed(self.reasons(heard));
        }
    }

    fn note_answer(&mut self, index: usize, id: u64, took: Duration) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.id = Some(id);
            node.pace.answered(took);
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
                self.common.quoter.quote(&self.members.join(","))
            ));
        }
        list.join("; ")
    }
}

/// What the nodes are asked in one round.
struct Message {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

impl Message {
    fn of(attempt: &Attempt, path: &str) -> Self {
        let epoch = attempt.ballot.epoch();
        match attempt.command {
            Command::Claim { first, last } => {
                Self::post(format!("{path}/claim"), &Claim { first, last, epoch })
            }
            Command::Advance(count) => {
                Self::post(format!("{path}/advance"), &Advance { count, epoch })
            }
            Command::Read => Self {
                method: Method::Get,
                path: format!("{path}/claim?epoch={epoch}"),
                body: None,
            },
        }
    }

    fn post(path: String, body: &impl Serialize) -> Self {
        Self {
            method: Method::Post,
            path,
            body: Some(serde_json::to_vec(body).unwrap_or_default()),
        }
    }

    /// Asks one node. The round gives the request up when its time is over; `limit` is for what the transport limits itself.
    async fn send_to(
        &self,
        node: &str,
        common: &Common,
        limit: Duration,
    ) -> Result<Answer, NodeFault> {
        let request = Request {
            method: self.method,
            secure: false,
            authority: node,
            path: &self.path,
            authorization: common.authorization.as_deref(),
            body: self.body.as_deref(),
        };
        let quoter = &common.quoter;
        match common.transport.send(&request, limit, MOST, quoter).await {
            Ok(answer) => match answer.status {
                200 | 409 => parse(&answer.body),
                401 | 403 => Err(NodeFault::Final(Error::Denied(format!(
                    "the node {node} denies access (HTTP status {}): give the nodes' token in the DSN, \
                     `quorum://TOKEN@…`",
                    answer.status
                )))),
                status => Err(NodeFault::Passing(problem(status, &answer.body, quoter))),
            },
            Err(Failure::Denied) => Err(NodeFault::Final(Error::Denied(format!(
                "the host does not let the engine reach {node}; allow it, with int-host by `--allow-host {node}`"
            )))),
            Err(Failure::Late(limit)) => Err(NodeFault::Passing(format!(
                "no answer within {} ms",
                limit.as_millis()
            ))),
            Err(Failure::Passing(why) | Failure::Protocol(why)) => Err(NodeFault::Passing(why)),
            Err(Failure::TooLong(most)) => Err(NodeFault::Passing(format!(
                "the answer is longer than {most} bytes; is this the port of `int-host node`?"
            ))),
            Err(failure) => Err(NodeFault::Passing(format!("{failure:?}"))),
        }
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
