//! A node's part in a change of the member list.
//!
//! A change that has begun is *open* at a node until it hears that the new list is in force. In the meantime the
//! node refuses claims of older epochs and answers no joins.

use super::claims::client_key;
use super::file::Record;
use super::member::{EPOCH, Node, PROMISED};
use super::state::{Cause, State, replaced};
use crate::Error;
use artisanal_quorum::{
    Change, Changed, List, MAX_KEYS, Member, NodeState, Read, Status, Step, majority,
};
use futures::future::{join, join_all};
use std::sync::atomic::Ordering;

impl Node {
    /// Does a step of a change of the member list, if that is the newest change that the node has heard of.
    ///
    /// # Errors
    /// [`Error::Invalid`] for lists that cannot be, [`Error::Denied`] when the message is for another node or group,
    /// [`Error::Unavailable`] when this node does not take part; otherwise as its backend.
    pub async fn change(&self, change: &Change) -> Result<Changed, Error> {
        let state = self.state();
        let described = &state.described;
        let is_new = state.now == NodeState::New;
        if change.node != described.node || (change.group != described.group && !is_new) {
            return Err(Error::Denied(format!(
                "this is node {} of group {}, not node {} of group {}",
                described.node, described.group, change.node, change.group
            )));
        }
        let nothing = Read::default();
        let mut read = &nothing;
        let accepted = match &change.step {
            Step::Propose { epoch } => {
                let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
                self.propose(*epoch).await?
            }
            Step::Begin { base, next } => {
                check(base)?;
                check(next)?;
                let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
                self.begin(change.group, base, next).await?
            }
            Step::Finish { next } => {
                check(next)?;
                let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
                self.finish(change.group, next).await?
            }
            Step::Read {
                epoch,
                read: wanted,
            } => {
                read = wanted;
                self.serving()?.epoch() == *epoch
            }
            Step::Raise { epoch, marks } => self.raise(*epoch, marks).await?,
        };
        // What a step has written is in the state that this reads: a claim that is still answered for an older
        // epoch was accepted before, and is in the marks that are read below.
        let now = self.serving()?;
        let incarnation = if is_new { 1 } else { state.incarnation };
        if now.incarnation != incarnation || now.session != state.session {
            return Err(Error::Unavailable(
                "this node has changed its incarnation".into(),
            ));
        }
        let report = self.report(&now, if accepted { read } else { &nothing });
        let report = report.await?;
        Ok(Changed {
            accepted,
            list: now.list(),
            open: now.open.clone(),
            report,
        })
    }

