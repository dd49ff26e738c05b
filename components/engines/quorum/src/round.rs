//! One claim at all nodes, and the rounds of requests that it takes.

use crate::node::{Node, NodeFault};
use crate::pace::patience;
use artisanal_quorum::{Answer, Ballot, Claim, Disagreement};
use engine_guest::Error;
use engine_http_client::sleep;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use std::pin::pin;
use std::time::{Duration, Instant};

/// The longest time that a decided round waits for further answers. A request that is dropped before
/// its answer arrives costs its connection; a node that fails or lags costs nobody more than this.
const GRACE: Duration = Duration::from_millis(2);

/// After this many rounds in a row without an answer in time, a node is not waited for.
const PATIENT_ROUNDS: u32 = 3;

/// A claim, or a read of the mark, with the answers so far. Nodes that failed can be asked again: what
/// the others have answered still counts.
pub(crate) struct Attempt {
    /// None only reads the mark.
    pub(crate) claim: Option<Claim>,
    pub(crate) ballot: Ballot,
    /// The numbers of the nodes that have not answered.
    pub(crate) open: Vec<usize>,
    /// Whether more than one node was asked.
    pub(crate) spread: bool,
    /// The member list of which a node told that is newer than that of the claim.
    pub(crate) newer: Option<NewerList>,
}

/// A member list, as a node describes it.
pub(crate) struct NewerList {
    pub(crate) epoch: u64,
    pub(crate) addresses: Vec<String>,
}

impl Attempt {
    pub(crate) fn new(claim: Option<Claim>, nodes: usize, group: Option<u64>, epoch: u64) -> Self {
        Self {
            claim: claim.map(|claim| Claim { epoch, ..claim }),
            ballot: Ballot::new(nodes, group, epoch),
            open: (0..nodes).collect(),
            spread: false,
            newer: None,
        }
    }

    /// Whether a node refused because others were faster.
    pub(crate) fn is_contested(&self) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|claim| self.ballot.has_refused(claim.first))
    }
}

/// What one node said.
pub(crate) struct Vote {
    /// The number of the node.
    pub(crate) index: usize,
    pub(crate) result: Result<Answer, NodeFault>,
    /// How long that took.
    pub(crate) took: Duration,
}

/// A node that is asked before the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Its number.
    pub(crate) index: usize,
    /// How long the others wait for its answer.
    pub(crate) patience: Duration,
}

/// The requests of one round, in flight.
pub(crate) struct Round<'a, V> {
    votes: FuturesUnordered<V>,
    attempt: &'a mut Attempt,
    /// The numbers of the nodes that were asked.
    asked: Vec<usize>,
    heard: Heard,
    /// A failure that a retry does not mend. It matters only if there is no majority without that node.
    refusal: Option<Error>,
}

/// What a round has found out about the nodes.
#[derive(Default)]
pub(crate) struct Heard {
    /// Those that answered: the number of each, its identity, and how long it took.
    pub(crate) answers: Vec<(usize, u64, Duration)>,
    /// Why others failed.
    pub(crate) failures: Vec<(usize, String)>,
    /// Those that were asked and have neither answered nor failed.
    pub(crate) silent: Vec<usize>,
    /// The others were asked without an answer of the one that was asked before them.
    pub(crate) missed: bool,
}

impl<'a, V: Future<Output = Vote>> Round<'a, V> {
    pub(crate) fn new(attempt: &'a mut Attempt) -> Self {
        Self {
            votes: FuturesUnordered::new(),
            attempt,
            asked: Vec::new(),
            heard: Heard::default(),
            refusal: None,
        }
    }

