//! The durable store: one thread writes, in groups; any number of readers.

mod claims;
mod files;
mod forget;
mod group;
mod index;
mod partitions;
mod pending;
mod received;
mod record;
mod run;

pub(crate) use files::{Files, Kind, UNUSED};
pub(crate) use forget::Forget;
pub(crate) use partitions::{Applied, Message, Progress};
pub(crate) use record::{Class, Record};
pub(crate) use run::Stored;

use crate::Error;
use crate::event::Event;
use crate::frame::{Batch, Earlier, MAX_EVENTS};
use group::{Cache, Group};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How many batches and appends may wait to be written. Beyond it whoever asks waits.
const QUEUE: usize = 64;

/// How many events one group has at most, so that nobody waits too long for its end.
const GROUP: usize = 16 * MAX_EVENTS;

/// The pause between attempts to open a failed database anew.
const PAUSE: Duration = Duration::from_millis(250);

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

enum Job {
    Batch(Batch, Answer<Added>),
    Append(Box<Event>, Option<u64>, Answer<Event>),
    Snapshot(Vec<u8>, Vec<u8>),
    Forget(Forget, Answer<()>),
    Apply(Vec<Message>, Option<Progress>, Answer<Vec<Applied>>),
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// An answer that is given when the group is durable.
enum Pending {
    Forget(Answer<()>),
    Batch(Added, Answer<Added>),
    Append(Event, Answer<Event>),
    Apply(Vec<Applied>, Answer<Vec<Applied>>),
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
        sent.map_err(|_| Error::Unavailable("the writer has ended".into()))?;
        Ok(answer)
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Error> {
        let (sender, answer) = oneshot::channel();
        let gone = || Error::Unavailable("the writer has ended".into());
        self.jobs.send(job(sender)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Removes the first events of a key, in this thread.
    pub(crate) fn forget(&self, forget: Forget) -> Result<(), Error> {
        let (sender, answer) = oneshot::channel();
        let gone = || Error::Unavailable("the writer has ended".into());
        let sent = self.jobs.blocking_send(Job::Forget(forget, sender));
        sent.map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?
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
        let files = self
            .shared
            .files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match files {
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

struct Writer {
    directory: PathBuf,
    kind: Kind,
    shared: Arc<Shared>,
    cache: Cache,
    committed: watch::Sender<u64>,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            let mut events = size(group.first());
            while events < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                events += size(Some(&job));
                group.push(job);
            }
            if let Err(error) = self.write(group) {
                tracing::warn!(%error, "the ledger's database failed; it will be opened anew");
                self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
                if !self.reopen(&mut jobs) {
                    return;
                }
                tracing::warn!("the ledger's database was opened anew");
            }
        }
    }

    /// Writes a group and answers everybody. An error means that nobody knows what of it is stored.
    fn write(&mut self, jobs: Vec<Job>) -> Result<(), Error> {
        let files = self.files();
        let Some(files) = files else {
            let error = Error::Unavailable("the database is closed".into());
            jobs.into_iter().for_each(|job| job.refuse(&error));
            return Err(error);
        };
        let mut group = Group::new(&files, &mut self.cache, self.shared.options);
        let mut pending = Vec::new();
        let mut failure = None;
        for job in jobs {
            if let Some(error) = &failure {
                job.refuse(error);
                continue;
            }
            match job {
                Job::Batch(batch, answer) => match group.add(batch) {
                    Ok(added) => pending.push(Pending::Batch(added, answer)),
                    Err(error) => {
                        if matches!(error, Error::Unavailable(_)) {
                            failure = Some(error.clone());
                        }
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Append(event, expected, answer) => match group.append(*event, expected) {
                    Ok(event) => pending.push(Pending::Append(event, answer)),
                    Err(error) => {
                        if matches!(error, Error::Unavailable(_)) {
                            failure = Some(error.clone());
                        }
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Snapshot(key, state) => group.snapshot(key, state),
                Job::Apply(messages, progress, answer) => match group.apply_all(messages, progress)
                {
                    Ok(applied) => pending.push(Pending::Apply(applied, answer)),
                    Err(error) => {
                        failure = Some(error.clone());
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Forget(forget, answer) => match group.forget(forget) {
                    Ok(()) => pending.push(Pending::Forget(answer)),
                    Err(error) => {
                        failure = Some(error.clone());
                        let _ = answer.send(Err(error));
                    }
                },
            }
        }
        let (events, duplicates) = (group.events, group.duplicates);
        let done = match failure {
            None => group.commit(),
            Some(error) => Err(error),
        };
        if done.is_ok() {
            let counts = &self.shared.counts;
            counts.events.fetch_add(events, Ordering::Relaxed);
            counts.duplicates.fetch_add(duplicates, Ordering::Relaxed);
            counts.groups.fetch_add(1, Ordering::Relaxed);
            self.committed.send_modify(|commits| *commits += 1);
        }
        for pending in pending {
            pending.answer(&done);
        }
        done
    }

    fn files(&self) -> Option<Arc<Files>> {
        self.shared
            .files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Opens the database anew, which reads what is stored from the disk. Until that succeeds every job is refused.
    /// False once nobody uses the store any more.
    fn reopen(&mut self, jobs: &mut mpsc::Receiver<Job>) -> bool {
        self.cache = Cache::default();
        let mut old = self
            .shared
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        loop {
            // The database closes when its last reader has ended.
            old = old.and_then(|files| match Arc::try_unwrap(files) {
                Ok(files) => {
                    drop(files);
                    None
                }
                Err(shared) => Some(shared),
            });
            if old.is_none() {
                match Files::open(&self.directory, &self.kind) {
                    Ok(files) => {
                        *self
                            .shared
                            .files
                            .write()
                            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(files));
                        return true;
                    }
                    Err(error) => tracing::debug!(%error, "the database cannot be opened yet"),
                }
            }
            let error = Error::Unavailable("the disk fails".into());
            loop {
                match jobs.try_recv() {
                    Ok(job) => job.refuse(&error),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return false,
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn size(job: Option<&Job>) -> usize {
    match job {
        Some(Job::Batch(batch, _)) => batch.count().unwrap_or(0),
        Some(Job::Apply(messages, ..)) => messages.iter().map(Message::count).sum(),
        _ => 1,
    }
}

impl Job {
    fn refuse(self, error: &Error) {
        match self {
            Self::Batch(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Append(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Self::Forget(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Apply(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Self::Snapshot(..) => {}
        }
    }
}

impl Pending {
    fn answer(self, done: &Result<(), Error>) {
        match self {
            Self::Forget(answer) => drop(answer.send(done.clone())),
            Self::Batch(added, answer) => drop(answer.send(done.clone().map(|()| added))),
            Self::Append(event, answer) => drop(answer.send(done.clone().map(|()| event))),
            Self::Apply(applied, answer) => drop(answer.send(done.clone().map(|()| applied))),
        }
    }
}

#[cfg(test)]
mod tests;
