//! Where a ledger keeps its events: `--store`.

use super::Flags;
use crate::Error;
use crate::ledger::{self, Log, Share, Store, Stream, StreamOptions};
use artisanal_core::Secret;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The partitions that a ledger shall hold, and those that it has caught up with, whenever they change.
pub(super) type Shares = (watch::Receiver<Arc<Share>>, watch::Sender<Arc<Share>>);

/// Takes a DSN as it is. What is wrong with it is said later: the error of an argument would show the password.
pub(super) fn dsn(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// Refuses to restore a backup where a stream has the events.
pub(super) fn check_restore(store: Option<&Secret>) -> Result<(), Error> {
    match store {
        None => Ok(()),
        Some(_) => Err(Error::Misconfigured(
            "with --store the events are in a NATS stream: restore that, with `nats stream restore`; a backup of \
             a ledger can only be restored to a ledger without --store"
                .into(),
        )),
    }
}

/// Refuses to remove events of a stream.
pub(super) fn check_retention(store: Option<&Secret>, retains: bool) -> Result<(), Error> {
    if store.is_some() && retains {
        Err(Error::Misconfigured(
            "--retain-days and --retain-size remove events of a ledger without --store; a NATS stream keeps all, and \
             its ledgers with it"
                .into(),
        ))
    } else {
        Ok(())
    }
}

/// Opens the log. `shares` are those of a ledger with other members; without them it holds everything.
pub(super) async fn open(
    store: Option<&Secret>,
    flags: &Flags,
    folder: &Path,
    shares: Option<Shares>,
) -> Result<Log, Error> {
    let options = ledger::StoreOptions::default();
    let Some(dsn) = store else {
        return Ok(Store::open(folder, options).map_err(failed)?.into());
    };
    let stream = StreamOptions {
        ca_file: flags.options().ca_file,
        ..StreamOptions::parse(dsn.reveal()).map_err(failed)?
    };
    let servers = stream.servers.join(",");
    tracing::info!(stream = stream.stream, servers, "the events are in NATS");
    // All partitions, for as long as the process runs.
    let all = || watch::channel(Arc::new(Share::all())).1;
    let (share, held) = shares.unwrap_or_else(|| (all(), watch::Sender::default()));
    let stream = Stream::open(&stream, folder, options, share, held).await;
    Ok(Log::Stream(stream.map_err(failed)?))
}

fn failed(error: ledger::Error) -> Error {
    match error {
        ledger::Error::Unavailable(text) => Error::Unavailable(text),
        other => Error::Misconfigured(other.to_string()),
    }
}
