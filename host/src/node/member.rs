//! A node as a member of its group: it accepts claims, and notices when it may have forgotten some.

use super::contention::Contention;
use super::file::{Record, RecordFile};
use super::keys::Keys;
use super::marks::Marks;
use super::metrics::ClaimMetrics;
use super::peers::Peers;
use super::recall::recall;
use super::state::{Cause, RESTARTED, State, lost};
use crate::{Error, Host, Source};
use artisanal_core::limits::MAX_COUNT;
use artisanal_quorum::{Describe, FIRST_EPOCH, List, Member, NodeState, Status};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// The number of the latest process that runs this node.
pub(super) const SESSION: &str = "session";
/// The identity of the node that the backend belongs to.
pub(super) const IDENTITY: &str = "identity";
/// The node's incarnation. It begins at 1, and is raised whenever marks may have been forgotten.
pub(super) const INCARNATION: &str = "incarnation";

/// The greatest epoch for which the node has ever taken claims.
pub(super) const EPOCH: &str = "epoch";
/// The greatest epoch that a change of the member list has claimed.
pub(super) const PROMISED: &str = "promised";

/// The newest incarnation of another member that this one was told of.
pub(super) fn known(node: u64) -> String {
    format!("known/{node}")
}

/// A node, with its backend and its part in a group.
pub struct Node {
    pub(super) marks: Marks,
    pub(super) keys: Keys,
    pub(super) file: RecordFile,
    pub(super) peers: Peers,
    pub(super) state: RwLock<Arc<State>>,
    /// Lets one `init` or `join` run at a time, or one step of a change of the member list.
    pub(super) changing: Mutex<()>,
    /// Whether the other members may have a newer member list.
    pub(super) behind: AtomicBool,
    /// The members of a newer list, as one that joins has told. They are asked whether it is in force.
    newer: std::sync::Mutex<Vec<Member>>,
    pub(super) contention: Contention,
    pub(super) claims: ClaimMetrics,
}

impl Node {
    /// Opens the backend and finds out whether this node is a member of a group, and whether the backend
    /// still has what it acknowledged.
    ///
    /// `directory` is for what the backend cannot hold.
    ///
    /// # Errors
    /// The engine's error, or [`Error::Misconfigured`] when the directory cannot be used.
    pub async fn open(
        host: &Host,
        source: &Source,
        dsn: String,
        directory: &Path,
        peers: Peers,
    ) -> Result<Self, Error> {
        Self::on(Marks::new(host, source, dsn)?, directory, peers).await
    }

    /// As [`Node::open`], on a backend that is open already.
    ///
    /// # Errors
    /// As [`Node::open`].
    #[doc(hidden)]
    pub async fn on(marks: Marks, directory: &Path, peers: Peers) -> Result<Self, Error> {
        let file = RecordFile::within(directory);
        let keys = Keys::within(directory)?;
        let state = recall(&marks, &file).await?;
        Ok(Self {
            marks,
            keys,
            file,
            peers,
            behind: AtomicBool::new(state.described.group != 0),
            newer: std::sync::Mutex::default(),
            state: RwLock::new(Arc::new(state)),
            changing: Mutex::default(),
            contention: Contention::default(),
            claims: ClaimMetrics::new(),
        })
    }

    /// What the node is and can do.
    pub fn status(&self) -> Status {
        let state = self.state();
        Status {
            state: state.now,
            reason: state.reason.clone(),
            node: state.described.node,
            group: state.described.group,
            epoch: state.described.epoch,
            members: state.described.members.clone(),
            open: state.open.clone(),
            incarnation: state.incarnation,
            known: state.known.clone(),
        }
    }

    /// The members of a newer list that this node has heard of; empty if there is none.
    pub(super) fn newer(&self) -> std::sync::MutexGuard<'_, Vec<Member>> {
        self.newer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this node a member of a new group.
    ///
    /// # Errors
    /// [`Error::Denied`] when it is a member of a group already, [`Error::Invalid`] when the group is not
    /// possible; otherwise as its backend.
    pub async fn init(&self, described: Describe) -> Result<Status, Error> {
        let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
        check_members(&described)?;
        let mut state = State::clone(&self.state());
        if state.now != NodeState::New {
            return Err(Error::Denied(format!(
                "this node belongs to group {} already; a new group needs nodes whose data directory and \
                 backend are empty",
                state.described.group
            )));
        }
        if described.node != state.described.node {
            return Err(Error::Invalid(format!(
                "this is node {}, not {}",
                state.described.node, described.node
            )));
        }
        if described.epoch != FIRST_EPOCH {
            return Err(Error::Invalid(
                "a new group begins with its first list".into(),
            ));
        }
        state.described = described;
        self.become_member(state).await?;
        tracing::info!("this node is a member of a new group");
        Ok(self.status())
    }

    /// Stores that this new node is a member, then takes part.
    pub(super) async fn become_member(&self, mut state: State) -> Result<(), Error> {
        state.now = NodeState::Serving;
        state.reason = None;
        state.cause = None;
        state.incarnation = 1;
        self.marks.raise(INCARNATION, 1).await?;
        self.marks.raise(IDENTITY, state.described.node).await?;
        self.file.write(&Record::of(&state))?;
        self.marks.raise(EPOCH, state.epoch()).await?;
        state.reached = state.reached.max(state.epoch());
        self.update(|now| *now = state);
        Ok(())
    }

