//! The integers that a node keeps in its backend.

use super::member::random;
use crate::sequence::Sequences;
use crate::{Config, Error, Host, Sequence, Source};
use artisanal_quorum::RESERVED;
use futures::future::try_join_all;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// How many sequences are kept open. Beyond that all are closed, which costs only the time to open them
/// again.
const OPEN: usize = 4096;

/// How many instances the sequences share, and so how many calls the backend gets at a time, including those of claims whose
/// clients are gone.
pub(super) const INSTANCES: usize = 4;

/// The marks of one backend, by key. A clone is a reference to the same backend.
#[derive(Clone)]
pub struct Marks {
    host: Host,
    sequences: Arc<Sequences>,
    open: Arc<Mutex<HashMap<String, Sequence>>>,
    /// Whether no other process can change the backend, nor empty it unnoticed.
    exclusive: bool,
}

impl Marks {
    /// Opens the backend.
    ///
    /// # Errors
    /// As [`Host::open`], as far as the component and the rights are concerned.
    pub fn new(host: &Host, source: &Source, dsn: String) -> Result<Self, Error> {
        let config = Config {
            dsn,
            increment: Some(1),
            offset: Some(0),
            ..Config::default()
        };
        // In a simulation a backend outlives the processes of its node, whatever its engine.
        let real = host.options().simulated.is_none();
        let exclusive = matches!(source, Source::Builtin(engine) if engine.is_exclusive());
        Ok(Self {
            host: host.clone(),
            sequences: Arc::new(Sequences::new(host, source, config, INSTANCES)?),
            open: Arc::default(),
            exclusive: exclusive && real,
        })
    }

    /// Whether only this process can change the backend.
    pub(super) fn are_exclusive(&self) -> bool {
        self.exclusive
    }

    /// The sequence of a key.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub async fn sequence(&self, key: &str) -> Result<Sequence, Error> {
        let mut open = self.open.lock().await;
        if let Some(sequence) = open.get(key) {
            return Ok(sequence.clone());
        }
        if open.len() >= OPEN {
            open.clear();
        }
        let sequence = self.sequences.open(key).await?;
        open.insert(key.to_owned(), sequence.clone());
        Ok(sequence)
    }

    /// A number that the node keeps for itself; 0 before it was stored.
    pub(super) async fn number(&self, name: &str) -> Result<u64, Error> {
        let stored = self.reserved(name).await?.last().await?;
        Ok(stored.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    /// Stores a number of the node's own, unless a greater one is there.
    pub(super) async fn raise(&self, name: &str, number: u64) -> Result<(), Error> {
        let number = i64::try_from(number)
            .map_err(|_| Error::Invalid(format!("{number} is out of range for {name}")))?;
        match self.reserved(name).await?.set_last(number).await {
            Ok(()) | Err(Error::TooSmall(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Raises the marks of sequences, several at a time, unless greater ones are there.
    pub(super) async fn raise_all(&self, marks: &[(String, i64)]) -> Result<(), Error> {
        for part in marks.chunks(INSTANCES) {
            let raised = part.iter().map(|(key, mark)| self.raise_one(key, *mark));
            try_join_all(raised).await?;
        }
        Ok(())
    }

    async fn raise_one(&self, key: &str, mark: i64) -> Result<(), Error> {
        match self.sequence(key).await?.set_last(mark).await {
            Ok(()) | Err(Error::TooSmall(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A random number for the node that has this backend, as [`random`].
    pub(super) fn random(&self) -> u64 {
        match &self.host.options().simulated {
            Some(simulated) => simulated.random(),
            None => random(),
        }
    }

    /// A sequence of the node's own.
    pub(super) async fn reserved(&self, name: &str) -> Result<Sequence, Error> {
        self.sequence(&format!("{RESERVED}{name}")).await
    }
}
