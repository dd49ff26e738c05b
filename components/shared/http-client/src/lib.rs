//! HTTP requests for engines, over `wasi:http` or over sockets: each has one deadline, and its answer a maximum length.

mod bindings;
mod failure;
mod request;
#[cfg(any(feature = "sockets", test))]
mod sockets;

pub use artisanal_core::Quoter;
pub use failure::Failure;
pub use request::{Answer, Method, Request};
#[cfg(any(feature = "sockets", test))]
pub use sockets::Connections;

use bindings::wasi::clocks::monotonic_clock;
use std::time::Duration;

/// Waits; other tasks of the instance go on.
pub async fn sleep(pause: Duration) {
    monotonic_clock::wait_for(nanos(pause)).await;
}

/// Runs a future beside the current call. It goes on after the call has returned, but only while the host runs the
/// instance: some hosts do so only during later calls.
pub fn spawn(work: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(work);
}

/// A duration as WASI has it; the longest that fits for one that does not.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
