//! Converts panics of the testbed to errors.
//!
//! The testbed panics with an explanation when something is missing or does not start. In a benchmark, one
//! server that does not start must not end the whole run.

use anyhow::anyhow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use testbed::suite::message;

/// Disables the printing of panics, since [`attempt`] converts them to errors.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs a closure and converts a panic to an error.
///
/// # Errors
/// The closure's error, or the message of its panic.
pub fn attempt<T>(what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| Err(anyhow!(message(&*panic))))
}
