//! One claim at all nodes, and the rounds of requests that it takes.

use crate::flight::Flights;
use crate::node::{Node, NodeFault};
use crate::pace::{Pace, patience};
use artisanal_quorum::{Answer, Ballot, Disagreement};
use engine_guest::Error;
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// What nodes are asked.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    /// To take an interval.
    Claim {
        /// Its first integer.
        first: i64,
        /// Its last integer.
        last: i64,
    },
    /// To take that many integers above the node's mark.
    Advance(u32),
    /// To say what the mark is.
    Read,
}

/// A request to the nodes, with the answers so far. Nodes that failed can be asked again: what the others have answered
/// still counts.
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) command: Command,
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
    pub(crate) fn new(number: u64, command: Command, ballot: Ballot) -> Self {
        Self {
            number,
            command,
            open: (0..ballot.asked()).collect(),
            ballot,
            newer: None,
        }
    }

    /// Whether a node refused because others were faster.
    pub(crate) fn is_contested(&self) -> bool {
        match self.command {
            Command::Claim { first, .. } => self.ballot.has_refused(first),
            Command::Advance(_) | Command::Read => false,
        }
    }
}

/// What one node said.
pub(crate) struct Vote {
    /// The number of the attempt.
    pub(crate) attempt: u64,
    /// The number of the node.
    pub(crate) index: usize,
    pub(crate) result: Result<Answer, NodeFault>,
    /// How long the answer took.
    pub(crate) took: Duration,
}

impl Vote {
    /// The number of the node, its identity, and how long the answer took, if a node of this group answered an earlier request.
    pub(crate) fn late(&self, group: Option<u64>) -> Option<(usize, u64, Duration)> {
        let answer = self.result.as_ref().ok()?;
        (Some(answer.group) == group).then_some((self.index, answer.node, self.took))
    }
}

/// A node that is asked before the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Its number.
    pub(crate) index: usize,
    /// How long the others wait for its answer.
    pub(crate) patience: Duration,
}

/// One round of requests.
pub(crate) struct Round<'a, A> {
    attempt: &'a mut Attempt,
    nodes: &'a [Node],
    flights: &'a mut Flights,
    /// Makes the request to a node, at this time.
    request: A,
    /// When it began.
    begun: Instant,
    /// How long it may take.
    limit: Duration,
    /// The time at which something was done last.
    now: Instant,
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
}

