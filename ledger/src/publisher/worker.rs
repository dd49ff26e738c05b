//! The workers, which send batches until they are acknowledged.

use super::connection::{Broken, Connection};
use super::entry::{Answer, Entry, Item, Relayed, What};
use super::reply_limit::ReplyLimit;
use super::{Inner, Policy, random};
use crate::LINES;
use crate::frame::{Earlier, MAX_EVENTS, Refusal, Reply, Writer};
use bytes::Bytes;
use futures::future::join_all;
use intd::LogLimiter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

/// How long a batch waits for further events. The ledger syncs its files for each batch, so shorter waits cost more, also the
/// server if both are on one machine. With [`Policy::Strict`] somebody waits for each event, so it leaves at once.
const LINGER: Duration = Duration::from_millis(20);

/// The first and the longest pause after a failure. The longest one is short beside the 5 s that a mint waits for its
/// acknowledgement, so that mints go on soon after the ledger has come back.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Limits what is logged of batches that the ledger refuses for good.
static REFUSALS: LogLimiter = LogLimiter::with_burst(LINES);

/// Limits what is logged of failures after which a batch is sent again.
static FAILURES: LogLimiter = LogLimiter::with_burst(LINES);

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
    limit: ReplyLimit,
    connected: bool,
    /// The batch that comes next.
    writer: Writer,
    /// How many questions are in it.
    lookups: u32,
    waiting: Vec<Waiting>,
}

/// Somebody who waits for what the ledger answers.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Whether this is a question and not an event.
    asks: bool,
    /// The place among the events of the batch, or among its questions.
    index: u32,
}

impl<'a> Worker<'a> {
    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            connection: None,
            failures: 0,
            limit: ReplyLimit::default(),
            connected: false,
            writer: Writer::default(),
            lookups: 0,
            waiting: Vec::new(),
        }
    }

    async fn run(mut self) {
        let inner = self.inner;
        let linger = match inner.options.policy {
            Policy::Strict => Duration::ZERO,
            Policy::Shed | Policy::Block => LINGER,
        };
        let (mut items, mut batches) = (Vec::new(), Vec::new());
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
                    Item::Entry(entry) => self.add(entry),
                    Item::Batch(batch) => batches.push(batch),
                }
            }
            let losses = inner.losses.take(LOSSES);
            if !more && losses.is_empty() {
                break;
            }
            for event in &losses {
                self.writer.event(event);
            }
            if self.writer.count() > 0 || self.lookups > 0 {
                self.send().await;
            }
            for batch in batches.drain(..) {
                self.relay(*batch).await;
            }
        }
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// Adds an entry to the batch that comes next.
    fn add(&mut self, entry: Entry) {
        let asks = matches!(entry.what, What::Asked);
        // At most as many as a batch may have.
        let events = u32::try_from(self.writer.count()).unwrap_or(u32::MAX);
        let index = if asks { self.lookups } else { events };
        if let Some(row) = entry.row() {
            self.writer.mint(&row);
        } else if let Some(event) = entry.event() {
            self.writer.event(&event);
        } else if let Some(lookup) = entry.lookup() {
            self.writer.lookup(&lookup);
            self.lookups += 1;
        }
        self.waiting.extend(entry.answer.map(|answer| Waiting {
            answer,
            asks,
            index,
        }));
    }

    /// Sends the batch, and tells those who wait.
    async fn send(&mut self) {
        let inner = self.inner;
        let count = self.writer.count();
        let first = inner.next.fetch_add(count as u64, Ordering::Relaxed);
        let frame = self.writer.finish(inner.id, first);
        self.lookups = 0;
        let reply = self.deliver(frame, first, count).await;
        let reply = reply.refusal.is_none().then_some(reply);
        let waiting = std::mem::take(&mut self.waiting);
        let answers = waiting.into_iter().map(move |waiting| {
            let answer = reply.as_ref().map_or(Answer::Refused, |reply| {
                let all = if waiting.asks {
                    &reply.found
                } else {
                    &reply.earlier
                };
                answer(all, waiting.index)
            });
            (waiting.answer, answer)
        });
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
                    Some(refusal) if refusal.again => self.warn(&refusal.detail),
                    Some(refusal) => {
                        log_refusal(refusal, count);
                        return reply;
                    }
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
        let sent = Instant::now();
        let answer = connection.send(frame, first, count, self.limit.get()).await;
        match &answer {
            Ok(_) => self.limit.note_answer(sent.elapsed()),
            Err(Broken::Late) => self.limit.note_late(),
            Err(_) => {}
        }
        answer
    }

    /// Logs the first failure of several.
    fn warn(&self, reason: &str) {
        if self.failures == 0
            && let Some(others) = FAILURES.allow()
        {
            let ledger = self.inner.options.target.to_string();
            tracing::warn!(
                ledger,
                reason,
                suppressed = (others > 0).then_some(others),
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

/// Logs that the ledger refuses this many events for ever.
fn log_refusal(Refusal { code, detail, .. }: &Refusal, count: usize) {
    if let Some(others) = REFUSALS.allow() {
        let suppressed = (others > 0).then_some(others);
        tracing::error!(code, detail, count, suppressed, "the ledger refuses events");
    }
}

/// The answer to the event or lookup at this place of a batch. The entries of a reply are in the order of their places.
fn answer(all: &[Earlier], index: u32) -> Answer {
    let found = all.binary_search_by_key(&index, |earlier| earlier.index);
    let mint = found.ok().and_then(|at| all.get(at)?.mint);
    mint.map_or(Answer::Done, Answer::Earlier)
}