    /// Stores incarnations of other members: first in the backend, then in the copy that answers are
    /// made from. A claim that was answered from the older copy was accepted before this returns.
    pub(super) async fn learn(&self, newer: &BTreeMap<u64, u64>) -> Result<(), Error> {
        for (node, incarnation) in newer {
            self.marks.raise(&known(*node), *incarnation).await?;
        }
        self.update(|state| {
            for (node, incarnation) in newer {
                let copy = state.known.entry(*node).or_default();
                *copy = (*copy).max(*incarnation);
            }
        });
        Ok(())
    }

    /// The state of a node that takes part.
    pub(super) fn serving(&self) -> Result<Arc<State>, Error> {
        let state = self.state();
        if state.now == NodeState::Serving {
            return Ok(state);
        }
        let reason = state.reason.as_deref().unwrap_or_default();
        Err(Error::Unavailable(format!(
            "this node takes no part: {reason}"
        )))
    }

    /// Checks, after something was done or read, that the node is still the one that it was before, and
    /// returns its state, whose copies are at least as new as what was done.
    pub(super) async fn still(&self, before: &State) -> Result<Arc<State>, Error> {
        self.check_session(before).await?;
        // Asked only now, since a connection is found to be closed when it is used.
        let generation = if self.marks.are_lossy() {
            Self::generation(&self.marks).await?
        } else {
            None
        };
        self.still_with(before, generation)
    }

    /// As [`Node::still`], after a claim that told the generation.
    pub(super) async fn still_after(
        &self,
        before: &State,
        generation: Option<String>,
    ) -> Result<Arc<State>, Error> {
        self.check_session(before).await?;
        self.still_with(before, generation)
    }

    fn still_with(&self, before: &State, generation: Option<String>) -> Result<Arc<State>, Error> {
        let now = self.serving()?;
        if now.incarnation != before.incarnation || now.session != before.session {
            return Err(changed());
        }
        if now.epoch() != before.epoch() {
            return Err(Error::Unavailable("the member list has changed".into()));
        }
        if generation != now.generation {
            self.lose(before, Cause::Restarted, RESTARTED, true);
            return Err(changed());
        }
        Ok(now)
    }

    /// Checks that the backend has the number of this process.
    pub(super) async fn check_session(&self, before: &State) -> Result<(), Error> {
        if self.marks.are_exclusive() {
            return Ok(());
        }
        match self.marks.stored(SESSION).await? {
            Some(latest) if latest == before.session => return Ok(()),
            Some(latest) if latest > before.session => {
                let reason = "another process runs this node on the same backend";
                self.lose(before, Cause::OtherProcess, reason, false);
            }
            _ if self.marks.are_lossy()
                && Self::generation(&self.marks).await? != before.generation =>
            {
                self.lose(before, Cause::Restarted, RESTARTED, true);
            }
            _ => {
                let reason = "the backend has lost the marks of this node";
                self.lose(before, Cause::EmptyBackend, reason, false);
            }
        }
        Err(changed())
    }

    /// Stops taking part, unless the node has joined again since it was as before.
    fn lose(&self, before: &State, cause: Cause, reason: &str, rejoins: bool) {
        self.update(|state| {
            if state.now == NodeState::Serving && state.session == before.session {
                tracing::error!("this node takes no part any longer: {reason}");
                state.now = NodeState::Lost;
                state.reason = Some(lost(reason));
                state.cause = Some(cause);
                state.rejoins = rejoins;
            }
        });
    }

    /// The state at this moment; later changes do not show in it.
    pub(super) fn state(&self) -> Arc<State> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state)
    }

    /// Changes the state.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut state))
    }

    /// Takes a session number in the backend that is greater than the last one, at random: a process that
    /// still runs must not find its own number in a backend that was emptied.
    pub(super) async fn begin_session(marks: &Marks) -> Result<i64, Error> {
        let step = u32::try_from(marks.random() % u64::from(MAX_COUNT)).unwrap_or(0) + 1;
        Ok(marks.reserved(SESSION).await?.next(step).await?.last())
    }

    pub(super) async fn generation(marks: &Marks) -> Result<Option<String>, Error> {
        marks.reserved(SESSION).await?.generation().await
    }
}

fn changed() -> Error {
    Error::Unavailable("this node has changed its incarnation".into())
}

/// Checks that a group is possible and that the node is in it.
pub(super) fn check_members(described: &Describe) -> Result<(), Error> {
    let Describe {
        node,
        group,
        epoch,
        members,
    } = described;
    let list = List {
        epoch: *epoch,
        members: members.clone(),
    };
    list.check()
        .map_err(|why| Error::Invalid(why.to_string()))?;
    if *group == 0 || !list.contains(*node) {
        return Err(Error::Invalid(format!(
            "node {node} is not among the members of group {group}"
        )));
    }
    Ok(())
}

/// A random number from 1 to 2^52, which every JSON parser reads exactly.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(std::time::SystemTime::now()) >> 12) + 1
}
