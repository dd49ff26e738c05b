//! Sequences that are opened at their first use.

use super::calls::Instances;
use super::{Config, Sequence};
use crate::component::Source;
use crate::instance::{EngineInstance, Id, Opening, Provider};
use crate::{Error, Host};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sequences of one engine and DSN, which are opened on demand and share a few instances.
pub(crate) struct Sequences {
    host: Host,
    config: Config,
    instances: Vec<Arc<EngineInstance>>,
    opened: AtomicUsize,
    /// Whether all state is in the backend.
    stateless: bool,
}

impl Sequences {
    /// Sequences with this configuration, apart from the key, on at most `instances` instances.
    pub(crate) fn new(
        host: &Host,
        source: &Source,
        config: Config,
        instances: usize,
    ) -> Result<Self, Error> {
        let provider = Arc::new(Provider::new(host, source, &config.dsn)?);
        // A component that is not built in may keep its sequences in its own memory.
        let stateless = matches!(source, Source::Builtin(engine) if !engine.in_memory());
        let instances = if stateless { instances.max(1) } else { 1 };
        Ok(Self {
            host: host.clone(),
            config,
            instances: (0..instances)
                .map(|_| Arc::new(EngineInstance::new(Arc::clone(&provider))))
                .collect(),
            opened: Default::default(),
            stateless,
        })
    }

    /// Whether a sequence that was dropped goes on where it was when it is opened again.
    pub(crate) fn reopen(&self) -> bool {
        self.stateless
    }

    pub(crate) async fn open(&self, key: &str) -> Result<Sequence, Error> {
        self.open_one(key, Opening::new).await
    }

    /// As [`Sequences::open`], but [`Sequence::last`] opens the sequence anew each time, so that it returns what the backend has
    /// and not what the sequence has seen before.
    pub(crate) async fn open_forgetful(&self, key: &str) -> Result<Sequence, Error> {
        self.open_one(key, Opening::forgetful).await
    }

    async fn open_one(
        &self,
        key: &str,
        opening: fn(Id, Config) -> Opening,
    ) -> Result<Sequence, Error> {
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::hash(key.as_bytes());
        let at = usize::from(hash.as_bytes()[0]) % self.instances.len();
        let first = self.instances.get(at).cloned();
        let instances = Instances {
            first: first.ok_or_else(|| Error::Other("there are no instances".into()))?,
            others: Vec::new(),
        };
        let config = Config {
            key: key.to_owned(),
            ..self.config.clone()
        };
        self.host.sequence(instances, opening(id, config)).await
    }
}
