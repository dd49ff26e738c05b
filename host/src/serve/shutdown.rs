//! Graceful shutdown of servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// A handle that shuts down every server it was passed to: the servers stop accepting connections, finish
/// the requests in flight, and return. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The same value as in `told`, but cheaper to read.
    begun: AtomicBool,
    told: watch::Sender<bool>,
}

impl Shutdown {
    /// Creates a handle of a shutdown that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            begun: AtomicBool::new(false),
            told: watch::Sender::new(false),
        }))
    }

    /// Begins the shutdown. Further calls have no effect.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.told.send_replace(true);
    }

    /// Whether the shutdown has begun.
    pub fn begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Resolves once the shutdown has begun. The future holds no borrow.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut begun = self.0.told.subscribe();
        // Keeps the sender alive: without it `wait_for` would fail, and resolve, at once.
        let sender = Arc::clone(&self.0);
        async move {
            let _ = begun.wait_for(|begun| *begun).await;
            drop(sender);
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn everybody_is_told_once_it_begins() {
        let shutdown = Shutdown::new();
        let before = shutdown.clone().requested();
        assert!(!shutdown.begun());
        assert_eq!(shutdown.requested().now_or_never(), None);
        shutdown.begin();
        shutdown.begin();
        assert!(shutdown.begun());
        assert_eq!(before.now_or_never(), Some(()));
        assert_eq!(shutdown.requested().now_or_never(), Some(()));
    }
}
