//! Graceful shutdown of servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// A handle that shuts down every server it was passed to: the servers stop accepting connections, finish
/// the requests in flight, and return. Clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    /// Mirrors the token, which takes a lock to answer: every connection asks at every poll.
    begun: Arc<AtomicBool>,
}

impl Shutdown {
    /// Creates a handle of a shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown. Further calls have no effect.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether the shutdown has begun.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Resolves once the shutdown has begun. The future holds no borrow.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        self.token.clone().cancelled_owned()
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