impl<'a, A, V> Round<'a, A>
where
    A: Fn(usize, Instant) -> V,
    V: Future<Output = Vote> + 'static,
{
    /// A round that begins now. `limit` is the time that is left.
    pub(crate) fn new(
        attempt: &'a mut Attempt,
        nodes: &'a [Node],
        flights: &'a mut Flights,
        limit: Duration,
        request: A,
    ) -> Self {
        let now = Instant::now();
        // Those of earlier rounds, which nobody waits for any longer.
        flights.end_late(now);
        Self {
            attempt,
            nodes,
            flights,
            request,
            begun: now,
            limit,
            now,
            asked: Vec::new(),
            heard: Heard::default(),
            refusal: None,
        }
    }

    /// Asks all nodes that have not answered, at once. Collects votes until the ballot is decided, a newer member list is
    /// heard of, all nodes have answered or failed, or the time is over.
    pub(crate) async fn run(mut self, decided: impl Fn(&Ballot) -> bool) -> Result<Heard, Error> {
        if !self.is_over(&decided) {
            self.ask_all(&decided).await;
        }
        if !self.is_over(&decided)
            && !self.attempt.is_contested()
            && let Some(refusal) = self.refusal
        {
            return Err(refusal);
        }
        Ok(self.heard)
    }

    /// Asks one node, and waits for it for a limited time.
    pub(crate) async fn run_first(mut self, First { index, patience }: First) -> Heard {
        self.ask(index);
        let end = self.begun + patience;
        while self.flights.is_busy(index) {
            match self.next(end, false).await {
                Some(vote) => self.count(vote),
                None => break,
            }
        }
        self.heard
    }

    /// A node that still works on an earlier request when the round begins sits out: a slow one has one request at a
    /// time. It is asked if another node fails or refuses, or if the others take longer than usual; and if they take much
    /// longer, even if it has still not answered the earlier request, which is then given up.
    async fn ask_all(&mut self, decided: impl Fn(&Ballot) -> bool) {
        let paces = || self.nodes.iter().map(|node| &node.pace);
        let longer = paces().filter_map(Pace::hedge).min().unwrap_or_default();
        let longer = self.begun + longer.min(self.limit / 4);
        let much_longer = paces().map(Pace::longest).min().unwrap_or_default();
        let much_longer = self.begun + much_longer.min(self.limit / 4);
        let end = self.begun + self.limit;
        self.ask_idle();
        while !self.is_over(&decided) {
            if self.now >= longer || self.has_failed() {
                self.ask_idle();
            }
            let sitting = self.unasked();
            if sitting.is_empty() && !self.flights.any_of(self.attempt.number) {
                return;
            }
            let contested = self.attempt.is_contested();
            let waits = self.now >= longer || self.has_failed();
            let until = if contested {
                // Not worth a long wait for a node that may have failed.
                self.now + patience(self.now - self.begun)
            } else if sitting.is_empty() {
                end
            } else if !waits {
                longer
            } else {
                much_longer
            };
            match self.next(until.min(end), waits).await {
                Some(vote) => self.count(vote),
                None if self.now >= end => return self.give_up(),
                None if contested => return,
                None if self.now >= much_longer => {
                    sitting.into_iter().for_each(|index| self.ask(index));
                }
                // Those that are idle are asked now.
                None => {}
            }
        }
    }

    /// Ends the requests that have got no answer in time.
    fn give_up(&mut self) {
        for index in self.flights.end_late(self.now) {
            if self.asked.contains(&index) {
                let why = format!("no answer within {} ms", self.limit.as_millis());
                self.heard.failures.push((index, why));
            }
        }
    }

    /// Asks the nodes that were not asked and work on nothing else, the slowest first. A node that runs on the client's
    /// own processor interrupts the client as soon as it is asked, and so is the fastest: if it were not asked last, the
    /// others would be asked only after it has answered.
    fn ask_idle(&mut self) {
        let mut idle = self.unasked();
        idle.retain(|index| !self.flights.is_busy(*index));
        idle.sort_by_key(|index| Reverse(self.nodes.get(*index).and_then(|node| node.pace.trip())));
        idle.into_iter().for_each(|index| self.ask(index));
    }

    /// Whether a node that was asked will not help.
    fn has_failed(&self) -> bool {
        !self.heard.failures.is_empty() || self.refusal.is_some() || self.attempt.is_contested()
    }

    /// The nodes that have not answered and were not asked in this round.
    fn unasked(&self) -> Vec<usize> {
        let open = self.attempt.open.iter().copied();
        open.filter(|index| !self.asked.contains(index)).collect()
    }

    fn ask(&mut self, index: usize) {
        self.asked.push(index);
        let request = (self.request)(index, self.now);
        let end = self.begun + self.limit;
        self.flights.begin(index, self.attempt.number, end, request);
    }

    fn is_over(&self, decided: impl Fn(&Ballot) -> bool) -> bool {
        let attempt = &self.attempt;
        decided(&attempt.ballot)
            || attempt.newer.is_some()
            || attempt.ballot.other_group().is_some()
    }

    /// The next vote; None if there is none until then. `eager` is as for [`Flights::next`].
    async fn next(&mut self, until: Instant, eager: bool) -> Option<Vote> {
        let vote = self.flights.next(until, eager).await;
        self.now = Instant::now();
        vote
    }

    fn count(&mut self, vote: Vote) {
        if vote.attempt != self.attempt.number {
            let late = vote.late(self.attempt.ballot.group());
            return self.heard.answers.extend(late);
        }
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
                let address = self.nodes.get(vote.index).map(|node| &*node.address);
                self.refusal = Some(Error::Denied(format!(
                    "the nodes in the DSN do not form one group: {}: {why}; list every member of one group \
                     once (`int-host node status` shows them)",
                    address.unwrap_or_default()
                )));
            }
        }
    }
}
