//! A ledger whose events are in a stream of NATS JetStream, which several ledgers share.
//!
//! The stream is the log: an event is acknowledged when the stream has it. The [`Store`] is a read model, which each
//! ledger makes from the stream for itself. All events of a partition have one subject, and their order in the stream
//! decides everything that depends on an order: their numbers, which of two appended events with the same `expected` is
//! stored, and which integers an idempotency key has.

mod config;
mod consumer;
mod message;
mod options;
mod publish;
mod reading;
mod status;
mod verify;

pub use options::Options;
pub use status::{Counts, Status};

pub(crate) use message::{Entry, Outgoing, split};

use crate::Error;
use crate::event::Event;
use crate::frame::{Batch, Earlier, Lookup};
use crate::partition::{self, Share};
use crate::publisher::random;
use crate::store::{self, Added, Kind, Store};
use config::Connected;
use consumer::Consumer;
use futures::future::try_join_all;
use message::placed;
use publish::Publishing;
use reading::Failure;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use verify::Evidence;

/// How long a batch or an appended event may take. A publisher sends a batch again after 30 s without an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A ledger's connection to its stream, and its read model. Clones are the same.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    store: Store,
    publishing: Publishing,
    /// The id of this process as the publisher of appended events.
    id: u64,
    /// The number of the next appended event.
    next: AtomicU64,
    /// Who waits for the appended event with a number.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Event, Error>>>>,
    /// Up to which message all messages of the partitions in `held` are applied.
    position: watch::Sender<u64>,
    /// The partitions with which the read model has caught up.
    held: watch::Sender<Arc<Share>>,
    status: Arc<watch::Sender<Status>>,
    counts: Arc<Counts>,
}

/// Checks that the stream has what a directory has. Waits for the servers.
async fn verify(connected: &Connected, store: &Store) -> Result<(), Error> {
    let progress = store.progress()?.unwrap_or_default();
    let mut evidence = Evidence::default();
    let mut failures = 0;
    loop {
        match evidence.verify(connected, &progress).await {
            Ok(()) => return Ok(()),
            Err(Failure::Stopped(reason)) => return Err(Error::Misconfigured(reason)),
            Err(Failure::Again(reason)) => config::warn(&mut failures, &reason),
        }
        sleep(config::PAUSE).await;
    }
}

impl Stream {
    /// Connects to the stream, which is made if it does not exist, and makes the read model in a directory go on. Waits
    /// for the server of the stream. `share` is what this ledger shall hold, and `held` what it says that its read model
    /// has caught up with: [`Members`](crate::members::Members) ask the same place.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if the stream or the directory cannot be used.
    pub async fn open(
        options: &Options,
        directory: &Path,
        store: store::Options,
        share: watch::Receiver<Arc<Share>>,
        held: watch::Sender<Arc<Share>>,
    ) -> Result<Self, Error> {
        let counts = Arc::new(Counts::default());
        let (status, _) = watch::channel(Status::Behind);
        let status = Arc::new(status);
        let connected = Connected::open(options, &counts, &status).await?;
        let kind = Kind::Stream(connected.name.clone());
        let store = Store::open_as(directory, store, kind)?;
        verify(&connected, &store).await?;
        let (position, _) = watch::channel(0);
        let inner = Arc::new(Inner {
            publishing: Publishing::new(&connected, &counts)?,
            store,
            id: random().max(1),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            position,
            held,
            status,
            counts,
        });
        let consumer = Consumer::new(Arc::clone(&inner), connected, share);
        tokio::spawn(consumer.run());
        Ok(Self(inner))
    }

    /// The read model.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How the connection and the read model are.
    pub fn status(&self) -> Status {
        let status = self.0.status.borrow().clone();
        match status {
            Status::Stopped(_) => status,
            _ if !self.0.publishing.is_connected() => Status::Away,
            other => other,
        }
    }

    /// What it counts.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Up to which message all messages of its partitions are applied.
    pub fn position(&self) -> u64 {
        *self.0.position.borrow()
    }

    /// Whether the read model has the events of a key.
    pub fn holds(&self, key: &str) -> bool {
        self.0.held.borrow().contains(partition::of(key))
    }

