//! Replaces a member of a group by a new node.
//!
//! The order is what makes it safe (`docs/quorum.md`): the new epoch is stored at a majority of the old list
//! and of the new one, which take no claims of older epochs from then on; only then marks are read there; and a
//! majority of the new list has them before the new list is in force. Each step can be repeated, so
//! that an interrupted replacement goes on when the same command runs again.

mod marks;

use super::peers::{PeerError, Peers};
use super::view::{Lists, Plan, View};
use crate::Error;
use artisanal_quorum::{Change, Changed, List, Member, Step, Tally};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long one step may take, with its repetitions.
const LIMIT: Duration = Duration::from_secs(20);

/// The pause before nodes that failed are asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a step waits for further nodes when enough have answered.
const GRACE: Duration = Duration::from_millis(100);

/// How often the replacement begins again because another one was faster.
const TRIES: usize = 20;

/// Who has to answer a step.
const MAJORITIES: &str = "a majority of the old and of the new members has to answer";

/// Who has to answer before a change begins.
const NEW_MEMBERS: &str = "the new member has to answer before the others hear of the change";

/// How many marks one message raises: each is a commit, and all of them have to be made before it times out.
const RAISED: usize = 32;

/// What a replacement has achieved.
#[derive(Debug)]
pub struct Replaced {
    /// The member list in force.
    pub list: List,
    /// The members that have not heard of it. They will from the others, apart from the new one.
    pub missed: Vec<String>,
}

/// Puts the node at `new` in the place of the member at `old`. The addresses are those at which members reach each
/// other; `via` is a member that is up. When it fails, the same call can be made again. Until it has succeeded, nothing may
/// be minted.
///
/// # Errors
/// [`Error::Invalid`] when `old` is no member, [`Error::Denied`] when `new` belongs to a group already, or another
/// change has begun, [`Error::Unavailable`] when too few nodes answer.
pub async fn replace(peers: &Peers, old: &str, new: &str, via: &str) -> Result<Replaced, Error> {
    for _ in 0..TRIES {
        let view = View::of(peers, via, new).await?;
        let missed = match view.plan(old, new)? {
            Plan::Done => {
                let group = Group { peers, view: &view };
                let missed = group.finish(&view.base, &view.behind(&view.base)).await;
                group.complete(&view.base).await;
                missed
            }
            Plan::Change(target) => match (Group { peers, view: &view }).change(target).await? {
                Some(replaced) if replaced.list.members.iter().any(|m| m.address == new) => {
                    return Ok(replaced);
                }
                Some(_) => continue,
                None => {
                    sleep(PAUSE + Duration::from_millis(peers.random() % 500)).await;
                    continue;
                }
            },
        };
        return Ok(Replaced {
            list: view.base,
            missed,
        });
    }
    Err(Error::Unavailable(
        "other changes of the members were faster each time; try again".into(),
    ))
}

/// A group whose members are changed.
struct Group<'a> {
    peers: &'a Peers,
    view: &'a View,
}

