//! Returns the memory of closed connections to the system.
//!
//! The allocator of glibc keeps what is freed, unless it lies at the end of the heap: a server would keep the memory of the
//! most connections that it ever had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Fewer connections have too little memory to be worth it.
const MANY: usize = 256;

/// Returning memory takes about half a millisecond for each MiB, in which others may have to wait for the allocator, so
/// connections that close within this time have theirs returned together.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections of a server, and whether memory is worth returning.
#[derive(Default)]
pub(super) struct OpenConnections {
    open: AtomicUsize,
    /// The most that were open since memory was returned last.
    most: AtomicUsize,
    /// Whether memory is returned soon.
    due: AtomicBool,
}

/// A connection that is counted until this is dropped.
pub(super) struct OpenConnection(Arc<OpenConnections>);

impl OpenConnections {
    /// Counts a connection.
    pub(super) fn count(self: &Arc<Self>) -> OpenConnection {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Whether half of many connections are gone.
    fn fewer(&self, open: usize) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        most >= MANY && open <= most / 2
    }

    async fn return_memory(&self) {
        tokio::time::sleep(PAUSE).await;
        let returned = tokio::task::spawn_blocking(trim).await;
        let open = self.open.load(Ordering::Relaxed);
        self.most.store(open, Ordering::Relaxed);
        self.due.store(false, Ordering::Relaxed);
        if let Ok(true) = returned {
            tracing::debug!(open, "returned memory of closed connections to the system");
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        if self.0.fewer(open)
            && !self.0.due.swap(true, Ordering::Relaxed)
            // There is none if the server has ended, and then its memory is returned anyway.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let connections = Arc::clone(&self.0);
            runtime.spawn(async move { connections.return_memory().await });
        }
    }
}

/// Returns freed memory to the system. False if there was none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() -> bool {
    // SAFETY: `malloc_trim` can be called at any time and from any thread; it touches only what is free.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators return memory by themselves, or cannot be asked to.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(connections: &Arc<OpenConnections>, count: usize) -> Vec<OpenConnection> {
        (0..count).map(|_| connections.count()).collect()
    }

    #[tokio::test]
    async fn memory_is_returned_once_half_of_many_are_closed() {
        let connections = Arc::new(OpenConnections::default());
        let mut all = open(&connections, 2 * MANY);
        all.truncate(MANY + 1);
        assert!(!connections.due.load(Ordering::Relaxed));
        all.truncate(MANY);
        assert!(connections.due.load(Ordering::Relaxed));
        all.truncate(3);
        let returned = async {
            while connections.due.load(Ordering::Relaxed) {
                tokio::time::sleep(PAUSE / 10).await;
            }
        };
        tokio::time::timeout(60 * PAUSE, returned)
            .await
            .expect("in time");
        assert_eq!(connections.most.load(Ordering::Relaxed), 3);
        drop(all);
        assert!(
            !connections.due.load(Ordering::Relaxed),
            "only a few closed"
        );
        drop(open(&connections, MANY));
        assert!(connections.due.load(Ordering::Relaxed), "it happens again");
    }

    #[tokio::test]
    async fn for_a_few_connections_nothing_is_done() {
        let connections = Arc::new(OpenConnections::default());
        drop(open(&connections, MANY - 1));
        assert!(!connections.due.load(Ordering::Relaxed));
    }
}
