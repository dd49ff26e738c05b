//! What it takes to open a sequence.

use super::lock;
use crate::wasi::server::Current;
use crate::{Config, Error};
use std::sync::Mutex;

/// Identifies a sequence in every instance that serves it, also after the instance was recreated.
pub(crate) type Id = usize;

/// The id and configuration to open a sequence with, its record of failures, and its server.
pub(crate) struct Opening {
    pub(crate) id: Id,
    pub(super) config: Config,
    /// Whether each call of `last` opens the sequence anew in its instance. It returns what the backend has then, and not
    /// what the sequence has seen before.
    pub(crate) forgets: bool,
    failures: Mutex<Failures>,
    pub(super) server: Current,
}

/// How often the backend was unavailable for a sequence, and the last reason.
#[derive(Default)]
struct Failures {
    count: u64,
    reason: String,
}

impl Opening {
    pub(crate) fn new(id: Id, config: Config) -> Self {
        Self {
            id,
            config,
            forgets: false,
            failures: Mutex::default(),
            server: Current::default(),
        }
    }

    /// An opening for which each call of `last` opens the sequence anew.
    pub(crate) fn forgetful(id: Id, config: Config) -> Self {
        Self {
            forgets: true,
            ..Self::new(id, config)
        }
    }

    /// The sequence's key.
    pub(crate) fn key(&self) -> &str {
        &self.config.key
    }

    /// How often the backend was unavailable.
    pub(super) fn failures(&self) -> u64 {
        lock(&self.failures).count
    }

    pub(super) fn fail(&self, reason: &str) {
        let mut failures = lock(&self.failures);
        failures.count = failures.count.wrapping_add(1);
        reason.clone_into(&mut failures.reason);
    }

    /// Fails with the last reason if the backend was unavailable since there were `count` failures.
    pub(super) fn failed_since(&self, count: u64) -> Result<(), Error> {
        let failures = lock(&self.failures);
        if failures.count == count {
            Ok(())
        } else {
            Err(Error::Unavailable(failures.reason.clone()))
        }
    }
}