impl Group<'_> {
    /// Makes these the members; None if another change was faster.
    async fn change(&self, target: Vec<Member>) -> Result<Option<Replaced>, Error> {
        let base = &self.view.base;
        let epoch = match &self.view.open {
            // It may be in force already, or nearly. Going on with the same number is a repetition.
            Some(open) => open.epoch,
            None => match self.propose(&target, base.epoch + 1).await? {
                Some(epoch) => epoch,
                None => return Ok(None),
            },
        };
        let mut next = List {
            epoch,
            members: target,
        };
        let mut begun = self.begin(&next).await?;
        if begun.is_none() && self.view.open.is_some() {
            // The number is outdated: a majority has promised a greater one to somebody else.
            let Some(epoch) = self.propose(&next.members, epoch + 1).await? else {
                return Ok(None);
            };
            next.epoch = epoch;
            begun = self.begin(&next).await?;
        }
        let Some(nodes) = begun else {
            return Ok(None);
        };
        let lists = Lists { base, next: &next };
        let Some(marks) = self.read(&lists, &nodes).await? else {
            return Ok(None);
        };
        for part in marks.needed.chunks(RAISED) {
            let step = raise(next.epoch, part);
            let enough = |tally: &Tally| tally.is_accepted(&[&next.members]);
            if self
                .gather(&next.members, &step, MAJORITIES, enough)
                .await?
                .is_err()
            {
                return Ok(None);
            }
        }
        let missed = self.finish(&next, &lists.all()).await;
        if next.members.iter().all(|m| missed.contains(&m.address)) {
            return Ok(None);
        }
        self.fill(&next, marks.lacking).await;
        let is_member = |address: &String| next.members.iter().any(|m| m.address == *address);
        Ok(Some(Replaced {
            missed: missed.into_iter().filter(is_member).collect(),
            list: next,
        }))
    }

    /// Claims an epoch for the change to these members, at a majority of all lists that may be in force. None if
    /// another change has to be looked at first.
    async fn propose(&self, target: &[Member], least: u64) -> Result<Option<u64>, Error> {
        let base = &self.view.base;
        let mut epoch = least;
        let next = List {
            epoch,
            members: target.to_vec(),
        };
        let lists = Lists { base, next: &next };
        // A node that was never told of the group has promised nothing.
        let (asked, needed): (Vec<Member>, Vec<&[Member]>) = match &self.view.open {
            Some(_) => (lists.all(), lists.both().to_vec()),
            None => (base.members.clone(), vec![&base.members]),
        };
        for _ in 0..TRIES {
            let step = Step::Propose { epoch };
            let enough = |tally: &Tally| tally.is_accepted(&needed);
            let found = self.gather(&asked, &step, MAJORITIES, enough).await?;
            let (Ok(tally) | Err(tally)) = &found;
            if tally.answers().any(|a| a.list.epoch > base.epoch) {
                return Ok(None);
            }
            let opens = tally.answers().filter_map(|answer| answer.open.as_ref());
            let newest = opens.max_by_key(|open| open.epoch);
            let known = self.view.open.as_ref().map(|open| open.epoch);
            if let Some(open) = newest
                && known.is_none_or(|known| known < open.epoch)
            {
                return if open.members == target {
                    Ok(None)
                } else {
                    Err(self.view.other_change(open))
                };
            }
            if found.is_ok() {
                return Ok(Some(epoch));
            }
            let promised = tally.answers().map(|answer| answer.report.promised);
            epoch = promised.max().unwrap_or(0).max(epoch).saturating_add(1);
        }
        Ok(None)
    }

    /// Stores the change at new members. Before that a restart would make them other nodes, so a change that has begun
    /// without them could need nodes that are not there any more. If they do not answer, the group goes on as it was.
    async fn tell_new_members(&self, next: &List, step: &Step) -> Result<(), Error> {
        let base = &self.view.base;
        let new = next.members.iter().filter(|m| !base.contains(m.node));
        let new: Vec<Member> = new.cloned().collect();
        let enough = |tally: &Tally| new.iter().all(|member| tally.has_accepted(member.node));
        // One that refuses has stored another change.
        let _ = self.gather(&new, step, NEW_MEMBERS, enough).await?;
        Ok(())
    }

    /// Stores the change at a majority of both lists. Returns the nodes that have; None if they refuse.
    async fn begin(&self, next: &List) -> Result<Option<Vec<Member>>, Error> {
        let lists = Lists {
            base: &self.view.base,
            next,
        };
        let step = Step::Begin {
            base: lists.base.clone(),
            next: next.clone(),
        };
        if self.view.open.is_none() {
            self.tell_new_members(next, &step).await?;
        }
        let both = lists.both();
        let enough = |tally: &Tally| tally.is_accepted(&both);
        let Ok(tally) = self.gather(&lists.all(), &step, MAJORITIES, enough).await? else {
            return Ok(None);
        };
        let accepted = tally.answers().filter(|answer| answer.accepted);
        let accepted: BTreeSet<u64> = accepted.map(|answer| answer.report.node).collect();
        let all = lists.all().into_iter();
        Ok(Some(all.filter(|m| accepted.contains(&m.node)).collect()))
    }

    /// Tells these nodes that the list is in force. Returns the addresses of those that have not heard it.
    async fn finish(&self, next: &List, nodes: &[Member]) -> Vec<String> {
        let step = Step::Finish { next: next.clone() };
        // All of them, each for as long as one request may take.
        let mut told: FuturesUnordered<_> = nodes.iter().map(|m| self.tell(m, &step)).collect();
        let mut missed: BTreeMap<u64, String> = BTreeMap::new();
        while let Some((member, _, answer)) = told.next().await {
            if !answer.is_ok_and(|answer| answer.accepted) {
                missed.insert(member.node, member.address.clone());
            }
        }
        missed.into_values().collect()
    }

    /// Sends a step to nodes until enough have accepted it; `who` says which have to. Err has the answers if nodes
    /// refuse it.
    async fn gather(
        &self,
        nodes: &[Member],
        step: &Step,
        who: &str,
        enough: impl Fn(&Tally) -> bool,
    ) -> Result<Result<Tally, Tally>, Error> {
        let deadline = Instant::now() + LIMIT;
        let mut tally = Tally::default();
        loop {
            let mut failures = Vec::new();
            // Those that have accepted are asked again only if what they accepted does not count.
            let accepted = |m: &Member| tally.has_accepted(m.node);
            let all = nodes.iter().all(accepted);
            let open: Vec<_> = nodes.iter().filter(|m| all || !accepted(m)).collect();
            let asked = open.into_iter().map(|member| self.tell(member, step));
            let mut asked: FuturesUnordered<_> = asked.collect();
            let mut end = deadline;
            while let Ok(Some((member, change, answer))) = timeout_at(end, asked.next()).await {
                // Only the last answer of a node counts.
                tally.remove(member.node);
                match answer {
                    Ok(answer) => {
                        if !tally.add(&change, answer) {
                            failures.push(format!(
                                "{} answers something else than it was asked for",
                                member.address
                            ));
                        }
                    }
                    Err(error) => failures.push(error.to_string()),
                }
                if end == deadline && enough(&tally) {
                    end = deadline.min(Instant::now() + GRACE);
                }
            }
            if enough(&tally) {
                return Ok(Ok(tally));
            }
            if tally.answers().any(|answer| !answer.accepted) {
                return Ok(Err(tally));
            }
            if Instant::now() + PAUSE > deadline {
                return Err(Error::Unavailable(format!(
                    "{who}: {}",
                    failures.join("; ")
                )));
            }
            sleep(PAUSE).await;
        }
    }

    async fn tell<'m>(
        &self,
        member: &'m Member,
        step: &Step,
    ) -> (&'m Member, Change, Result<Changed, PeerError>) {
        let change = Change {
            group: self.view.group,
            node: member.node,
            step: step.clone(),
        };
        let answer = self.peers.change(&member.address, &change).await;
        (member, change, answer)
    }
}

fn raise(epoch: u64, marks: &[(String, i64)]) -> Step {
    Step::Raise {
        epoch,
        marks: marks.to_vec(),
    }
}
