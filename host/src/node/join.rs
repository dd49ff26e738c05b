//! How a node takes its place again after it may have forgotten marks.
//!
//! The order is what makes it safe (`docs/quorum.md`): the new incarnation is stored at a majority's worth
//! of the *other* members first, and only then their marks are read. So whatever was accepted under the
//! old incarnation is either among the marks that are read, or is not counted by anybody who hears of the
//! new one.

use super::claims::without_backend;
use super::file::Record;
use super::member::{EPOCH, IDENTITY, INCARNATION, Node, PROMISED, SESSION, check_members};
use super::state::{Cause, State};
use crate::Error;
use artisanal_quorum::{
    Describe, FIRST_EPOCH, Join, MAX_KEYS, Member, NodeState, Read, Report, Status, majority,
};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often a node whose backend was restarted tries to join again.
const RETRY: Duration = Duration::from_millis(500);

impl Node {
    /// Takes this node's place in its group again, without anything that it remembers. It takes no part until
    /// this has succeeded.
    ///
    /// A node that takes part, and has all that its backend acknowledged, goes on as it is. The message may be one that was
    /// repeated, or meant for another node: if it stopped taking part while a member is lost, neither of two of three
    /// members could join again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too few other members answer, [`Error::Denied`] when this node belongs to
    /// another group; otherwise as its backend.
    pub async fn join(&self, described: Describe) -> Result<Status, Error> {
        let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
        check_members(&described)?;
        let group = self.state().described.group;
        if group != 0 && group != described.group {
            return Err(Error::Denied(format!("this node belongs to group {group}")));
        }
        if self.takes_part(&described).await? {
            return Ok(self.status());
        }
        let before = self.update(|state| {
            let before = state.clone();
            state.now = NodeState::Joining;
            state.reason = Some("it is joining its group again".into());
            state.cause = Some(Cause::Joining);
            before
        });
        if before.is_newcomer(&described) {
            match self.take_first_place(&before, &described).await {
                Ok(true) => return Ok(self.status()),
                Ok(false) => {}
                Err(error) => {
                    // It has never taken part, and still has nothing to forget.
                    self.update(|state| {
                        state.now = NodeState::New;
                        state.reason = Some(format!("it could not join its group: {error}"));
                        state.cause = Some(Cause::NotJoined);
                    });
                    return Err(error);
                }
            }
        }
        let joined = self.recover(described).await;
        if let Err(error) = &joined {
            self.update(|state| {
                state.now = NodeState::Lost;
                state.reason = Some(format!("it could not join its group again: {error}"));
                state.cause = Some(Cause::NotJoined);
                state.rejoins = before.rejoins;
            });
        }
        joined.map(|()| self.status())
    }

    /// Whether the node takes part as this member in this list, or in a later one. Asks the backend whether it still has what
    /// it acknowledged.
    async fn takes_part(&self, described: &Describe) -> Result<bool, Error> {
        let state = self.state();
        let Describe { node, epoch, .. } = described;
        if state.now != NodeState::Serving
            || state.described.node != *node
            || state.epoch() < *epoch
        {
            return Ok(false);
        }
        let checked = self.still(&state).await;
        if self.state().now != NodeState::Serving {
            return Ok(false);
        }
        checked.map(|_| true).map_err(without_backend)
    }

    /// Makes a new node the member that the list in force says it is: it missed the end of its replacement. Returns false
    /// if other members know of an incarnation. Then another process has been this member, and may have accepted claims.
    ///
    /// This process chose its node number at random and has accepted nothing, so it has no marks to read again. If it asked
    /// a majority, two nodes that need each other's answer to join would wait for ever. With `2f + 1` members, `f` of the
    /// others are enough. A join of another process has been stored at `f + 1` of them, and so has any later change of the
    /// list, during which members answer no joins.
    async fn take_first_place(&self, before: &State, described: &Describe) -> Result<bool, Error> {
        self.check_owner(described).await?;
        let (others, join) = asking(described);
        let needed = (majority(described.members.len()) - 1).max(1);
        let (_, told) = self.ask(&others, &join, needed).await?;
        if newest_known(&told, described.node) > 0 {
            return Ok(false);
        }
        self.marks.raise(PROMISED, described.epoch).await?;
        let mut state = before.clone();
        state.described = described.clone();
        self.become_member(state).await?;
        tracing::info!("this node takes its place as a new member");
        Ok(true)
    }

    /// Checks that the backend is not another node's.
    async fn check_owner(&self, described: &Describe) -> Result<(), Error> {
        let owner = self.marks.number(IDENTITY).await?;
        if owner != 0 && owner != described.node {
            return Err(Error::Denied(format!(
                "the backend belongs to node {owner}; give node {} an empty one",
                described.node
            )));
        }
        Ok(())
    }

