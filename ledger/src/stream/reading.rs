//! One consumer of the stream, from its creation until it is of no use any more.

use super::Inner;
use super::config::{Connected, subject};
use super::message::Entry;
use super::status::Status;
use crate::Error;
use crate::partition::Share;
use crate::store::{Applied, Message, Progress};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How many messages and bytes the stream sends before it is asked for more.
const MESSAGES: usize = 1024;
const BYTES: usize = 8 << 20;

/// How many messages and bytes become one job of the writer, and how many jobs it has at a time.
const JOB: usize = 256;
const JOB_BYTES: usize = 2 << 20;
const JOBS: usize = 4;

/// How often the stream gives a sign of life when it has no messages. After twice that time the consumer is made anew.
const ALIVE: Duration = Duration::from_secs(2);

/// How long one request for messages counts.
const REQUEST: Duration = Duration::from_secs(30);

/// How long the stream keeps a consumer that nobody asks for messages.
const UNUSED: Duration = Duration::from_secs(60);

/// Why reading ends.
#[derive(Debug)]
pub(super) enum Failure {
    /// It can go on later.
    Again(String),
    /// It cannot go on.
    Stopped(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Again(error.to_string())
    }
}

/// Partitions that are read together, and up to which message.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) sequence: u64,
    /// When the stream stored the last message, in microseconds since 1970; 0 if that is not known.
    pub(super) at: u64,
    pub(super) share: Arc<Share>,
}

/// What partitions are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To follow the end of the stream.
    Follow,
    /// To get near the end.
    CatchUp,
}

/// A consumer.
pub(super) struct Reading<'a> {
    inner: &'a Arc<Inner>,
    connected: &'a Connected,
    purpose: Purpose,
    stopping: watch::Receiver<bool>,
}

/// What is known of a message that is being applied.
struct Sent {
    sequence: u64,
    /// When the stream stored it, in microseconds since 1970.
    at: u64,
    /// How many messages come after it.
    pending: u64,
    /// The number of an event that was appended at this ledger.
    own: Option<u64>,
}

/// A job of the writer.
type Job = BoxFuture<'static, (Vec<Sent>, Result<Vec<Applied>, Error>)>;

