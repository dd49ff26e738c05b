//! The tokio runtime that all tests of one process share.

use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// The shared runtime. It has two threads, to leave processors for the servers under test.
///
/// # Panics
/// When the system refuses to create threads.
pub fn shared() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

/// Runs a future to completion on the calling thread; the tasks that it spawns run on the shared threads.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    shared().block_on(future)
}
