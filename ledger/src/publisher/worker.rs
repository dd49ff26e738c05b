//! The workers, which send batches until they are acknowledged.

use super::connection::{Broken, Connection};
use super::entry::{Answer, Entry, Item, Relayed, What};
use super::{Inner, Policy, random};
use crate::event::Event;
use crate::frame::{Earlier, MAX_EVENTS, Refusal, Reply, Writer};
use bytes::Bytes;
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a batch waits for further events. With [`Policy::Strict`] somebody waits for each event, so it leaves at
/// once.
const LINGER: Duration = Duration::from_millis(20);

/// The first and the longest pause after a failure.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// How many events of a batch may be losses.
const LOSSES: usize = 256;

/// Runs all workers until the ring is closed and empty, or until `stopped`.
pub(super) async fn run_all(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let count = inner.options.workers.max(1);
    let workers = (0..count).map(|_| Worker::new(&inner).run());
    tokio::select! {
        _ = join_all(workers) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

struct Worker<'a> {
    inner: &'a Inner,
    connection: Option<Connection>,
    /// Failures since the last answer.
    failures: u32,
    connected: bool,
    writer: Writer,
}

impl<'a> Worker<'a> {
    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            connection: None,
            failures: 0,
            connected: false,
            writer: Writer::default(),
        }
    }

    async fn run(mut self) {
        let inner = self.inner;
        let linger = match inner.options.policy {
            Policy::Strict => Duration::ZERO,
            Policy::Shed | Policy::Block => LINGER,
        };
        let (mut items, mut entries, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            // What comes while batches are under way goes into the next one.
            let _turn = match inner.options.policy {
                Policy::Strict => inner.flights.acquire().await.ok(),
                Policy::Shed | Policy::Block => None,
            };
            let more = inner
                .ring
                .take(&mut items, MAX_EVENTS - LOSSES, linger, Item::weight)
                .await;
            for item in items.drain(..) {
                match item {
                    Item::Entry(entry) => entries.push(entry),
                    Item::Batch(batch) => batches.push(batch),
                }
            }
            let losses = inner.losses.take(LOSSES);
            if !more && losses.is_empty() {
                break;
            }
            if !entries.is_empty() || !losses.is_empty() {
                self.send(&mut entries, losses).await;
            }
            for batch in batches.drain(..) {
                self.relay(*batch).await;
            }
        }
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// Sends entries in one batch, and tells those who wait.
    async fn send(&mut self, entries: &mut Vec<Entry>, losses: Vec<Event>) {
        let inner = self.inner;
        for entry in &*entries {
            if let Some(row) = entry.row() {
                self.writer.mint(&row);
            } else if let Some(event) = entry.event() {
                self.writer.event(&event);
            } else if let Some(lookup) = entry.lookup() {
                self.writer.lookup(&lookup);
            }
        }
        for event in &losses {
            self.writer.event(event);
        }
        let count = self.writer.count();
        let first = inner.next.fetch_add(count as u64, Ordering::Relaxed);
        let frame = self.writer.finish(inner.id, first);
        let reply = self.deliver(frame, first, count).await;
        let reply = reply.refusal.is_none().then_some(reply);
        let (mut event, mut lookup) = (0, 0);
        let mut answers = Vec::new();
        for entry in entries.drain(..) {
            let asks = matches!(entry.what, What::Asked);
            let next = if asks { &mut lookup } else { &mut event };
            let index = std::mem::replace(next, *next + 1);
            if let Some(waiting) = entry.answer {
                let answer = reply.as_ref().map_or(Answer::Refused, |reply| {
                    let all = if asks { &reply.found } else { &reply.earlier };
                    answer(all, index)
                });
                answers.push((waiting, answer));
            }
        }
        let tell = move || {
            for (waiting, answer) in answers {
                let _ = waiting.send(answer);
            }
        };
        match inner.callers.get() {
            // One wake-up of the thread that they wait in, and not one for each.
            Some(callers) => drop(callers.spawn(async move { tell() })),
            None => tell(),
        }
    }

    /// Sends a batch of another publisher.
    async fn relay(&mut self, batch: Relayed) {
        let Relayed {
            frame,
            first,
            count,
            answer,
            room,
        } = batch;
        let reply = self.deliver(frame, first, count).await;
        drop(room);
        let _ = answer.send(reply);
    }

    /// Sends a batch until it is stored or refused for ever, and returns the reply that says so.
    async fn deliver(&mut self, frame: Bytes, first: u64, count: usize) -> Reply {
        let stats = &self.inner.stats;
        let events = count as u64;
        stats.unacknowledged.fetch_add(events, Ordering::Relaxed);
        let reply = self.repeat(frame, first, count).await;
        stats.unacknowledged.fetch_sub(events, Ordering::Relaxed);
        let counter = match &reply.refusal {
            None => &stats.acknowledged,
            Some(_) => &stats.refused,
        };
        counter.fetch_add(events, Ordering::Relaxed);
        reply
    }

    async fn repeat(&mut self, frame: Bytes, first: u64, count: usize) -> Reply {
        loop {
            match self.attempt(frame.clone(), first, count).await {
                Ok(reply) => match &reply.refusal {
                    None => {
                        self.failures = 0;
                        return reply;
                    }
                    Some(Refusal {
                        code,
                        detail,
                        again: false,
                    }) => {
                        tracing::error!(code, detail, count, "the ledger refuses events");
                        return reply;
                    }
                    Some(refusal) => self.warn(&refusal.detail),
                },
                Err(error) => {
                    self.connection = None;
                    self.warn(&error.to_string());
                }
            }
            self.pause().await;
        }
    }

    async fn attempt(&mut self, frame: Bytes, first: u64, count: usize) -> Result<Reply, Broken> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let opened = Connection::open(&self.inner.options).await?;
                if std::mem::replace(&mut self.connected, true) {
                    self.inner.stats.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                none.insert(opened)
            }
        };
        connection.send(frame, first, count).await
    }

    /// Logs the first failure of several.
    fn warn(&self, reason: &str) {
        if self.failures == 0 {
            let ledger = self.inner.options.target.to_string();
            tracing::warn!(
                ledger,
                reason,
                "the ledger does not store events; trying again"
            );
        }
    }

    async fn pause(&mut self) {
        let [shortest, longest] = PAUSES;
        let pause = shortest
            .saturating_mul(1 << self.failures.min(10))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        // Half of it is chance, so that the workers of all servers do not come back at once.
        let chance = u32::try_from(random() % 1000).unwrap_or(0);
        sleep(pause / 2 + pause / 2 * chance / 1000).await;
    }
}

/// The answer to the event or lookup at this place of a batch. The entries of a reply are in the order of their places.
fn answer(all: &[Earlier], index: u32) -> Answer {
    let found = all.binary_search_by_key(&index, |earlier| earlier.index);
    let mint = found.ok().and_then(|at| all.get(at)?.mint);
    mint.map_or(Answer::Done, Answer::Earlier)
}