    /// Stores those events of a batch whose keys are in a partition that is `meant`. Returns when the stream has all; if
    /// some have idempotency keys, when they are applied as well.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if some may be stored or not; [`Error::Invalid`].
    pub async fn add(&self, batch: &Batch, meant: impl Fn(u16) -> bool) -> Result<Added, Error> {
        let deadline = Instant::now() + LIMIT;
        let invalid = |unfit: crate::event::Unfit| Error::Invalid(unfit.0);
        let mut messages = split(batch, self.0.publishing.most).map_err(invalid)?;
        messages.retain(|message| meant(message.partition));
        let answered: Vec<_> = messages.iter().filter(|message| message.answered).collect();
        for message in &answered {
            self.check_held(message.partition)?;
        }
        let publish = |message| self.0.publishing.publish(message, deadline);
        let stored = try_join_all(messages.iter().map(publish)).await?;
        let mut added = Added::default();
        for (message, stored) in messages.iter().zip(&stored) {
            added.duplicates += usize::from(stored.duplicate) * message.events;
        }
        if answered.is_empty() {
            return Ok(added);
        }
        for (message, stored) in messages.iter().zip(&stored) {
            if message.answered {
                self.applied(message.partition, stored.sequence, deadline)
                    .await?;
            }
        }
        let mut events = placed(batch).map_err(invalid)?;
        events
            .retain(|(_, event)| !event.idempotency.is_empty() && meant(partition::of(&event.key)));
        added.earlier = tokio::task::block_in_place(|| self.0.store.earlier(&events))?;
        Ok(added)
    }

    /// Appends an event and returns it with its number, once the stream has it and it is applied.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key is not at event `expected`, [`Error::Unavailable`] if it may be stored or not,
    /// [`Error::Invalid`].
    pub async fn append(&self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        event.check().map_err(|unfit| Error::Invalid(unfit.0))?;
        let deadline = Instant::now() + LIMIT;
        let partition = partition::of(&event.key);
        self.check_held(partition)?;
        if let Some(expected) = expected {
            self.check_expected(&event.key, partition, expected, deadline)
                .await?;
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let message = Outgoing::appended(event, self.0.id, number, expected);
        let (sender, answer) = oneshot::channel();
        self.0.waiting().insert(number, sender);
        let waiting = Waiting(&self.0, number);
        self.0.publishing.publish(&message, deadline).await?;
        let answer = timeout_at(deadline, answer).await;
        drop(waiting);
        let late = || Error::Unavailable("an event is in the stream, and not applied yet".into());
        answer.map_err(|_| late())?.map_err(|_| late())?
    }

    /// Refuses an event that cannot be the next one, so that the stream does not get it.
    async fn check_expected(
        &self,
        key: &str,
        partition: u16,
        expected: u64,
        deadline: Instant,
    ) -> Result<(), Error> {
        let current = || {
            let page = tokio::task::block_in_place(|| self.0.store.events(key, u64::MAX, 1));
            page.map(|page| page.last)
        };
        let mut last = current()?;
        if last < expected {
            // The client may know an event that is not applied here yet.
            let sequence = self.0.publishing.last(partition, deadline).await?;
            self.applied(partition, sequence, deadline).await?;
            last = current()?;
        }
        if last == expected {
            Ok(())
        } else {
            Err(Error::Conflict { current: last })
        }
    }

    /// The partitions of a batch that another ledger has to answer: some of their events have idempotency keys, or there
    /// are lookups, and this ledger does not have them or has not caught up.
    pub(crate) fn elsewhere(&self, batch: &Batch) -> Share {
        let held = self.0.held.borrow().clone();
        let events = batch.events.iter();
        let answered = events.filter(|event| !event.idempotency.is_empty());
        let keys = answered.map(|event| &event.key);
        let keys = keys.chain(batch.lookups.iter().map(|lookup| &lookup.key));
        let partitions = keys.map(|key| partition::of(key));
        partitions.filter(|one| !held.contains(*one)).collect()
    }

    /// The integers of an idempotency key, if it has some here already.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn lookup(&self, lookup: &Lookup, index: usize) -> Result<Option<Earlier>, Error> {
        self.check_held(partition::of(&lookup.key))?;
        self.0.store.lookup(lookup, index)
    }

    fn check_held(&self, partition: u16) -> Result<(), Error> {
        if let Status::Stopped(reason) = &*self.0.status.borrow() {
            return Err(Error::Unavailable(format!(
                "the read model has stopped: {reason}"
            )));
        }
        if self.0.held.borrow().contains(partition) {
            Ok(())
        } else {
            Err(Error::Unavailable(
                "this ledger does not have the key's events, or not yet".into(),
            ))
        }
    }

    /// Waits until a message of a partition is applied.
    async fn applied(&self, partition: u16, sequence: u64, deadline: Instant) -> Result<(), Error> {
        let mut position = self.0.position.subscribe();
        let reached = position.wait_for(|position| *position >= sequence);
        let reached = timeout_at(deadline, reached).await;
        let late = || Error::Unavailable("a message of the stream is not applied yet".into());
        reached.map_err(|_| late())?.map_err(|_| late())?;
        self.check_held(partition)
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<Event, Error>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an appended event of this process to the client that waits for it.
    fn answer(&self, number: u64, answer: Result<Event, Error>) {
        if let Some(waiting) = self.waiting().remove(&number) {
            let _ = waiting.send(answer);
        }
    }
}

/// Somebody who waits for an appended event, until it is dropped.
struct Waiting<'a>(&'a Inner, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}
