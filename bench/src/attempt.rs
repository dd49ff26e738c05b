//! Failures of the harness as errors.
//!
//! The harness of the integration tests panics where something is missing or does not start, with
//! what a person needs to know. Here one server that does not start must not end everything.

use anyhow::anyhow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use testbed::suite::message;

/// Keeps panics from being printed where they happen: [`attempt`] makes errors of them.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs it; a panic is the error.
///
/// # Errors
/// What it says itself, or what it panicked with.
pub fn attempt<T>(what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| Err(anyhow!(message(&*panic))))
}