impl<'a> Reading<'a> {
    pub(super) fn new(
        inner: &'a Arc<Inner>,
        connected: &'a Connected,
        purpose: Purpose,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            inner,
            connected,
            purpose,
            stopping,
        }
    }

    /// Reads and applies messages until it is told to stop; to catch up, until it has applied what there was at the
    /// beginning. Returns how far it came, and how many messages there were at the beginning.
    pub(super) async fn run(mut self, mut track: Track) -> Result<(Track, u64), Failure> {
        let reconnects = self.reconnects();
        let again = |error: &dyn std::fmt::Display| Failure::Again(error.to_string());
        // Before the consumer is made: it has everything up to here.
        let end = self.connected.info().await?.state.last_sequence;
        let consumer = self
            .connected
            .stream
            .create_consumer(self.config(&track))
            .await;
        let consumer = consumer.map_err(|error| again(&error))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .stream()
            .max_messages_per_batch(MESSAGES)
            .max_bytes_per_batch(BYTES)
            .expires(REQUEST)
            .heartbeat(ALIVE)
            .messages();
        let mut messages = messages.await.map_err(|error| again(&error))?;
        let mut jobs = FuturesOrdered::<Job>::new();
        let (mut received, mut applied) = (0, 0);
        let mut status = self.inner.status.subscribe();
        let mut caught_up = false;
        let ended = loop {
            if applied >= pending && !caught_up {
                match self.purpose {
                    Purpose::Follow => self.caught_up(&track, end),
                    Purpose::CatchUp => break Ok(()),
                }
                caught_up = true;
            }
            tokio::select! {
                biased;
                Some((sent, done)) = jobs.next(), if !jobs.is_empty() => {
                    applied += sent.len() as u64;
                    if let Err(failure) = self.finished(sent, done, &mut track) {
                        break Err(failure);
                    }
                }
                () = async { drop(self.stopping.wait_for(|stopping| *stopping).await) } => break Ok(()),
                _ = status.changed() => {
                    // The server of this consumer may have ended.
                    if self.reconnects() != reconnects {
                        break Ok(());
                    }
                }
                message = messages.next(), if jobs.len() < JOBS => {
                    let taken = self.take(message, &mut messages, &mut received);
                    let (batch, failure) = taken;
                    if let Err(failed) = self.send(batch, &track, &mut jobs).await {
                        break Err(failed.into());
                    }
                    if let Some(failure) = failure {
                        break Err(failure);
                    }
                }
            }
        };
        // Clients may wait for what is being applied.
        while let Some((sent, done)) = jobs.next().await {
            self.finished(sent, done, &mut track)?;
        }
        if ended.is_ok() {
            let name = &consumer.cached_info().name;
            let _ = self.connected.stream.delete_consumer(name).await;
        }
        ended?;
        if self.purpose == Purpose::CatchUp && applied >= pending && track.sequence < end {
            // The last message is of no partition that is read.
            let last = self.connected.stream.get_raw_message(end).await;
            let last = last.map_err(|error| again(&error))?;
            (track.sequence, track.at) = (end, micros(last.time.unix_timestamp_nanos()));
        }
        Ok((track, pending))
    }

    fn config(&self, track: &Track) -> pull::Config {
        let subjects = track.share.iter();
        pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: track.sequence + 1,
            },
            filter_subjects: if track.share.is_all() {
                Vec::new()
            } else {
                subjects
                    .map(|partition| subject(&self.connected.name, partition))
                    .collect()
            },
            inactive_threshold: UNUSED,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        }
    }

    fn reconnects(&self) -> u64 {
        self.inner.counts.reconnects.load(Ordering::Relaxed)
    }

    /// Everything up to the end at the beginning is applied.
    fn caught_up(&self, track: &Track, end: u64) {
        let reached = track.sequence.max(end);
        self.advance(reached);
        self.inner.held.send_if_modified(|held| {
            let changes = **held != *track.share;
            *held = Arc::clone(&track.share);
            changes
        });
        self.inner.status.send_if_modified(|status| {
            let changes = *status == Status::Behind;
            if changes {
                *status = Status::Current;
            }
            changes
        });
    }

    /// Takes a message, and those that have arrived with it.
    fn take(
        &self,
        first: Option<Result<jetstream::Message, pull::MessagesError>>,
        messages: &mut pull::Stream,
        received: &mut u64,
    ) -> (Vec<(Sent, Message)>, Option<Failure>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return (batch, Some(Failure::Again(error.to_string()))),
                None => return (batch, Some(Failure::Again("the stream ended".into()))),
            };
            bytes += message.payload.len();
            match self.read(&message, received) {
                Ok(message) => batch.push(message),
                Err(failure) => return (batch, Some(failure)),
            }
            if batch.len() >= JOB || bytes >= JOB_BYTES {
                break;
            }
            next = messages.next().now_or_never();
        }
        (batch, None)
    }

    fn read(
        &self,
        message: &jetstream::Message,
        received: &mut u64,
    ) -> Result<(Sent, Message), Failure> {
        let info = message.info();
        let info = info.map_err(|error| Failure::Again(error.to_string()))?;
        if info.consumer_sequence != *received + 1 {
            return Err(Failure::Again("messages were lost on the way".into()));
        }
        *received += 1;
        let (sequence, at) = (
            info.stream_sequence,
            micros(info.published.unix_timestamp_nanos()),
        );
        let unreadable = |reason: &str| {
            Failure::Stopped(format!(
                "message {sequence} of the stream {} cannot be read: {reason}",
                self.connected.name
            ))
        };
        let prefix = format!("{}.", self.connected.name);
        let partition = message.subject.strip_prefix(&prefix).map(str::parse);
        let Some(Ok(partition)) = partition else {
            return Err(unreadable("its subject is that of no partition"));
        };
        let entry = Entry::read(&message.payload, partition);
        let entry = entry.map_err(|unfit| unreadable(&unfit.0))?;
        let own = (entry.appended && entry.publisher == self.inner.id).then_some(entry.first);
        let sent = Sent {
            sequence,
            at,
            pending: info.pending,
            own,
        };
        let message = Message {
            partition,
            sequence,
            at,
            entry,
        };
        Ok((sent, message))
    }

    /// Gives messages to the writer.
    async fn send(
        &self,
        batch: Vec<(Sent, Message)>,
        track: &Track,
        jobs: &mut FuturesOrdered<Job>,
    ) -> Result<(), Error> {
        let (sent, messages): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let Some(last) = sent.last() else {
            return Ok(());
        };
        let follows = self.purpose == Purpose::Follow;
        let progress = follows.then(|| Progress {
            sequence: last.sequence,
            at: last.at,
            share: Arc::clone(&track.share),
        });
        let answer = self.inner.store.apply(messages, progress).await?;
        jobs.push_back(Box::pin(async move {
            let gone = || Err(Error::Unavailable("the writer has ended".into()));
            (sent, answer.await.unwrap_or_else(|_| gone()))
        }));
        Ok(())
    }

    /// Tells everybody who waits for messages that they are applied.
    fn finished(
        &self,
        sent: Vec<Sent>,
        done: Result<Vec<Applied>, Error>,
        track: &mut Track,
    ) -> Result<(), Failure> {
        let counts = &self.inner.counts;
        for (sent, applied) in sent.into_iter().zip(done?) {
            counts.applied.fetch_add(1, Ordering::Relaxed);
            (track.sequence, track.at) = (sent.sequence, sent.at);
            if self.purpose == Purpose::Follow {
                counts.lag.store(sent.pending, Ordering::Relaxed);
            }
            let answer = match applied {
                Applied::Before | Applied::Added(_) => continue,
                Applied::Appended(event) => Ok(*event),
                Applied::Refused(error) => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    if matches!(error, Error::Invalid(_)) {
                        let sequence = sent.sequence;
                        tracing::warn!(%error, sequence, "the events of a message cannot be stored");
                    }
                    Err(error)
                }
            };
            if let Some(number) = sent.own {
                self.inner.answer(number, answer);
            }
        }
        if self.purpose == Purpose::Follow {
            self.advance(track.sequence);
        }
        Ok(())
    }

    fn advance(&self, sequence: u64) {
        self.inner.position.send_if_modified(|position| {
            let further = sequence > *position;
            *position = sequence.max(*position);
            further
        });
    }
}

/// A time since 1970 in microseconds.
pub(super) fn micros(nanoseconds: i128) -> u64 {
    u64::try_from(nanoseconds / 1000).unwrap_or(0)
}
