//! Publishes what a server hands out to a ledger.
//!
//! Mints go into a [`Ring`], from which workers in a thread of their own send batches to the ledger over WebSockets,
//! each again until it is acknowledged.

pub(crate) mod connection;
mod entry;
mod losses;
mod options;
mod reply_limit;
mod stats;
mod target;
mod worker;

pub use entry::{Name, Once};
pub use options::{Options, Policy};
pub use stats::Stats;
pub use target::Target;

use crate::event::Mint;
use crate::frame::{MAX_FRAME, Reply};
use crate::ring::Ring;
use artisanal_core::Span;
use bytes::Bytes;
use entry::{Answer, Entry, Item, Relayed, What};
use losses::Losses;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How many batches are under way at a time if somebody waits for each event: one is written while the next one comes.
/// With more of them each has fewer events.
const FLIGHTS: usize = 2;

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

/// Publishes mints. Clones are the same publisher.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    options: Options,
    ring: Ring<Item>,
    losses: Losses,
    stats: Stats,
    /// The random id of this publisher.
    id: u64,
    /// The number of the next event.
    next: AtomicU64,
    /// The bytes that batches of other publishers may still have.
    room: Arc<Semaphore>,
    most_bytes: AtomicUsize,
    /// How many more batches may be under way if somebody waits for each event.
    flights: Semaphore,
    /// Where those who wait for answers run.
    callers: OnceLock<Handle>,
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
            room: Arc::new(Semaphore::new(options.bytes.max(MAX_FRAME))),
            most_bytes: AtomicUsize::new(0),
            flights: Semaphore::new(FLIGHTS),
            callers: OnceLock::new(),
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

    /// The ledger.
    pub fn target(&self) -> &Target {
        &self.0.options.target
    }

    /// What happens while the ledger is slow or away.
    pub fn policy(&self) -> Policy {
        self.0.options.policy
    }

    /// Publishes that a request without an id was answered with these integers, and does not wait.
    pub fn shed(&self, key: &Name, by: &Name, span: Span) {
        self.0.offer(Entry::new(key, by, What::Minted(span)));
    }

    /// Publishes that a request was answered with these integers. With [`Policy::Shed`] this never waits.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the request must not be answered with them after all.
    pub async fn minted(
        &self,
        key: &Name,
        by: &Name,
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
        key: &Name,
        by: &Name,
        request: Option<&str>,
        once: &Once,
        span: Span,
    ) -> Result<Option<Mint>, Unconfirmed> {
        let entry = Entry::new(key, by, What::Minted(span));
        self.confirm(entry.with_ids(request, Some(once))).await
    }

    /// The integers that an idempotency key has already.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the ledger did not answer.
    pub async fn earlier(
        &self,
        key: &Name,
        by: &Name,
        once: &Once,
    ) -> Result<Option<Mint>, Unconfirmed> {
        let entry = Entry::new(key, by, What::Asked);
        self.confirm(entry.with_ids(None, Some(once))).await
    }

    /// Publishes that a sequence was raised.
    ///
    /// # Errors
    /// As [`Publisher::minted`]. The sequence is raised all the same.
    pub async fn raised(
        &self,
        key: &Name,
        by: &Name,
        request: Option<&str>,
        last: i64,
    ) -> Result<(), Unconfirmed> {
        self.publish(key, by, request, What::Raised(last)).await
    }

    async fn publish(
        &self,
        key: &Name,
        by: &Name,
        request: Option<&str>,
        what: What,
    ) -> Result<(), Unconfirmed> {
        let Options {
            policy, patience, ..
        } = self.0.options;
        let entry = Entry::new(key, by, what).with_ids(request, None);
        match policy {
            Policy::Shed => {
                self.0.offer(entry);
                Ok(())
            }
            Policy::Block => self.wait(entry, Instant::now() + patience).await,
            Policy::Strict => self.confirm(entry).await.map(drop),
        }
    }

    /// Waits for what the ledger answers.
    async fn confirm(&self, mut entry: Entry) -> Result<Option<Mint>, Unconfirmed> {
        let patience = self.0.options.patience;
        let deadline = Instant::now() + patience;
        let (sender, answer) = oneshot::channel();
        if self.0.callers.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.0.callers.set(runtime);
        }
        entry.answer = Some(sender);
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
        self.push(Item::Entry(entry), deadline).await
    }

    async fn push(&self, item: Item, deadline: Instant) -> Result<(), Unconfirmed> {
        // A batch of another publisher has waited for its events there.
        let hurries = matches!(item, Item::Batch(_));
        let Err(item) = self.0.ring.push(item) else {
            if hurries {
                self.0.ring.hurry();
            }
            return Ok(());
        };
        self.0.stats.waited.fetch_add(1, Ordering::Relaxed);
        match self.0.ring.push_until(item, deadline).await {
            Ok(()) => Ok(()),
            // It is not handed out, so nothing is lost.
            Err(_) => Err(Unconfirmed::Full(self.0.options.patience)),
        }
    }

    /// Sends a batch of another publisher as it came, and waits up to `patience` for the answer. After an error it may be
    /// stored or not, and the other publisher has to send it again.
    ///
    /// # Errors
    /// [`Unconfirmed`].
    pub async fn relay(
        &self,
        frame: Bytes,
        first: u64,
        count: usize,
        patience: Duration,
    ) -> Result<Reply, Unconfirmed> {
        let deadline = Instant::now() + patience;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0.room);
        let room = match Arc::clone(&room).try_acquire_many_owned(length) {
            Ok(room) => room,
            Err(_) => {
                self.0.stats.waited.fetch_add(1, Ordering::Relaxed);
                timeout_at(deadline, room.acquire_many_owned(length))
                    .await
                    .map_err(|_| Unconfirmed::Full(patience))?
                    .map_err(|_| Unconfirmed::Closed)?
            }
        };
        let [used, ..] = self.bytes();
        self.0.most_bytes.fetch_max(used, Ordering::Relaxed);
        let (answer, reply) = oneshot::channel();
        let batch = Relayed {
            frame,
            first,
            count,
            answer,
            room,
        };
        self.push(Item::Batch(Box::new(batch)), deadline).await?;
        match timeout_at(deadline, reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Unconfirmed::Closed),
            Err(_) => Err(Unconfirmed::Late(patience)),
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

    /// The bytes of batches of other publishers that it has not delivered, their greatest sum so far, and how many it has
    /// room for.
    pub fn bytes(&self) -> [usize; 3] {
        let size = self.0.options.bytes.max(MAX_FRAME);
        let used = size.saturating_sub(self.0.room.available_permits());
        [used, self.0.most_bytes.load(Ordering::Relaxed), size]
    }

    /// The length of the ring now, its greatest length so far, and its size.
    pub fn ring(&self) -> [usize; 3] {
        let ring = &self.0.ring;
        [ring.len(), ring.high_water(), ring.capacity()]
    }
}

impl Inner {
    /// Adds an entry, or counts it as lost.
    fn offer(&self, entry: Entry) {
        let Err(Item::Entry(entry)) = self.ring.push(Item::Entry(entry)) else {
            return;
        };
        self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        if let What::Minted(span) = entry.what {
            self.losses.add(&entry.key, span);
        }
    }
}

/// A number that nobody can predict: the keys of the standard library's hash tables differ each time.
pub(crate) fn random() -> u64 {
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
