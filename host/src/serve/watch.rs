//! Reading files anew when they change.

use super::hangups::Hangups;
use crate::Error;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// The interval at which the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many bytes of a file are looked at. Longer ones are refused when they are loaded.
const MOST: u64 = 16 << 20;

/// Files whose content is in use.
pub(crate) struct Watched {
    /// What they are, for the log.
    pub(crate) what: &'static str,
    pub(crate) paths: Vec<PathBuf>,
    /// Their [`stamp`] before they were loaded.
    pub(crate) loaded: u64,
    /// Reads them again and puts them to use. After an error everything stays as it was.
    pub(crate) reload: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

impl Watched {
    /// Loads the files whenever they have changed, and at every SIGHUP, as long as this is polled.
    ///
    /// A change is loaded once it has been there for a whole interval: a certificate and its key are written one
    /// after the other, and the first one alone would be refused.
    pub(crate) async fn keep(self, mut hangups: Hangups) {
        let this = Arc::new(self);
        let mut loaded = this.loaded;
        let mut seen = loaded;
        loop {
            let told = tokio::select! {
                () = hangups.next() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            let stamp = this.stamp().await;
            if told || (stamp != loaded && stamp == seen) {
                this.load().await;
                loaded = stamp;
            }
            seen = stamp;
        }
    }

    async fn load(self: &Arc<Self>) {
        let (this, what) = (Arc::clone(self), self.what);
        match spawn_blocking(move || (this.reload)()).await {
            Ok(Ok(())) => tracing::info!("{what} were read anew"),
            Ok(Err(error)) => tracing::error!(
                "{what} changed and cannot be used, so those that were read before stay in use: {error}"
            ),
            Err(error) => tracing::error!(%error, "reading {what} failed"),
        }
    }

    async fn stamp(self: &Arc<Self>) -> u64 {
        let this = Arc::clone(self);
        spawn_blocking(move || stamp(&this.paths))
            .await
            .unwrap_or(0)
    }
}

/// A number that changes with the content of the files. It is taken before they are loaded, so that no change in between
/// is missed.
pub(super) fn stamp(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
        read.map_err(|error| error.kind()).hash(&mut hasher);
        bytes.hash(&mut hasher);
    }
    hasher.finish()
}
