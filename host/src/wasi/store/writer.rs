//! Commits: all changes that wait share one (group commit).
//!
//! On a fast disk, waking another thread for a commit and being woken by it takes as long as the commit. So a caller that
//! finds no commit under way makes it on its own thread, as long as commits are mostly short. All others are made by the
//! thread of the store, as is everything that takes longer than a commit.

use super::changes::{Changes, Entries};
use super::error::StoreError;
use super::folder::Folder;
use super::queue::{Entered, Queue};
use artisanal_core::yield_once;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The maximum number of changes that wait for a commit or for its end; further callers wait before that.
const MOST_WAITING: usize = 1024;

/// Makes changes, and has a thread for commits that take long.
pub(super) struct Writer {
    commits: Arc<Commits>,
    permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// What the callers share with the thread.
struct Commits {
    folder: Arc<Folder>,
    queue: Mutex<Queue<Box<dyn Pending>>>,
    /// Wakes the thread.
    handed_over: Condvar,
}

impl Writer {
    pub(super) fn start(folder: Arc<Folder>) -> Result<Self, StoreError> {
        let commits = Arc::new(Commits {
            folder,
            queue: Mutex::default(),
            handed_over: Condvar::new(),
        });
        let of_thread = Arc::clone(&commits);
        let thread = std::thread::Builder::new()
            .name("embedded-store".into())
            .spawn(move || {
                let closing = Closing(&of_thread);
                of_thread.run();
                drop(closing);
            })?;
        Ok(Self {
            commits,
            permits: Arc::new(Semaphore::new(MOST_WAITING)),
            thread: Some(thread),
        })
    }

    /// Makes a change and returns once it is on disk. The change is made even if the future is dropped after it was polled.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        bucket: String,
        change: impl FnOnce(&mut Entries<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let (reply, answer) = oneshot::channel();
        let change = Change {
            bucket,
            change: Some(change),
            outcome: Err(StoreError::Closed),
            reply,
            _permit: permit.map_err(|_| StoreError::Closed)?,
        };
        if let Some(turn) = self.commits.enter(Box::new(change)) {
            // Other tasks that are ready may have changes too.
            yield_once().await;
            turn.commit();
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    /// Waits for the last commit, so that the file is closed before it can be opened again.
    fn drop(&mut self) {
        self.commits.lock().close();
        self.commits.handed_over.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panic was already reported.
            drop(thread.join());
        }
    }
}

impl Commits {
    /// Adds a change. Returns the turn to commit if the caller is to do it.
    fn enter(&self, change: Box<dyn Pending>) -> Option<Turn<'_>> {
        let entered = self.lock().enter(change, || self.folder.is_open());
        match entered {
            Entered::Committer => Some(Turn(self)),
            Entered::HandedOver => {
                self.handed_over.notify_one();
                None
            }
            Entered::Waiting => None,
        }
    }

    /// Commits for callers until the store is closed.
    fn run(&self) {
        while let Some(batch) = self.wait() {
            let done = self.commit(batch);
            let took = done.took;
            done.answer();
            self.folder.replace_if_full();
            self.lock().end_of_thread(took);
        }
    }

    /// Waits for changes that are left to the thread. None once the store is closed.
    fn wait(&self) -> Option<Vec<Box<dyn Pending>>> {
        let queue = self.handed_over.wait_while(self.lock(), |queue| {
            !queue.is_handed_over() && !queue.is_closed()
        });
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        queue.is_handed_over().then(|| queue.take())
    }

    /// Makes the changes in one commit, and returns once it is on disk.
    fn commit(&self, mut batch: Vec<Box<dyn Pending>>) -> Done {
        let begun = Instant::now();
        let result = self.folder.commit(|changes| {
            batch
                .iter_mut()
                .try_for_each(|pending| pending.make(changes))
        });
        let took = (!batch.is_empty()).then(|| begun.elapsed());
        Done {
            batch,
            result,
            took,
        }
    }

    fn hand_over(&self) {
        self.lock().hand_over();
        self.handed_over.notify_one();
    }

    /// Ignores poisoning: no statement under the lock leaves the queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue<Box<dyn Pending>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of a caller to commit. However it ends, the changes that wait are committed: when the caller is gone before it
/// did, the thread takes its place.
struct Turn<'a>(&'a Commits);

impl Turn<'_> {
    fn commit(self) {
        let batch = self.0.lock().take();
        let done = self.0.commit(batch);
        let is_full = self.0.folder.is_full();
        // Before the answers are sent: who gets one may have the next change.
        if self.0.lock().end_of_caller(done.took, is_full) {
            drop(self);
        } else {
            std::mem::forget(self);
        }
        done.answer();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}

/// A commit that has ended.
struct Done {
    batch: Vec<Box<dyn Pending>>,
    result: Result<(), StoreError>,
    /// How long it took; None if there were no changes.
    took: Option<Duration>,
}

impl Done {
    /// Answers each change with its outcome, or all with the error of the commit.
    fn answer(self) {
        for pending in self.batch {
            pending.answer(self.result.clone());
        }
    }
}

/// Closes the store when its thread ends, for instance by a panic, so that no caller waits for it.
struct Closing<'a>(&'a Commits);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.close();
        let unanswered = queue.take();
        drop(queue);
        drop(unanswered);
    }
}

/// A change with a waiting caller.
trait Pending: Send {
    /// Makes the change in a commit.
    ///
    /// # Errors
    /// When the commit has failed for all changes. An error of only this change is kept as its
    /// outcome.
    fn make(&mut self, changes: &mut Changes<'_>) -> Result<(), StoreError>;

    /// Sends the outcome, or the error of the commit.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Change<T, F> {
    bucket: String,
    /// The change; None once it was made.
    change: Option<F>,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Held until the change is answered, even if its caller is gone.
    _permit: OwnedSemaphorePermit,
}

impl<T: Send, F> Pending for Change<T, F>
where
    F: FnOnce(&mut Entries<'_, '_>) -> Result<T, StoreError> + Send,
{
    fn make(&mut self, changes: &mut Changes<'_>) -> Result<(), StoreError> {
        if let Some(change) = self.change.take() {
            self.outcome = change(&mut changes.bucket(&self.bucket));
        }
        match &self.outcome {
            Err(error) if error.ends_database() => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // The caller may be gone; the stored change remains.
        drop(self.reply.send(committed.and(self.outcome)));
    }
}

#[cfg(test)]
impl Writer {
    /// Lets the next caller commit on its own thread, however long commits took.
    pub(super) fn trust_commits(&self) {
        self.commits.lock().trust_commits();
    }
}
