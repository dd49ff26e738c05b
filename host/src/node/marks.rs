//! The integers that a node keeps in its backend.

use super::member::random;
use crate::sequence::Sequences;
use crate::{Config, Error, Host, Sequence, Source};
use artisanal_quorum::RESERVED;
use futures::future::try_join_all;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many sequences are kept open. Beyond that all are closed, which costs only the time to open them
/// again.
const OPEN: usize = 4096;

/// How many instances the sequences share, and so how many calls the backend gets at a time, including those of claims whose
/// clients are gone.
const INSTANCES: usize = 4;

/// The marks of one backend, by key. A clone is a reference to the same backend.
#[derive(Clone)]
pub struct Marks {
    host: Host,
    sequences: Arc<Sequences>,
    open: Arc<Mutex<HashMap<String, Sequence>>>,
    /// How many instances the sequences share.
    instances: usize,
    /// Whether no other process can change the backend, nor empty it unnoticed.
    exclusive: bool,
    /// Whether the backend may lose marks and go on.
    lossy: bool,
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
        let lossy = !matches!(source, Source::Builtin(engine) if !engine.is_lossy());
        // One instance has one connection to Redis. Its generation is that of all earlier calls, of whatever sequence.
        let instances = if lossy { 1 } else { INSTANCES };
        Ok(Self {
            host: host.clone(),
            sequences: Arc::new(Sequences::new(host, source, config, instances)?),
            open: Arc::default(),
            instances,
            exclusive: exclusive && real,
            lossy,
        })
    }

    /// Whether the backend may lose marks and go on, so that its generation has to be asked for after each call.
    pub(super) fn are_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether only this process can change the backend.
    pub(super) fn are_exclusive(&self) -> bool {
        self.exclusive
    }

    /// The sequence of a key.
    ///
    /// # Errors
    /// As [`Host::open`]; [`Error::Other`] when the backend may lose this sequence and nothing would show it.
    pub async fn sequence(&self, key: &str) -> Result<Sequence, Error> {
        if let Some(sequence) = self.open().get(key) {
            return Ok(sequence.clone());
        }
        // The node recognises a backend that lost marks by the numbers that it keeps there.
        let sequence = if self.lossy && key.starts_with(RESERVED) {
            self.sequences.open_forgetful(key).await?
        } else {
            self.sequences.open(key).await?
        };
        if !self.lossy {
            // A database may keep one sequence less safely than another, as in a table of another kind.
            sequence.generation().await?;
        }
        let mut open = self.open();
        if open.len() >= OPEN {
            open.clear();
        }
        Ok(open.entry(key.to_owned()).or_insert(sequence).clone())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Sequence>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the backend has under a name of the node's own.
    ///
    /// An engine may fail because the backend has lost what it has told before. So the sequence is opened anew after a
    /// failure.
    pub(super) async fn stored(&self, name: &str) -> Result<Option<i64>, Error> {
        let key = own(name);
        let stored = self.sequence(&key).await?.last().await;
        if stored.is_err() {
            self.open().remove(&key);
        }
        stored
    }

    /// Closes all sequences, and so forgets what they have seen.
    pub(super) fn close_all(&self) {
        self.open().clear();
    }

    /// A number that the node keeps for itself; 0 before it was stored.
    pub(super) async fn number(&self, name: &str) -> Result<u64, Error> {
        let stored = self.stored(name).await?;
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
        for part in marks.chunks(self.instances) {
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
        self.sequence(&own(name)).await
    }
}

fn own(name: &str) -> String {
    format!("{RESERVED}{name}")
}
