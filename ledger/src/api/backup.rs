//! The body of a backup.

use super::Body;
use crate::Store;
use crate::backup::dump;
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How many pieces wait for the client at most; each has about 64 KiB.
const PIECES: usize = 4;

/// A backup that is sent while it is read. It ends without its hash if the database fails.
pub struct Backup {
    pieces: mpsc::Receiver<Bytes>,
    _turn: OwnedSemaphorePermit,
}

impl Backup {
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Pin::new(&mut self.pieces).poll_recv(context)
    }
}

/// A backup of the store as it is now.
pub(super) fn body(store: Store, turn: OwnedSemaphorePermit) -> Body {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        // A failed database is opened anew when nobody reads it any more.
        let pass = |piece| store.is_open() && sender.blocking_send(piece).is_ok();
        if let Err(error) = store.read(|files| dump(files, pass)) {
            tracing::warn!(%error, "a backup failed");
        }
    });
    Body::Backup(Box::new(Backup {
        pieces,
        _turn: turn,
    }))
}
