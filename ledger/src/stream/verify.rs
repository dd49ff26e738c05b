//! Checks that the stream still has what the read model has applied.
//!
//! The time at which a stream was made does not identify it: servers of a cluster may give another one after they were
//! started again, if several clients made the stream at the same moment. So the last message that was applied is
//! compared: its number and when the stream stored it.

use super::config::Connected;
use super::reading::{Failure, micros};
use crate::store::Progress;
use async_nats::jetstream::stream::RawMessageErrorKind;
use std::time::Duration;
use tokio::time::Instant;

/// For how long the leader of a cluster's stream has to say that messages are lost. Consumers may be at another server, which
/// can be ahead of the leader for a moment; and one that led the stream and cannot reach the others lacks the messages of
/// its successor, and notices only after 10 s that it is no leader any more.
const CERTAIN: Duration = Duration::from_secs(20);

/// What speaks for lost messages.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Since when each answer has said so.
    since: Option<Instant>,
}

impl Evidence {
    /// Checks that the stream still has everything that is applied.
    ///
    /// # Errors
    /// [`Failure::Stopped`] if it has certainly lost messages, otherwise [`Failure::Again`].
    pub(super) async fn verify(
        &mut self,
        connected: &Connected,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let info = connected.info().await?;
        let has = info.state.last_sequence;
        if has >= progress.sequence && is_there(connected, progress).await? {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let (name, sequence) = (&connected.name, progress.sequence);
        if info.cluster.is_some() && since.elapsed() < CERTAIN {
            return Err(Failure::Again(format!(
                "{sequence} was applied, and the leader of the stream {name} does not have it, or has another one"
            )));
        }
        Err(Failure::Stopped(format!(
            "the stream {name} has lost messages, or was removed and made anew: {sequence} was applied and is not there, \
             or is another one. The folder of the read model has events that the stream does not have; to go on with those \
             of the stream, remove it and start again"
        )))
    }
}

/// Whether the last message that was applied is in the stream.
async fn is_there(connected: &Connected, progress: &Progress) -> Result<bool, Failure> {
    if progress.at == 0 {
        return Ok(true);
    }
    match connected.stream.get_raw_message(progress.sequence).await {
        Ok(message) => Ok(micros(message.time.unix_timestamp_nanos()) == progress.at),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
        Err(error) => Err(Failure::Again(error.to_string())),
    }
}
