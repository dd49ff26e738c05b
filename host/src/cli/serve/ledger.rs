//! Publishing to a ledger.

use crate::ledger::{Options, Policy, Publisher};
use crate::serve::Limits;
use crate::{Error, Metrics};
use artisanal_core::Secret;
use std::time::Duration;

/// How long what is not published yet may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// What happens to mints while the ledger is slow or away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum LedgerPolicy {
    /// They are answered at once; the ledger learns later that something was lost.
    #[default]
    Shed,
    /// They wait for room, up to 5 s; then 503.
    Block,
    /// They wait until the ledger has stored them durably, up to 5 s; then 503.
    Strict,
}

/// Reads a token of the ledger.
pub(in crate::cli) fn token(text: &str) -> Result<Secret, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err("expected a token: printable ASCII without spaces".to_owned())
    }
}

impl From<LedgerPolicy> for Policy {
    fn from(policy: LedgerPolicy) -> Self {
        match policy {
            LedgerPolicy::Shed => Self::Shed,
            LedgerPolicy::Block => Self::Block,
            LedgerPolicy::Strict => Self::Strict,
        }
    }
}

/// Starts to publish.
pub(in crate::cli) fn start(options: Options, metrics: &Metrics) -> Result<Publisher, Error> {
    let publisher = Publisher::start(options)
        .map_err(|error| Error::Misconfigured(format!("cannot start to publish: {error}")))?;
    metrics.publishes(publisher.clone());
    Ok(publisher)
}

/// The limits of a server that publishes.
pub(super) fn within(limits: Limits, publisher: &Publisher) -> Limits {
    limits.publishing(publisher.clone())
}

/// Sends what is left.
pub(in crate::cli) async fn end(publisher: &Publisher) {
    let left = publisher.drain(DRAIN).await;
    if left > 0 {
        tracing::warn!(
            left,
            "the ledger did not acknowledge all events within {} s; they are lost",
            DRAIN.as_secs()
        );
    }
}
