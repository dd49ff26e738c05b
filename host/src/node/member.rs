//! A node as a member of its group: it accepts claims, and notices when it may have forgotten some.

use super::file::{Record, RecordFile};
use super::keys::Keys;
use super::marks::Marks;
use super::peers::Peers;
use super::recall::recall;
use crate::{Error, Host, Sequence, Source};
use artisanal_core::limits::{MAX_COUNT, check_key};
use artisanal_quorum::{
    Answer, Claim, Describe, Join, MAX_KEYS, MAX_MEMBERS, NodeState, RESERVED, Read, Report, Status,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use tokio::sync::Mutex;

/// The number of the latest process that runs this node.
pub(super) const SESSION: &str = "session";
/// The identity of the node that the backend belongs to.
pub(super) const IDENTITY: &str = "identity";
/// The node's incarnation. It begins at 1, and is raised whenever marks may have been forgotten.
pub(super) const INCARNATION: &str = "incarnation";

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
    pub(super) state: RwLock<State>,
    /// Lets one `init` or `join` run at a time.
    pub(super) changing: Mutex<()>,
}

/// The node's part in its group. All numbers are in the backend; these are copies, which are valid as long as
/// `session` is the number in the backend: then no other process has changed them, and nothing was lost.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) now: NodeState,
    pub(super) reason: Option<String>,
    /// Whether the node may join again by itself.
    pub(super) rejoins: bool,
    pub(super) described: Describe,
    pub(super) incarnation: u64,
    pub(super) known: BTreeMap<u64, u64>,
    pub(super) session: i64,
    pub(super) generation: Option<String>,
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
        let marks = Marks::new(host, source, dsn)?;
        let file = RecordFile::within(directory);
        let keys = Keys::within(directory)?;
        let state = recall(&marks, &file).await?;
        Ok(Self {
            marks,
            keys,
            file,
            peers,
            state: RwLock::new(state),
            changing: Mutex::default(),
        })
    }

    /// What the node is and can do.
    pub fn status(&self) -> Status {
        let state = self.state();
        Status {
            state: state.now,
            reason: state.reason,
            node: state.described.node,
            group: state.described.group,
            members: state.described.members,
            incarnation: state.incarnation,
            known: state.known,
        }
    }

    /// Makes this node a member of a new group.
    ///
    /// # Errors
    /// [`Error::Denied`] when it is a member of a group already, [`Error::Invalid`] when the group is not
    /// possible; otherwise as its backend.
    pub async fn init(&self, described: Describe) -> Result<Status, Error> {
        let _one = self.changing.try_lock().map_err(|_| Error::Busy)?;
        check_members(&described)?;
        let mut state = self.state();
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
        let record = Record::new(described.clone(), state.session, state.generation.clone());
        self.marks.raise(INCARNATION, 1).await?;
        self.marks.raise(IDENTITY, described.node).await?;
        self.file.write(&record)?;
        state.now = NodeState::Serving;
        state.reason = None;
        state.incarnation = 1;
        state.described = described;
        *self.write() = state;
        tracing::info!("this node is a member of a new group");
        Ok(self.status())
    }

    /// Takes an interval, or with `claim` None reads the mark.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the reason when the node does not take part at present; otherwise as
    /// [`Sequence::claim`], apart from `TooSmall`, which is an answer.
    pub async fn claim(&self, key: &str, claim: Option<&Claim>) -> Result<Answer, Error> {
        client_key(key)?;
        let before = self.serving()?;
        if claim.is_some() {
            self.keys.add(key)?;
        }
        let sequence = self.marks.sequence(key).await?;
        let (accepted, mark) = match claim {
            None => (false, sequence.last().await?),
            Some(claim) => match sequence.claim(claim.first, claim.last).await {
                Ok(()) => (true, Some(claim.last)),
                Err(Error::TooSmall(mark)) => (false, Some(mark)),
                Err(error) => return Err(error),
            },
        };
        let now = self.still(&before, &sequence).await?;
        Ok(Answer {
            node: now.described.node,
            group: now.described.group,
            members: now.described.members.iter().map(|m| m.node).collect(),
            accepted,
            mark,
            incarnation: now.incarnation,
            known: now.known,
        })
    }

    /// Stores another member's new incarnation, then reads what that member may have forgotten.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node does not take part itself, [`Error::Denied`] for nodes of
    /// other groups; otherwise as its backend.
    pub async fn joining(&self, join: &Join) -> Result<Report, Error> {
        let before = self.serving()?;
        let Describe {
            node,
            group,
            members,
        } = &before.described;
        let is_other = join.node != *node && members.iter().any(|m| m.node == join.node);
        if join.group != *group || !is_other {
            return Err(Error::Denied(format!(
                "node {} of group {} is not another member of group {group}",
                join.node, join.group
            )));
        }
        if join.incarnation > 0 {
            self.learn(&[(join.node, join.incarnation)].into()).await?;
        }
        self.report(&before, &join.read).await
    }

    /// Lists sequences and reads their marks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node does not take part; otherwise as its backend.
    pub async fn read(&self, read: &Read) -> Result<Report, Error> {
        let before = self.serving()?;
        self.report(&before, read).await
    }

    async fn report(&self, before: &State, read: &Read) -> Result<Report, Error> {
        if read.keys.len() > MAX_KEYS {
            return Err(Error::Invalid(format!(
                "{} keys are asked for; the maximum is {MAX_KEYS}",
                read.keys.len()
            )));
        }
        let mut marks = Vec::with_capacity(read.keys.len());
        for key in &read.keys {
            client_key(key)?;
            marks.push(self.marks.sequence(key).await?.last().await?);
        }
        let listed = read
            .after
            .as_ref()
            .map(|key| self.keys.after(key, MAX_KEYS))
            .unwrap_or_default();
        let session = self.marks.reserved(SESSION).await?;
        let now = self.still(before, &session).await?;
        Ok(Report {
            node: now.described.node,
            group: now.described.group,
            incarnation: now.incarnation,
            known: now.known,
            listed,
            marks,
        })
    }

    /// Stores incarnations of other members: first in the backend, then in the copy that answers are
    /// made from. A claim that was answered from the older copy was accepted before this returns.
    pub(super) async fn learn(&self, newer: &BTreeMap<u64, u64>) -> Result<(), Error> {
        for (node, incarnation) in newer {
            self.marks.raise(&known(*node), *incarnation).await?;
        }
        let mut state = self.write();
        for (node, incarnation) in newer {
            let copy = state.known.entry(*node).or_default();
            *copy = (*copy).max(*incarnation);
        }
        Ok(())
    }

    /// The state of a node that takes part.
    fn serving(&self) -> Result<State, Error> {
        let state = self.state();
        if state.now == NodeState::Serving {
            return Ok(state);
        }
        let reason = state.reason.unwrap_or_default();
        Err(Error::Unavailable(format!(
            "this node takes no part: {reason}"
        )))
    }

    /// Checks, after something was done or read, that the node is still the one that it was before, and
    /// returns its state, whose copies are at least as new as what was done.
    async fn still(&self, before: &State, sequence: &Sequence) -> Result<State, Error> {
        let now = self.serving()?;
        let changed = || Error::Unavailable("this node has changed its incarnation".into());
        if now.incarnation != before.incarnation || now.session != before.session {
            return Err(changed());
        }
        if now.generation.is_some() {
            let generation = sequence.generation().await?;
            if generation != now.generation {
                self.lose(RESTARTED, true);
                return Err(changed());
            }
        }
        let session = self.marks.reserved(SESSION).await?;
        match session.last().await? {
            Some(latest) if latest == now.session => {}
            Some(latest) if latest > now.session => {
                self.lose("another process runs this node on the same backend", false);
                return Err(changed());
            }
            _ => {
                self.lose("the backend has lost the marks of this node", false);
                return Err(changed());
            }
        }
        Ok(now)
    }

    /// Stops taking part.
    fn lose(&self, reason: &str, rejoins: bool) {
        let mut state = self.write();
        if state.now == NodeState::Serving {
            tracing::error!("this node takes no part any longer: {reason}");
            state.now = NodeState::Lost;
            state.reason = Some(lost(reason));
            state.rejoins = rejoins;
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session number in the backend that is greater than the last one, at random: a process that
    /// still runs must not find its own number in a backend that was emptied.
    pub(super) async fn begin_session(marks: &Marks) -> Result<i64, Error> {
        let step = u32::try_from(random() % u64::from(MAX_COUNT)).unwrap_or(0) + 1;
        Ok(marks.reserved(SESSION).await?.next(step).await?.last())
    }

    pub(super) async fn generation(marks: &Marks) -> Result<Option<String>, Error> {
        marks.reserved(SESSION).await?.generation().await
    }
}

pub(super) const RESTARTED: &str = "the backend was restarted and may have forgotten marks";

pub(super) fn lost(reason: &str) -> String {
    format!("{reason}; it has to join again (`int-host node join`)")
}

/// A key that clients may use.
fn client_key(key: &str) -> Result<(), Error> {
    check_key(key)?;
    if key.starts_with(RESERVED) {
        return Err(Error::Invalid(format!(
            "keys that begin with `{RESERVED}` are reserved"
        )));
    }
    Ok(())
}

/// Checks that a group is possible and that the node is in it.
pub(super) fn check_members(described: &Describe) -> Result<(), Error> {
    let Describe {
        node,
        group,
        members,
    } = described;
    let count = members.len();
    if count > MAX_MEMBERS || count.is_multiple_of(2) {
        return Err(Error::Invalid(format!(
            "a group has an odd number of members, at most {MAX_MEMBERS}; these are {count}"
        )));
    }
    let mut nodes: Vec<_> = members.iter().map(|m| m.node).collect();
    let mut addresses: Vec<_> = members.iter().map(|m| m.address.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    addresses.sort_unstable();
    addresses.dedup();
    if nodes.len() != count || addresses.len() != count {
        return Err(Error::Invalid("a member is listed twice".into()));
    }
    if *group == 0 || nodes.first() == Some(&0) || !nodes.contains(node) {
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
