//! Makes the read model: reads the stream and applies its messages.
//!
//! One consumer follows the end of the stream for all partitions that are complete. Partitions that are added to the share
//! are read by a second one, until they have caught up and join the first.

use super::Inner;
use super::config::Connected;
use super::reading::{Failure, Purpose, Reading, Track};
use super::status::Status;
use super::verify::Evidence;
use crate::Error;
use crate::partition::Share;
use crate::store::Progress;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// How many failed attempts lie between two lines in the log.
const QUIET: u32 = 40;

/// Partitions join those at the end of the stream when they have at most this many messages to go.
const NEAR: u64 = 1000;

/// What makes the read model.
pub(super) struct Consumer {
    inner: Arc<Inner>,
    connected: Connected,
    evidence: Evidence,
    share: watch::Receiver<Arc<Share>>,
}

impl Consumer {
    pub(super) fn new(
        inner: Arc<Inner>,
        connected: Connected,
        share: watch::Receiver<Arc<Share>>,
    ) -> Self {
        Self {
            inner,
            connected,
            evidence: Evidence::default(),
            share,
        }
    }

    /// Runs until the read model has to stop.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            match self.round().await {
                Ok(()) => failures = 0,
                Err(Failure::Again(reason)) => {
                    if failures.is_multiple_of(QUIET) {
                        tracing::warn!(reason, "the stream cannot be read; trying again");
                    }
                    failures = failures.wrapping_add(1);
                    sleep(PAUSE).await;
                }
                Err(Failure::Stopped(reason)) => {
                    tracing::error!(reason, "the read model of the stream has stopped");
                    self.inner.status.send_replace(Status::Stopped(reason));
                    return;
                }
            }
        }
    }

    /// Reads with the share as it is now, until that changes.
    async fn round(&mut self) -> Result<(), Failure> {
        let wanted = Arc::clone(&self.share.borrow_and_update());
        let progress = tokio::task::block_in_place(|| self.inner.store.progress())?;
        let progress = progress.unwrap_or_default();
        let kept: Share = both(&progress.share, &wanted);
        self.inner.held.send_if_modified(|held| {
            let still = both(held, &kept);
            let changes = still != **held;
            *held = Arc::new(still);
            changes
        });
        if wanted.is_empty() {
            return self.changed().await;
        }
        self.evidence.verify(&self.connected, &progress).await?;
        let new: Share = wanted.iter().filter(|p| !kept.contains(*p)).collect();
        let (tail, rest) = if kept.is_empty() {
            (self.unread(new)?, None)
        } else {
            let tail = Track {
                sequence: progress.sequence,
                at: progress.at,
                share: Arc::new(kept),
            };
            let rest = if new.is_empty() {
                None
            } else {
                Some(self.unread(new)?)
            };
            (tail, rest)
        };
        self.read(tail, rest).await
    }

    /// Partitions that are read from the first message that one of them lacks.
    fn unread(&self, share: Share) -> Result<Track, Failure> {
        let applied = |partition| self.inner.store.applied(partition);
        let least = || {
            share
                .iter()
                .map(applied)
                .try_fold(u64::MAX, |least, next| Ok::<_, Error>(least.min(next?)))
        };
        let sequence = tokio::task::block_in_place(least)?;
        Ok(Track {
            sequence,
            at: 0,
            share: Arc::new(share),
        })
    }

    async fn changed(&mut self) -> Result<(), Failure> {
        if self.share.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Follows the end of the stream, and reads the rest beside it. Returns when the share changes, when the rest is read,
    /// or when there is a new connection.
    async fn read(&mut self, tail: Track, rest: Option<Track>) -> Result<(), Failure> {
        let (stop, stopping) = watch::channel(false);
        let (inner, connected) = (Arc::clone(&self.inner), self.connected.clone());
        let reading = |purpose| Reading::new(&inner, &connected, purpose, stopping.clone());
        let following = async {
            let ended = reading(Purpose::Follow).run(tail).await;
            // Whatever ends one reading ends the other.
            stop.send_replace(true);
            ended
        };
        let catching_up = async {
            let Some(mut track) = rest else {
                return Ok(None);
            };
            loop {
                let left = reading(Purpose::CatchUp).run(track).await;
                if left.is_err() || *stop.borrow() {
                    stop.send_replace(true);
                    return left.map(|_| None);
                }
                let (read, pending) = left?;
                if pending <= NEAR {
                    stop.send_replace(true);
                    return Ok(Some(read));
                }
                track = read;
            }
        };
        let changed = async {
            let mut stopped = stopping.clone();
            tokio::select! {
                _ = self.changed() => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            stop.send_replace(true);
        };
        let (followed, caught_up, ()) = tokio::join!(following, catching_up, changed);
        let ((tail, _), read) = (followed?, caught_up?);
        if let Some(read) = read {
            let all: Share = tail.share.iter().chain(read.share.iter()).collect();
            tracing::info!(
                partitions = all.len(),
                "partitions were read from the stream"
            );
            let (sequence, at) = (tail.sequence, tail.at).min((read.sequence, read.at));
            let progress = Progress {
                sequence,
                at,
                share: Arc::new(all),
            };
            let written = inner.store.apply(Vec::new(), Some(progress)).await?;
            let gone = |_| Failure::Again("the writer has ended".into());
            written.await.map_err(gone)??;
        }
        Ok(())
    }
}

/// The partitions that are in both.
fn both(one: &Share, other: &Share) -> Share {
    one.iter().filter(|p| other.contains(*p)).collect()
}
