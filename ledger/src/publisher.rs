//! Publishes what a server hands out to a ledger.
//!
//! Mints go into a [`Ring`], from which workers in a thread of their own send batches to the ledger over WebSockets,
//! each again until it is acknowledged.

mod connection;
mod entry;
mod losses;
mod target;
mod worker;

pub use entry::Once;
pub use target::Target;

use crate::event::Mint;
use crate::ring::Ring;
use artisanal_core::Span;
use entry::{Answer, Entry, What};
use losses::Losses;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// What happens to a mint while the ledger is slow or away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is answered at once; if the ring is full, the ledger learns only that something was lost.
    #[default]
    Shed,
    /// It waits for room in the ring.
    Block,
    /// It waits until the ledger has said that its event is durable.
    Strict,
}

/// How to publish.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ledger.
    pub target: Target,
    /// What to do when it is slow.
    pub policy: Policy,
    /// The size of the ring, in events.
    pub ring: usize,
    /// How many connections there are.
    pub workers: usize,
    /// How long a mint waits, with the policies that wait.
    pub patience: Duration,
}

impl Options {
    /// The default size of the ring: 65 536 events, which take 8 MB.
    pub const RING: usize = 1 << 16;

    /// The default options for this ledger.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            policy: Policy::default(),
            ring: Self::RING,
            workers: 4,
            patience: Duration::from_secs(5),
        }
    }
}

/// Why a mint must not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// There was no room in time.
    #[error("the ledger is too slow: its ring was full for {} s; the integers are skipped", .0.as_secs())]
    Full(Duration),
    /// There was no acknowledgement in time.
    #[error("the ledger did not confirm within {} s; the integers are skipped", .0.as_secs())]
    Late(Duration),
    /// The ledger refuses the event.
    #[error("the ledger refuses the event; the integers are skipped")]
    Refused,
    /// The publisher has ended.
    #[error("the publisher of the ledger is shutting down; the integers are skipped")]
    Closed,
}

/// What a publisher counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Events that were sent or are about to be, and are not acknowledged.
    pub unacknowledged: AtomicU64,
    /// Events that did not fit into the ring.
    pub dropped: AtomicU64,
    /// Mints that waited for room.
    pub waited: AtomicU64,
    /// Events that the ledger refused.
    pub refused: AtomicU64,
    /// Connections that were opened after a failure.
    pub reconnects: AtomicU64,
}

/// Publishes mints. Clones are the same publisher.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    options: Options,
    ring: Ring<Entry>,
    losses: Losses,
    stats: Stats,
    /// The random id of this publisher.
    id: u64,
    /// The number of the next event.
    next: AtomicU64,
    /// Ends the workers even if events are left.
    stop: watch::Sender<bool>,
    /// Whether the workers have ended.
    ended: watch::Receiver<bool>,
}