    async fn recover(&self, described: Describe) -> Result<(), Error> {
        let marks = &self.marks;
        // The backend may have lost what these have seen.
        marks.close_all();
        let generation = Self::generation(marks).await?;
        self.check_owner(&described).await?;
        let needed = majority(described.members.len());
        let (others, mut join) = asking(&described);

        // 1. The newest incarnation that anybody knows of.
        let (others, told) = self.ask(&others, &join, needed).await?;
        let promised = told.iter().map(|report| report.promised).max();
        let newest = newest_known(&told, described.node);
        // Members begin at 1, which nobody is told of.
        let own = self
            .state()
            .incarnation
            .max(marks.number(INCARNATION).await?);
        join.incarnation = newest.max(own).max(1) + 1;

        // 2. and 3. Store the new one at them, then read what they know.
        let mut known = BTreeMap::new();
        let mut keys = BTreeSet::new();
        let mut after = Some(String::new());
        while after.is_some() {
            join.read.after = after;
            let (_, told) = self.ask(&others, &join, needed).await?;
            // Lists end at different keys: what is beyond the end of the shortest full page is listed again.
            after = told.iter().filter_map(Report::next_page).min().cloned();
            keys.extend(told.iter().flat_map(|report| report.listed.clone()));
            merge(&mut known, newest_of(&told, described.node));
        }
        let keys: Vec<String> = keys.into_iter().collect();
        join.read.after = None;
        for part in keys.chunks(MAX_KEYS) {
            join.read.keys = part.to_vec();
            let (_, told) = self.ask(&others, &join, needed).await?;
            self.keys.add(part.iter().map(String::as_str))?;
            let mut greatest = Vec::new();
            for (index, key) in part.iter().enumerate() {
                let marks = told.iter().filter_map(|report| *report.marks.get(index)?);
                greatest.extend(marks.max().map(|mark| (key.clone(), mark)));
            }
            marks.raise_all(&greatest).await?;
            merge(&mut known, newest_of(&told, described.node));
        }

        // 4. Store it all, and take part. A change of the member list that this node has heard of before counts no
        // more than what else it may have forgotten: if it went on, enough others know of it.
        self.learn(&known).await?;
        marks.raise(PROMISED, promised.unwrap_or(0)).await?;
        marks.raise(INCARNATION, join.incarnation).await?;
        marks.raise(IDENTITY, described.node).await?;
        let mut state = State::clone(&self.state());
        state.now = NodeState::Serving;
        state.reason = None;
        state.cause = None;
        state.rejoins = false;
        state.reached = marks.number(EPOCH).await?.max(described.epoch);
        state.described = described;
        state.open = None;
        state.incarnation = join.incarnation;
        if let Some(record) = self.file.read()? {
            // On an emptied backend the number would begin anew, and an older copy that comes back later could have a
            // greater one.
            marks
                .raise(SESSION, u64::try_from(record.session).unwrap_or(0))
                .await?;
        }
        state.session = Self::begin_session(marks).await?;
        state.generation = generation;
        if Self::generation(marks).await? != state.generation {
            return Err(Error::Unavailable(
                "the backend was restarted meanwhile".into(),
            ));
        }
        self.file.write(&Record::of(&state))?;
        marks.raise(EPOCH, state.reached).await?;
        self.update(|now| *now = state);
        tracing::info!(
            incarnation = join.incarnation,
            "this node has joined its group again"
        );
        Ok(())
    }

    /// Sends a message to some members at once, and returns those that answered, which are `needed` or more.
    async fn ask(
        &self,
        members: &[Member],
        join: &Join,
        needed: usize,
    ) -> Result<(Vec<Member>, Vec<Report>), Error> {
        let asked = members.iter().map(|member| async move {
            let answer = self.peers.joining(&member.address, join).await;
            (member, answer)
        });
        let mut answered = Vec::new();
        let mut answers = Vec::new();
        let mut failures = Vec::new();
        for (member, answer) in join_all(asked).await {
            match answer {
                Ok(joined) if joined.node == member.node => {
                    answered.push(member.clone());
                    answers.push(joined);
                }
                Ok(joined) => failures.push(format!(
                    "{} is node {} and not {}",
                    member.address, joined.node, member.node
                )),
                Err(error) => failures.push(error.to_string()),
            }
        }
        if answered.len() < needed {
            return Err(Error::Unavailable(format!(
                "{needed} other members have to answer, and {} did: {}",
                answered.len(),
                failures.join("; ")
            )));
        }
        Ok((answered, answers))
    }

    /// Joins the group again by itself whenever only the backend's restart made the node lose its place, and takes
    /// newer member lists from the other members.
    pub async fn keep_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RETRY).await;
            self.catch_up().await;
            let state = self.state();
            if state.now == NodeState::Lost && state.rejoins {
                match self.join(state.described.clone()).await {
                    Ok(_) | Err(Error::Busy) => {}
                    Err(error) => tracing::warn!("cannot join the group again yet: {error}"),
                }
            }
        }
    }
}

/// The other members, and the message that asks them what they know of this node.
fn asking(described: &Describe) -> (Vec<Member>, Join) {
    let others = described.members.iter();
    let others = others.filter(|member| member.node != described.node);
    let members = match described.epoch {
        FIRST_EPOCH => Vec::new(),
        _ => described.members.clone(),
    };
    let join = Join {
        group: described.group,
        epoch: described.epoch,
        node: described.node,
        incarnation: 0,
        members,
        read: Read::default(),
    };
    (others.cloned().collect(), join)
}

/// The newest incarnation of a node in the answers; 0 if none is known.
fn newest_known(told: &[Report], node: u64) -> u64 {
    let known = told.iter().filter_map(|report| report.known.get(&node));
    known.max().copied().unwrap_or(0)
}

/// The newest incarnations in the answers, without that of the node itself.
fn newest_of(told: &[Report], node: u64) -> BTreeMap<u64, u64> {
    let mut newest = BTreeMap::new();
    for joined in told {
        merge(&mut newest, joined.known.clone());
        merge(&mut newest, [(joined.node, joined.incarnation)].into());
    }
    newest.remove(&node);
    newest
}

fn merge(newest: &mut BTreeMap<u64, u64>, other: BTreeMap<u64, u64>) {
    for (node, incarnation) in other {
        let entry = newest.entry(node).or_default();
        *entry = (*entry).max(incarnation);
    }
}