    /// Asks all nodes that have not answered, at once, or one of them first. Collects votes until the ballot is
    /// decided, a newer member list is heard of, or all nodes have answered or failed.
    ///
    /// If the first one refuses because others were faster, the others are not asked. If it answers too late, they
    /// are; its vote still counts if it comes.
    pub(crate) async fn run(
        mut self,
        nodes: &[Node],
        first: Option<First>,
        ask: impl Fn(usize) -> V,
        decided: impl Fn(&Ballot) -> bool,
    ) -> Result<Heard, Error> {
        if let Some(First { index, patience }) = first {
            self.ask(index, &ask);
            if let Either::Left((Some(vote), _)) =
                select(self.votes.next(), pin!(sleep(patience))).await
            {
                self.count(vote);
            }
            if self.attempt.is_contested() {
                return Ok(self.heard);
            }
            self.heard.missed = self.heard.answers.is_empty();
        }
        let begun = Instant::now();
        if !self.is_over(&decided) {
            self.attempt.spread = true;
            for index in self.attempt.open.clone() {
                if !self.asked.contains(&index) {
                    self.ask(index, &ask);
                }
            }
        }
        while !self.is_over(&decided) {
            let Some(vote) = self.next(begun).await else {
                break;
            };
            self.count(vote);
        }
        if !self.is_over(&decided)
            && !self.attempt.is_contested()
            && let Some(refusal) = self.refusal
        {
            return Err(refusal);
        }
        let end = Instant::now() + begun.elapsed().min(GRACE);
        while self.waits_for_any(nodes) {
            let left = end.saturating_duration_since(Instant::now());
            match select(self.votes.next(), pin!(sleep(left))).await {
                Either::Left((Some(vote), _)) => self.count(vote),
                _ => break,
            }
        }
        let Self {
            mut heard,
            asked,
            attempt,
            ..
        } = self;
        let failed = |index: &usize| heard.failures.iter().any(|(at, _)| at == index);
        let silent = asked
            .into_iter()
            .filter(|index| attempt.open.contains(index) && !failed(index));
        heard.silent = silent.collect();
        Ok(heard)
    }

    fn ask(&mut self, index: usize, ask: impl Fn(usize) -> V) {
        self.asked.push(index);
        self.votes.push(ask(index));
    }

    fn is_over(&self, decided: impl Fn(&Ballot) -> bool) -> bool {
        decided(&self.attempt.ballot) || self.attempt.newer.is_some()
    }

    /// The next vote. A claim that some node refused is not worth a long wait for a node that may have failed.
    async fn next(&mut self, begun: Instant) -> Option<Vote> {
        if !self.attempt.is_contested() {
            return self.votes.next().await;
        }
        let left = patience(begun.elapsed());
        match select(self.votes.next(), pin!(sleep(left))).await {
            Either::Left((vote, _)) => vote,
            Either::Right(_) => None,
        }
    }

    /// Whether a node that usually answers in time has neither answered nor failed.
    fn waits_for_any(&self, nodes: &[Node]) -> bool {
        self.attempt.open.iter().any(|index| {
            let failed = self.heard.failures.iter().any(|(at, _)| at == index);
            !failed && nodes.get(*index).is_some_and(|n| n.late < PATIENT_ROUNDS)
        })
    }

    fn count(&mut self, vote: Vote) {
        let answer = match vote.result {
            Ok(answer) => answer,
            Err(NodeFault::Passing(why)) => return self.heard.failures.push((vote.index, why)),
            Err(NodeFault::Final(error)) => return self.refusal = Some(error),
        };
        let node = answer.node;
        match self.attempt.ballot.add(answer) {
            Ok(()) => {
                self.attempt.open.retain(|index| *index != vote.index);
                self.heard.answers.push((vote.index, node, vote.took));
            }
            Err(Disagreement::Newer { epoch, addresses }) => {
                let known = self.attempt.newer.as_ref();
                if known.is_none_or(|known| known.epoch < epoch) {
                    self.attempt.newer = Some(NewerList { epoch, addresses });
                }
            }
            Err(why @ Disagreement::Behind(_)) => {
                self.heard.failures.push((vote.index, why.to_string()));
            }
            Err(why) => {
                self.attempt.open.retain(|index| *index != vote.index);
                self.refusal = Some(Error::Denied(format!(
                    "the nodes in the DSN do not form one group: {why}; list every member of one \
                     group once (`int-host node status` shows them)"
                )));
            }
        }
    }
}
