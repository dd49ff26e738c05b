//! Publishing messages until the stream has them.

use super::Counts;
use super::config::{Connected, subject};
use super::message::Outgoing;
use crate::Error;
use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The length of a message beyond which a batch becomes several messages, in bytes.
const MOST: usize = 256 << 10;

/// What the last event adds to that at most, and what surrounds the events, in bytes.
const REST: usize = 80 << 10;

/// How many bytes of messages may be on their way.
const BYTES: usize = 32 << 20;

/// The pause before a message is published again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a message waits for a connection.
const CONNECTION: Duration = Duration::from_secs(2);

/// Publishes messages.
pub(super) struct Publishing {
    connected: Connected,
    /// The length of a message beyond which a batch becomes several messages.
    pub(super) most: usize,
    room: Semaphore,
    counts: Arc<Counts>,
}

impl Publishing {
    pub(super) fn new(connected: &Connected, counts: &Arc<Counts>) -> Result<Self, Error> {
        let payload = connected.client.max_payload();
        let most = payload.saturating_sub(REST).min(MOST);
        if most < REST / 2 {
            return Err(Error::Misconfigured(format!(
                "the NATS server takes messages of {payload} bytes; a ledger needs a `max_payload` of at least {} bytes",
                REST + REST / 2
            )));
        }
        Ok(Self {
            connected: connected.clone(),
            most,
            room: Semaphore::new(BYTES),
            counts: Arc::clone(counts),
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.client.connection_state() == State::Connected
    }

    /// Publishes a message until the stream acknowledges it. The stream stores it once, however often it comes within its
    /// window; the read models drop what comes again later.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the stream may have it or not.
    pub(super) async fn publish(
        &self,
        message: &Outgoing,
        deadline: Instant,
    ) -> Result<PublishAck, Error> {
        let length = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
        let room = timeout_at(deadline, self.room.acquire_many(length)).await;
        let late = || Error::Unavailable("too much waits for the stream".into());
        let _room = room.map_err(|_| late())?.map_err(|_| late())?;
        let mut failure = String::from("NATS does not answer");
        loop {
            self.connection().await?;
            match timeout_at(deadline, self.attempt(message)).await {
                Ok(Ok(stored)) => {
                    self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return Ok(stored);
                }
                Ok(Err(error)) => match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => {
                        return Err(Error::Invalid(error.to_string()));
                    }
                    _ => failure = format!("NATS: {error}"),
                },
                Err(_) => return Err(Error::Unavailable(failure)),
            }
            tracing::debug!(reason = failure, "a message is published again");
            sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        message: &Outgoing,
    ) -> Result<PublishAck, async_nats::jetstream::context::PublishError> {
        let Connected { context, name, .. } = &self.connected;
        self.counts.published.fetch_add(1, Ordering::Relaxed);
        let publish = PublishMessage::build()
            .payload(message.payload.clone())
            .message_id(&message.id)
            .expected_stream(name);
        let subject = subject(name, message.partition);
        context.send_publish(subject, publish).await?.await
    }

    /// Waits a moment for a connection.
    async fn connection(&self) -> Result<(), Error> {
        let connected = async {
            while !self.is_connected() {
                sleep(PAUSE / 4).await;
            }
        };
        let connected = timeout(CONNECTION, connected).await;
        connected.map_err(|_| Error::Unavailable("there is no connection to NATS".into()))
    }

    /// The sequence of the last message of a partition, or 0.
    pub(super) async fn last(&self, partition: u16, deadline: Instant) -> Result<u64, Error> {
        self.connection().await?;
        let Connected { stream, name, .. } = &self.connected;
        let subject = subject(name, partition);
        let last = stream.get_last_raw_message_by_subject(&subject);
        let unavailable = |text: String| Error::Unavailable(format!("NATS: {text}"));
        match timeout_at(deadline, last).await {
            Ok(Ok(message)) => Ok(message.sequence),
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("no answer".into())),
        }
    }
}
