//! The thread that writes, in groups.

use super::group::{Cache, Group};
use super::job::{Job, Prepared};
use super::{Files, Kind, Shared};
use crate::Error;
use crate::frame::MAX_EVENTS;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How many events one group has at most, so that nobody waits too long for its end.
const GROUP: usize = 16 * MAX_EVENTS;

/// The pause between attempts to open a failed database anew.
const PAUSE: Duration = Duration::from_millis(250);

/// The only one that writes to the database.
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) kind: Kind,
    pub(super) shared: Arc<Shared>,
    pub(super) cache: Cache,
    pub(super) committed: watch::Sender<u64>,
}

impl Writer {
    /// Works until nobody uses the store any more.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut events = first.size();
            let mut group = vec![first];
            while events < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                events += job.size();
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
        let Some(files) = self.shared.files() else {
            let error = Error::Unavailable("the database is closed".into());
            jobs.into_iter().for_each(|job| job.refuse(&error));
            return Err(error);
        };
        let mut group = Group::new(&files, &mut self.cache, self.shared.options);
        let mut prepared = Vec::new();
        let mut failure = None;
        for job in jobs {
            if let Some(error) = &failure {
                job.refuse(error);
                continue;
            }
            match job {
                Job::Batch(batch, answer) => match group.add(batch) {
                    Ok(added) => prepared.push(Prepared::Batch(added, answer)),
                    Err(error) => {
                        if matches!(error, Error::Unavailable(_)) {
                            failure = Some(error.clone());
                        }
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Append(event, expected, answer) => match group.append(*event, expected) {
                    Ok(event) => prepared.push(Prepared::Append(event, answer)),
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
                    Ok(applied) => prepared.push(Prepared::Apply(applied, answer)),
                    Err(error) => {
                        failure = Some(error.clone());
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Forget(forget, answer) => match group.forget(forget) {
                    Ok(()) => prepared.push(Prepared::Forget(answer)),
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
        for prepared in prepared {
            prepared.answer(&done);
        }
        done
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
