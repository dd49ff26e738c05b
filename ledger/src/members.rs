//! Ledgers that share one stream of events: they find each other, and each holds some of the partitions.
//!
//! A member gossips with the others over UDP: who it is, where its HTTP interface is, and which partitions it holds. From
//! who is alive, each member computes the same [`placement`], and so its own share. It passes on questions about partitions
//! that it does not hold.

pub(crate) mod forward;
mod gate;
mod gossip;
mod ingest;
pub mod placement;
mod settled;
mod text;
mod view;

pub use settled::Times;
pub use text::{address, is_name};
pub use view::{Health, Member, View};

use crate::Error;
use crate::partition::Share;
use crate::publisher::now;
use artisanal_core::Secret;
use forward::{Forwarder, Kind, Question, Unanswered};
use gossip::Gossip;
use http::{Response, Uri};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How many members there can be.
pub const MAX_MEMBERS: usize = 128;

/// How long a member that stops takes to tell the others, at most.
const GOODBYE: Duration = Duration::from_secs(3);

/// How long another member may take to answer: longer than any question takes, and that is 5 s for a state. A batch that
/// takes longer is sent again by its publisher.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a member takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, which no other member has, and which it has again when it is started again.
    pub name: String,
    /// What the members share: those with another cluster are ignored.
    pub cluster: String,
    /// Where it listens for gossip, over UDP.
    pub listen: SocketAddr,
    /// Where others reach it for gossip.
    pub advertised: SocketAddr,
    /// Where others reach its HTTP interface: `http://HOST:PORT`.
    pub address: Uri,
    /// Some members, `HOST:PORT`, of which one has to be alive at the start.
    pub join: Vec<String>,
    /// How often it gossips.
    pub interval: Duration,
    /// How long members have to be alive, and away, before partitions move.
    pub times: Times,
    /// How long another member may take to answer a question.
    pub patience: Duration,
    /// A secret that all members have, if they have one: packets of others are ignored.
    pub secret: Option<Secret>,
}

impl Options {
    /// Options for a member with this name, with the defaults for all others.
    pub fn new(name: &str, cluster: &str, listen: SocketAddr, address: Uri) -> Self {
        Self {
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            listen,
            advertised: listen,
            address,
            join: Vec::new(),
            interval: Duration::from_millis(500),
            times: Times::default(),
            patience: PATIENCE,
            secret: None,
        }
    }
}

/// What a member counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Questions that another member answered.
    pub answered: u64,
    /// Questions for which another member was asked after one did not answer.
    pub repeated: u64,
    /// Questions for which no member was found.
    pub nobody: u64,
    /// Questions whose answer was lost, so that nobody knows whether an event was appended.
    pub lost: u64,
    /// Packets of gossip that came.
    pub packets: u64,
    /// Packets that were ignored: they were no gossip, or had no proof of the secret.
    pub ignored: u64,
}

/// This member, and what it knows of the others. Clones are the same.
#[derive(Clone)]
pub struct Members(Arc<Inner>);

