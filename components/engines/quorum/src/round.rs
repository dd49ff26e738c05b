//! One claim at all nodes, and the rounds of requests that it takes.

use crate::node::{Node, NodeFault};
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
}

/// The requests of one round, in flight.
pub(crate) struct Round<'a, V> {
    votes: FuturesUnordered<V>,
    attempt: &'a mut Attempt,
    /// Why nodes failed in this round.
    failures: Vec<(usize, String)>,
    /// A failure that a retry does not mend. It matters only if there is no majority without that node.
    refusal: Option<Error>,
}

impl<'a, V: Future<Output = Vote>> Round<'a, V> {
    pub(crate) fn new(votes: Vec<V>, attempt: &'a mut Attempt) -> Self {
        Self {
            votes: votes.into_iter().collect(),
            attempt,
            failures: Vec::new(),
            refusal: None,
        }
    }

    /// Collects votes until the ballot is decided, a newer member list is heard of, or all nodes have answered
    /// or failed. Returns why nodes failed.
    pub(crate) async fn run(
        mut self,
        nodes: &[Node],
        decided: impl Fn(&Ballot) -> bool,
    ) -> Result<Vec<(usize, String)>, Error> {
        let begun = Instant::now();
        while !decided(&self.attempt.ballot) && self.attempt.newer.is_none() {
            let Some(vote) = self.votes.next().await else {
                break;
            };
            self.count(vote);
        }
        if !decided(&self.attempt.ballot)
            && self.attempt.newer.is_none()
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
        Ok(self.failures)
    }

    /// Whether a node that usually answers in time has neither answered nor failed.
    fn waits_for_any(&self, nodes: &[Node]) -> bool {
        self.attempt.open.iter().any(|index| {
            let failed = self.failures.iter().any(|(at, _)| at == index);
            !failed && nodes.get(*index).is_some_and(|n| n.late < PATIENT_ROUNDS)
        })
    }

    fn count(&mut self, vote: Vote) {
        match vote.result {
            Ok(answer) => match self.attempt.ballot.add(answer) {
                Ok(()) => self.attempt.open.retain(|index| *index != vote.index),
                Err(Disagreement::Newer { epoch, addresses }) => {
                    let known = self.attempt.newer.as_ref();
                    if known.is_none_or(|known| known.epoch < epoch) {
                        self.attempt.newer = Some(NewerList { epoch, addresses });
                    }
                }
                Err(why @ Disagreement::Behind(_)) => {
                    self.failures.push((vote.index, why.to_string()));
                }
                Err(why) => {
                    self.attempt.open.retain(|index| *index != vote.index);
                    self.refusal = Some(Error::Denied(format!(
                        "the nodes in the DSN do not form one group: {why}; list every member of one \
                         group once (`int-host node status` shows them)"
                    )));
                }
            },
            Err(NodeFault::Passing(why)) => self.failures.push((vote.index, why)),
            Err(NodeFault::Final(error)) => self.refusal = Some(error),
        }
    }
}
