//! The writer thread: all waiting changes share one commit (group commit).

use super::changes::{Changes, Entries};
use super::error::StoreError;
use super::folder::Folder;
use super::inbox::Inbox;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The maximum number of changes per commit, and the capacity of the channel to the thread; callers wait
/// when it is full.
const BATCH: usize = 1024;

/// The writer thread and the channel to it.
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Box<dyn Pending>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(folder: Arc<Folder>, busy_poll: Duration) -> Result<Self, StoreError> {
        let (changes, waiting) = mpsc::channel(BATCH);
        let mut inbox = Inbox::new(waiting, busy_poll);
        let thread = std::thread::Builder::new()
            .name("embedded-store".into())
            .spawn(move || {
                while let Some(batch) = inbox.next(BATCH) {
                    commit(&folder, batch);
                    folder.replace_if_full();
                }
            })?;
        Ok(Self {
            changes: Some(changes),
            thread: Some(thread),
        })
    }

    /// Makes a change and returns once it is on disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        bucket: String,
        change: impl FnOnce(&mut Entries<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let change = Change {
            bucket,
            change: Some(change),
            outcome: Err(StoreError::Closed),
            reply,
        };
        let changes = self.changes.as_ref().ok_or(StoreError::Closed)?;
        changes
            .send(Box::new(change))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    /// Waits for the last commit, so that the file is closed before it can be opened again.
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was already reported.
            drop(thread.join());
        }
    }
}

/// Makes the changes in one commit. Answers each with its outcome once the commit is on disk, or all with its error.
fn commit(folder: &Folder, mut batch: Vec<Box<dyn Pending>>) {
    let committed = folder.commit(|changes| {
        batch
            .iter_mut()
            .try_for_each(|pending| pending.make(changes))
    });
    for pending in batch {
        pending.answer(committed.clone());
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