impl Publisher {
    /// Starts the workers, in a thread of their own.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(options: Options) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let inner = Arc::new(Inner {
            ring: Ring::new(options.ring),
            losses: Losses::default(),
            stats: Stats::default(),
            id: random().max(1),
            next: AtomicU64::new(1),
            stop,
            ended,
            options,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let working = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                runtime.block_on(worker::run_all(working, stopped));
                let _ = end.send(true);
            })?;
        Ok(Self(inner))
    }

    /// What happens while the ledger is slow or away.
    pub fn policy(&self) -> Policy {
        self.0.options.policy
    }

    /// Publishes that a request without an id was answered with these integers, and does not wait.
    pub fn shed(&self, key: &Arc<str>, by: &Arc<str>, span: Span) {
        let entry = Entry {
            key: Arc::clone(key),
            by: Arc::clone(by),
            request: None,
            at: now(),
            what: What::Minted(span),
            once: None,
            answer: None,
        };
        if let Err(entry) = self.0.ring.push(entry) {
            self.0.lose(&entry);
        }
    }

    /// Publishes that a request was answered with these integers. With [`Policy::Shed`] this never waits.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the request must not be answered with them after all.
    pub async fn minted(
        &self,
        key: &Arc<str>,
        by: &Arc<str>,
        request: Option<&str>,
        span: Span,
    ) -> Result<(), Unconfirmed> {
        self.publish(key, by, request, What::Minted(span)).await
    }

    /// Publishes that a request with an idempotency key is about to be answered with these integers, and waits until that
    /// is durable, whatever the policy is. If the key has other integers already, they are returned, and nobody may get
    /// those of `span`.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the request must not be answered at all.
    pub async fn minted_once(
        &self,
        key: &Arc<str>,
        by: &Arc<str>,
        request: Option<&str>,
        once: &Once,
        span: Span,
    ) -> Result<Option<Mint>, Unconfirmed> {
        let entry = Entry {
            key: Arc::clone(key),
            by: Arc::clone(by),
            request: request.map(Into::into),
            at: now(),
            what: What::Minted(span),
            once: Some(Box::new(once.clone())),
            answer: None,
        };
        self.confirm(entry).await
    }

    /// The integers that an idempotency key has already.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the ledger did not answer.
    pub async fn earlier(
        &self,
        key: &Arc<str>,
        by: &Arc<str>,
        once: &Once,
    ) -> Result<Option<Mint>, Unconfirmed> {
        let entry = Entry {
            key: Arc::clone(key),
            by: Arc::clone(by),
            request: None,
            at: 0,
            what: What::Asked,
            once: Some(Box::new(once.clone())),
            answer: None,
        };
        self.confirm(entry).await
    }

    /// Publishes that a sequence was raised.
    ///
    /// # Errors
    /// As [`Publisher::minted`]. The sequence is raised all the same.
    pub async fn raised(
        &self,
        key: &Arc<str>,
        by: &Arc<str>,
        request: Option<&str>,
        last: i64,
    ) -> Result<(), Unconfirmed> {
        self.publish(key, by, request, What::Raised(last)).await
    }

    async fn publish(
        &self,
        key: &Arc<str>,
        by: &Arc<str>,
        request: Option<&str>,
        what: What,
    ) -> Result<(), Unconfirmed> {
        let Options {
            policy, patience, ..
        } = self.0.options;
        let entry = Entry {
            key: Arc::clone(key),
            by: Arc::clone(by),
            request: request.map(Into::into),
            at: now(),
            what,
            once: None,
            answer: None,
        };
        match policy {
            Policy::Shed => {
                if let Err(entry) = self.0.ring.push(entry) {
                    self.0.lose(&entry);
                }
                Ok(())
            }
            Policy::Block => self.wait(entry, Instant::now() + patience).await,
            Policy::Strict => self.confirm(entry).await.map(drop),
        }
    }

    /// Waits for what the ledger answers.
    async fn confirm(&self, entry: Entry) -> Result<Option<Mint>, Unconfirmed> {
        let patience = self.0.options.patience;
        let deadline = Instant::now() + patience;
        let (sender, answer) = oneshot::channel();
        let entry = Entry {
            answer: Some(sender),
            ..entry
        };
        self.wait(entry, deadline).await?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(Answer::Done)) => Ok(None),
            Ok(Ok(Answer::Earlier(mint))) => Ok(Some(mint)),
            Ok(Ok(Answer::Refused)) => Err(Unconfirmed::Refused),
            Ok(Err(_)) => Err(Unconfirmed::Closed),
            Err(_) => Err(Unconfirmed::Late(patience)),
        }
    }

    /// Adds an entry as soon as there is room.
    async fn wait(&self, entry: Entry, deadline: Instant) -> Result<(), Unconfirmed> {
        let Err(entry) = self.0.ring.push(entry) else {
            return Ok(());
        };
        self.0.stats.waited.fetch_add(1, Ordering::Relaxed);
        match self.0.ring.push_until(entry, deadline).await {
            Ok(()) => Ok(()),
            // It is not handed out, so nothing is lost.
            Err(_) => Err(Unconfirmed::Full(self.0.options.patience)),
        }
    }

    /// Accepts nothing more, and sends what is left within `limit`. Returns how many events were not acknowledged.
    pub async fn drain(&self, limit: Duration) -> u64 {
        self.0.ring.close();
        let mut ended = self.0.ended.clone();
        let _ = timeout(limit, ended.wait_for(|ended| *ended)).await;
        let _ = self.0.stop.send(true);
        self.0.ring.len() as u64 + self.0.stats.unacknowledged.load(Ordering::Relaxed)
    }

    /// What it counts.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// The length of the ring now, its greatest length so far, and its size.
    pub fn ring(&self) -> [usize; 3] {
        let ring = &self.0.ring;
        [ring.len(), ring.high_water(), ring.capacity()]
    }
}

impl Inner {
    fn lose(&self, entry: &Entry) {
        self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        if let What::Minted(span) = entry.what {
            self.losses.add(&entry.key, span);
        }
    }
}

/// A number that nobody can predict: the keys of the standard library's hash tables differ each time.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests;
