//! The runtime that the tests of one process share.

use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// The runtime; two threads, since the machine has other things to do: servers.
///
/// # Panics
/// When the system gives no threads.
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

/// Runs a future to its end on the calling thread, its tasks on the shared threads.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    shared().block_on(future)
}