    async fn propose(&self, epoch: u64) -> Result<bool, Error> {
        if self.serving()?.epoch() >= epoch {
            return Ok(false);
        }
        let number = i64::try_from(epoch)
            .map_err(|_| Error::Invalid(format!("{epoch} is out of range for an epoch")))?;
        let promised = self.marks.reserved(PROMISED).await?;
        match promised.claim(number, number).await {
            Ok(()) => Ok(true),
            Err(Error::TooSmall(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, group: u64, base: &List, next: &List) -> Result<bool, Error> {
        let mut state = self.state();
        if state.now != NodeState::New {
            state = self.serving()?;
        }
        let mut state = State::clone(&state);
        let described = &mut state.described;
        if next.epoch <= base.epoch {
            return Err(Error::Invalid("the next list has no greater epoch".into()));
        }
        if !base.contains(described.node) && !next.contains(described.node) {
            return Err(Error::Denied(format!(
                "node {} is in neither list",
                described.node
            )));
        }
        let is_new = state.now == NodeState::New;
        if !is_new && described.epoch > base.epoch {
            return Ok(false);
        }
        let same = state.open.as_ref().filter(|o| o.epoch == next.epoch);
        if let Some(open) = same {
            return Ok(open.members == next.members);
        }
        let promised = self.marks.number(PROMISED).await?;
        if promised > next.epoch || (!is_new && next.epoch <= state.epoch()) {
            return Ok(false);
        }
        state.described.group = group;
        state.described.epoch = base.epoch;
        state.described.members.clone_from(&base.members);
        state.open = Some(next.clone());
        self.marks.raise(PROMISED, next.epoch).await?;
        if is_new {
            self.become_member(state).await?
        } else {
            self.store(state).await?
        }
        tracing::info!("a change of the members to {} begins", next.addresses());
        Ok(true)
    }

    pub(super) async fn finish(&self, group: u64, next: &List) -> Result<bool, Error> {
        let mut state = State::clone(&self.state());
        if state.described.epoch == next.epoch {
            return Ok(state.now != NodeState::New && state.described.members == next.members);
        }
        let open = state.open.as_ref();
        let contradicts = open.is_some_and(|open| {
            open.epoch > next.epoch || (open.epoch == next.epoch && open.members != next.members)
        });
        if state.described.epoch > next.epoch || contradicts {
            return Ok(false);
        }
        let is_new = state.now == NodeState::New;
        if is_new && !next.contains(state.described.node) {
            return Err(Error::Denied("this node is not in the list".into()));
        }
        state.described.group = group;
        state.described.epoch = next.epoch;
        state.described.members.clone_from(&next.members);
        state.open = None;
        if !state.is_member() {
            state.now = NodeState::Replaced;
            state.reason = Some(replaced(&state.described));
            state.cause = Some(Cause::Replaced);
        }
        match state.now {
            NodeState::New => {
                self.marks.raise(PROMISED, next.epoch).await?;
                self.become_member(state).await?;
            }
            NodeState::Serving => {
                self.marks.raise(PROMISED, next.epoch).await?;
                self.store(state).await?;
            }
            NodeState::Replaced => {
                self.file.write(&Record::of(&state))?;
                self.update(|now| *now = state);
            }
            // It stores the list when it joins.
            NodeState::Lost | NodeState::Joining => {
                self.update(|now| now.described = state.described);
            }
        }
        tracing::info!("the members are {}", next.addresses());
        Ok(true)
    }

    /// Stores member lists, then takes claims for them. A claim of an older epoch that was answered had been
    /// accepted before this returns.
    async fn store(&self, mut state: State) -> Result<(), Error> {
        // A step that was cut off may have got further in the backend than here.
        state.reached = self.marks.number(EPOCH).await?.max(state.epoch());
        self.file.write(&Record::of(&state))?;
        self.marks.raise(EPOCH, state.reached).await?;
        self.update(|now| {
            now.described = state.described;
            now.open = state.open;
            now.reached = state.reached;
        });
        Ok(())
    }

    async fn raise(&self, epoch: u64, marks: &[(String, i64)]) -> Result<bool, Error> {
        if self.serving()?.epoch() != epoch {
            return Ok(false);
        }
        if marks.len() > MAX_KEYS {
            return Err(Error::Invalid(format!(
                "{} marks are given; the maximum is {MAX_KEYS}",
                marks.len()
            )));
        }
        for (key, _) in marks {
            client_key(key)?;
        }
        self.keys.add(marks.iter().map(|(key, _)| key.as_str()))?;
        self.marks.raise_all(marks).await?;
        Ok(true)
    }

    /// What those of these members say that answer.
    async fn statuses(&self, members: impl IntoIterator<Item = &Member>) -> Vec<Status> {
        let asked = members.into_iter().map(|m| self.peers.status(&m.address));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Takes a newer member list from the other members, if they may have one.
    pub(super) async fn catch_up(&self) {
        let state = self.state();
        let rejoins = state.now == NodeState::Lost && state.rejoins;
        let behind = self.behind.load(Ordering::Relaxed);
        let takes_part = matches!(state.now, NodeState::Serving | NodeState::Lost);
        if !takes_part || !(behind || rejoins || state.open.is_some()) {
            return;
        }
        let own = state.described.node;
        let members = state.described.members.iter();
        let others: Vec<&Member> = members
            .chain(state.open.iter().flat_map(|open| &open.members))
            .filter(|member| member.node != own)
            .collect();
        let mut newer = self.newer().clone();
        newer.retain(|member| member.node != own && !others.contains(&member));
        let (found, found_newer) = join(self.statuses(others), self.statuses(&newer)).await;
        let answered = found.len();
        let newest = found
            .into_iter()
            .chain(found_newer)
            .filter(|s| s.group == state.described.group && s.state != NodeState::New)
            .map(|status| List {
                epoch: status.epoch,
                members: status.members,
            })
            .filter(|list| list.epoch > state.described.epoch && list.check().is_ok())
            .max_by_key(|list| list.epoch);
        if let Some(list) = newest {
            let Ok(_one) = self.changing.try_lock() else {
                return;
            };
            match self.finish(state.described.group, &list).await {
                Ok(_) => {}
                Err(error) => tracing::warn!("cannot take the newer member list yet: {error}"),
            }
        } else if answered + 1 >= majority(state.described.members.len()) {
            self.behind.store(false, Ordering::Relaxed);
        }
    }
}

fn check(list: &List) -> Result<(), Error> {
    list.check().map_err(|why| Error::Invalid(why.to_string()))
}