struct Inner {
    view: watch::Receiver<Arc<View>>,
    held: watch::Receiver<Arc<Share>>,
    counts: Arc<gate::Counts>,
    forwarder: Forwarder,
    /// None once it leaves.
    leave: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl Members {
    /// Begins to gossip. `held` are the partitions with which this member has caught up; what is returned are those that it
    /// should hold. Gossip ends when the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] for a bad option, and if the address is in use.
    pub async fn start(
        options: Options,
        held: watch::Receiver<Arc<Share>>,
    ) -> Result<(Self, watch::Receiver<Arc<Share>>), Error> {
        if !is_name(&options.name) {
            return Err(Error::Misconfigured(
                "the name of a member has 1 to 64 letters, digits, `-`, `_` and `.`".into(),
            ));
        }
        let own = options.name.clone();
        let (sender, view) = watch::channel(Arc::new(View {
            own: own.clone(),
            ..View::default()
        }));
        let counts = Arc::<gate::Counts>::default();
        let (listen, patience) = (options.listen, options.patience);
        let gossip = Gossip::new(options, Arc::clone(&counts), held.clone(), sender);
        let handle = gossip.open().await;
        let handle = handle.map_err(|error| {
            Error::Misconfigured(format!("cannot gossip at {listen}: {error:#}"))
        })?;
        let (leave, leaving) = oneshot::channel();
        tokio::spawn(gossip.run(handle, leaving));
        let (share, shared) = watch::channel(Arc::default());
        let mut views = view.clone();
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                let view = Arc::clone(&views.borrow_and_update());
                let owned = view.me().map(|me| Arc::clone(&me.owned));
                let owned = owned.unwrap_or_default();
                share.send_if_modified(|share| {
                    let differs = **share != *owned;
                    *share = owned;
                    differs
                });
            }
        });
        let inner = Inner {
            view,
            held,
            counts,
            forwarder: Forwarder::new(patience),
            leave: Mutex::new(Some(leave)),
        };
        Ok((Self(Arc::new(inner)), shared))
    }

    /// A ledger that shares nothing: it is the only member, and holds everything. Others reach its HTTP interface at
    /// `address`, if it knows that.
    pub fn alone(name: &str, address: Option<Uri>) -> Self {
        let view = View::alone(name, address, now());
        Self(Arc::new(Inner {
            view: watch::channel(Arc::new(view)).1,
            held: watch::channel(Arc::new(Share::all())).1,
            counts: Arc::default(),
            forwarder: Forwarder::new(PATIENCE),
            leave: Mutex::new(None),
        }))
    }

    /// Whether this member holds a partition, and has caught up with it.
    pub fn holds(&self, partition: u16) -> bool {
        self.0.held.borrow().contains(partition)
    }

    /// Whether this member holds all partitions.
    pub(crate) fn holds_all(&self) -> bool {
        self.0.held.borrow().is_all()
    }

    /// Waits until this member does not hold a partition any more.
    pub async fn lost(&self, partition: u16) {
        let mut held = self.0.held.clone();
        if held
            .wait_for(|held| !held.contains(partition))
            .await
            .is_err()
        {
            // Nobody changes it any more.
            std::future::pending::<()>().await;
        }
    }

    /// Asks a member that holds the partition, one after the other.
    pub(crate) async fn forward<K: Kind>(
        &self,
        partition: u16,
        question: &Question,
    ) -> Result<Response<K::Body>, Unanswered> {
        self.0
            .forwarder
            .ask::<K>(&self.view(), partition, question)
            .await
    }

    /// Counts a batch that was not stored.
    fn count(&self, unanswered: Unanswered) {
        self.0.forwarder.count(unanswered);
    }

    /// Whether a connection from this address may be one of another member.
    pub(crate) fn is_member(&self, address: IpAddr) -> bool {
        let view = self.0.view.borrow();
        let mut gossip = view.members.iter().filter_map(|member| member.gossip);
        gossip.any(|gossip| gossip.ip().to_canonical() == address.to_canonical())
    }

    /// What this member knows of all members.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.borrow())
    }

    /// The same, whenever it changes.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.0.view.clone()
    }

    /// What was counted since the start.
    pub fn counted(&self) -> Counted {
        let forwarded = self.0.forwarder.counts();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            answered: get(&forwarded.answered),
            repeated: get(&forwarded.repeated),
            nobody: get(&forwarded.nobody),
            lost: get(&forwarded.lost),
            packets: self.0.counts.received(),
            ignored: self.0.counts.ignored(),
        }
    }

    /// Tells the others that this member stops, and ends gossip.
    pub async fn leave(&self) {
        let leave = &self.0.leave;
        let leave = leave.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(leave) = leave else { return };
        let (done, gone) = oneshot::channel();
        if leave.send(done).is_ok() {
            let _ = tokio::time::timeout(GOODBYE, gone).await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
