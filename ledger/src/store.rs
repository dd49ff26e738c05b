//! The durable store: one thread writes, in groups; any number of readers.

mod claims;
mod files;
mod forget;
mod group;
mod index;
mod job;
mod partitions;
mod pending;
mod received;
mod record;
mod run;
mod writer;

pub(crate) use files::{Files, Kind, UNUSED};
pub(crate) use forget::Forget;
pub(crate) use partitions::{Applied, Message, Progress};
pub(crate) use record::{Class, Record};
pub(crate) use run::Stored;

use crate::Error;
use crate::event::Event;
use crate::frame::{Batch, Earlier};
use group::Cache;
use job::{Answer, Job};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// How many batches and appends may wait to be written. Beyond it whoever asks waits.
const QUEUE: usize = 64;

/// How a store keeps what it is told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long an idempotency key has its integers.
    pub repeatable: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            repeatable: Duration::from_secs(24 * 3600),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// How many of its events were stored already.
    pub duplicates: usize,
    /// The events whose idempotency key has the integers of another event.
    pub earlier: Vec<Earlier>,
}

/// The store of one data directory. Clones are the same store; the database is closed after the last one is dropped.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    commits: watch::Receiver<u64>,
}

/// What readers and the writer share.
struct Shared {
    /// None while the database is opened anew.
    files: RwLock<Option<Arc<Files>>>,
    counts: Counts,
    options: Options,
}

impl Shared {
    /// The database, unless it is being opened anew.
    fn files(&self) -> Option<Arc<Files>> {
        let files = self.files.read();
        files.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a store counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Stored events.
    pub events: AtomicU64,
    /// Groups that became durable, each with one sync of the disk.
    pub groups: AtomicU64,
    /// Events that were stored already when they came.
    pub duplicates: AtomicU64,
    /// Failures after which the database was opened anew.
    pub failures: AtomicU64,
}

impl Store {
    /// Opens the store of a directory, or makes it.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] for a directory of another version, and for one in use; [`Error::Unavailable`] for an
    /// I/O error.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        Self::open_as(directory, options, Kind::Embedded)
    }

    /// Opens the store of a directory, or makes it, for events of this kind.
    pub(crate) fn open_as(directory: &Path, options: Options, kind: Kind) -> Result<Self, Error> {
        let files = Arc::new(Files::open(directory, &kind)?);
        let shared = Arc::new(Shared {
            files: RwLock::new(Some(files)),
            counts: Counts::default(),
            options,
        });
        let (jobs, received) = mpsc::channel(QUEUE);
        let (committed, commits) = watch::channel(0);
        let writer = Writer {
            directory: directory.to_owned(),
            kind,
            shared: Arc::clone(&shared),
            cache: Cache::default(),
            committed,
        };
        std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || writer.run(received))
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self {
            jobs,
            shared,
            commits,
        })
    }

    /// Stores the events of a batch that are not stored yet. Returns when all are durable. A mint whose idempotency key has
    /// other integers already is stored as [unused](crate::event::Unused).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the batch can never be stored, [`Error::Unavailable`] if it may be stored or not.
    pub async fn add(&self, batch: Batch) -> Result<Added, Error> {
        self.ask(|answer| Job::Batch(batch, answer)).await
    }

    /// Appends one event and returns it with its number, once it is durable.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key is not at event `expected`; otherwise as [`Store::add`].
    pub async fn append(&self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        event.check().map_err(|unfit| Error::Invalid(unfit.0))?;
        self.ask(|answer| Job::Append(Box::new(event), expected, answer))
            .await
    }

    /// Passes messages of the stream to the writer, in their order. The answer comes when they are durable.
    pub(crate) async fn apply(
        &self,
        messages: Vec<Message>,
        progress: Option<Progress>,
    ) -> Result<oneshot::Receiver<Result<Vec<Applied>, Error>>, Error> {
        let (sender, answer) = oneshot::channel();
        let sent = self.jobs.send(Job::Apply(messages, progress, sender)).await;
        sent.map_err(ended)?;
        Ok(answer)
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Error> {
        let (sender, answer) = oneshot::channel();
        self.jobs.send(job(sender)).await.map_err(ended)?;
        answer.await.map_err(ended)?
    }

    /// Removes the first events of a key, in this thread.
    pub(crate) fn forget(&self, forget: Forget) -> Result<(), Error> {
        let (sender, answer) = oneshot::channel();
        let sent = self.jobs.blocking_send(Job::Forget(forget, sender));
        sent.map_err(ended)?;
        answer.blocking_recv().map_err(ended)?
    }

    /// Keeps a snapshot if the writer has time for it.
    pub(crate) fn keep_snapshot(&self, key: Vec<u8>, state: Vec<u8>) {
        let _ = self.jobs.try_send(Job::Snapshot(key, state));
    }

    /// Reads in this thread, which may wait for the disk.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Files) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.shared.files() {
            Some(files) => read(&files),
            None => Err(Error::Unavailable(
                "the database is being opened anew".into(),
            )),
        }
    }

    /// Whether the database is open, and not about to be opened anew.
    pub(crate) fn is_open(&self) -> bool {
        let files = self.shared.files.read();
        files.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Notices every group that becomes durable.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// What it counts.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

/// The error when the writer's thread is not there any more.
fn ended<E>(_: E) -> Error {
    Error::Unavailable("the writer has ended".into())
}

#[cfg(test)]
mod tests;
