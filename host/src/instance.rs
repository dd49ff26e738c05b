//! An instance of an engine component, and the open sequences that share it.

use crate::bindings::engine::artisanal::integers::types as wit;
use crate::bindings::engine::exports::artisanal::integers::engine::Guest;
use crate::bindings::engine::{EngineProvider, EngineProviderPre};
use crate::component::Source;
use crate::meter::Meter;
use crate::state::{OVERRUN, State};
use crate::wasi::config::ConfigStore;
use crate::wasi::network::Refusal;
use crate::wasi::rights::Rights;
use crate::{Config, Error, Host};
use artisanal_core::Lattice;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::time::timeout;
use wasmtime::component::{Accessor, ResourceAny};

/// An engine that is ready to be instantiated, with all that its instances are given.
pub(crate) struct Provider {
    host: Host,
    pre: EngineProviderPre<State>,
    rights: Rights,
}

impl Provider {
    pub(crate) fn new(host: &Host, source: &Source, dsn: &str) -> Result<Self, Error> {
        let (component, shape) = host.engine_component(source)?;
        let rights = host.rights(source, &shape, dsn, ConfigStore::default())?;
        let pre = host
            .linker()
            .instantiate_pre(&component)
            .and_then(EngineProviderPre::new)
            .map_err(|e| Error::Misconfigured(format!("{source} does not fit this host: {e:#}")))?;
        Ok(Self {
            host: host.clone(),
            pre,
            rights,
        })
    }

    async fn instantiate(&self) -> Result<Live, Error> {
        let mut store = self.host.state(&self.rights);
        let meter = store.data().meter();
        let provider = within(self.host.options().patience, &meter, async {
            Ok(self.pre.instantiate_async(&mut store).await)
        })
        .await?;
        Ok(Live {
            store,
            provider,
            sequences: HashMap::new(),
        })
    }
}

/// The instance that some sequences share. It makes one call at a time, and is started anew when it
/// breaks.
pub(crate) struct EngineInstance {
    provider: Arc<Provider>,
    live: AsyncMutex<Option<Live>>,
    /// Sequences that nobody needs any more.
    closed: Mutex<Vec<Id>>,
}

/// A sequence among those of an instance, whichever instance it is at the time.
pub(crate) type Id = usize;

/// What a sequence is to be opened with, and under which name it is found again.
pub(crate) struct Opening {
    pub(crate) id: Id,
    config: Config,
    failures: Mutex<Failures>,
}

/// How often the backend could not serve a sequence, and the last reason.
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
            failures: Mutex::default(),
        }
    }

    fn failures(&self) -> u64 {
        lock(&self.failures).count
    }

    fn fail(&self, reason: &str) {
        let mut failures = lock(&self.failures);
        failures.count = failures.count.wrapping_add(1);
        reason.clone_into(&mut failures.reason);
    }

    fn failed_since(&self, count: u64) -> Result<(), Error> {
        let failures = lock(&self.failures);
        match failures.count == count {
            true => Ok(()),
            false => Err(Error::Unavailable(failures.reason.clone())),
        }
    }
}

struct Live {
    store: wasmtime::Store<State>,
    provider: EngineProvider,
    sequences: HashMap<Id, Open>,
}

#[derive(Clone, Copy)]
struct Open {
    sequence: ResourceAny,
    lattice: Lattice,
}

impl EngineInstance {
    pub(crate) fn new(provider: Arc<Provider>) -> Self {
        Self {
            provider,
            live: AsyncMutex::default(),
            closed: Mutex::default(),
        }
    }

    /// Opens a sequence, and tells which integers it mints.
    pub(crate) async fn open(&self, opening: &Opening) -> Result<Lattice, Error> {
        self.with(opening, async |_, open| Ok(open.lattice)).await
    }

    /// Makes one call of a sequence, which is opened first where it is not.
    ///
    /// An instance that traps, computes too long or does not answer in time is thrown away.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        opening: &Opening,
        call: impl AsyncFnOnce(
            &Guest,
            &Accessor<State>,
            ResourceAny,
        ) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        self.with(opening, async |live, open| {
            self.run(live, async |guest, accessor| {
                call(guest, accessor, open.sequence).await
            })
            .await
        })
        .await
    }

    /// Forgets a sequence. The next call of another one closes it.
    pub(crate) fn close(&self, id: Id) {
        lock(&self.closed).push(id);
    }

    async fn with<T>(
        &self,
        opening: &Opening,
        work: impl AsyncFnOnce(&mut Live, Open) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.turn(opening).await?;
        // Taken out, so that a call given up half-way leaves no half-used instance behind.
        let mut live = match slot.take() {
            Some(live) => live,
            None => self.provider.instantiate().await?,
        };
        let done = async {
            self.tidy(&mut live).await?;
            let open = self.opened(&mut live, opening).await?;
            work(&mut live, open).await
        }
        .await;
        match &done {
            Err(Error::Broken(_)) => return done,
            Err(Error::Unavailable(reason)) => opening.fail(reason),
            _ => {}
        }
        *slot = Some(live);
        done
    }

    /// Waits until no other call is under way, in the order in which calls came.
    ///
    /// Other sequences may have calls that fail one after the other, each after its own deadline, so
    /// there is a limit to that. What failed for another sequence says nothing about this one. What
    /// failed meanwhile for the same one does, so that its deadlines do not add up.
    async fn turn(&self, opening: &Opening) -> Result<AsyncMutexGuard<'_, Option<Live>>, Error> {
        if let Ok(slot) = self.live.try_lock() {
            return Ok(slot);
        }
        let failures = opening.failures();
        let most = self.provider.host.options().wait;
        let slot = timeout(most, self.live.lock()).await.map_err(|_| {
            Error::Unavailable(format!(
                "the calls before this one took longer than {most:?}, so it was not made; is the \
                 backend overloaded?"
            ))
        })?;
        opening.failed_since(failures)?;
        Ok(slot)
    }

    async fn opened(&self, live: &mut Live, opening: &Opening) -> Result<Open, Error> {
        if let Some(open) = live.sequences.get(&opening.id) {
            return Ok(*open);
        }
        let config = wit::Config::from(&opening.config);
        let (sequence, lattice) = self
            .run(live, async |guest, accessor| {
                let sequence = match guest.sequence().call_open(accessor, config).await? {
                    Ok(sequence) => sequence,
                    Err(error) => return Ok(Err(error)),
                };
                let lattice = guest.sequence().call_lattice(accessor, sequence).await?;
                Ok(Ok((sequence, lattice)))
            })
            .await?;
        let lattice = Lattice::new(lattice.increment, lattice.offset).map_err(|_| {
            Error::Broken(format!(
                "the component named the impossible lattice {lattice:?}"
            ))
        })?;
        let open = Open { sequence, lattice };
        live.sequences.insert(opening.id, open);
        Ok(open)
    }

    /// Closes what nobody needs any more.
    async fn tidy(&self, live: &mut Live) -> Result<(), Error> {
        let closed = std::mem::take(&mut *lock(&self.closed));
        for id in closed {
            if let Some(open) = live.sequences.remove(&id) {
                live.store.data_mut().new_call();
                let meter = live.store.data().meter();
                within(self.provider.host.options().patience, &meter, async {
                    Ok(open.sequence.resource_drop_async(&mut live.store).await)
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn run<T: Send + 'static>(
        &self,
        live: &mut Live,
        call: impl AsyncFnOnce(&Guest, &Accessor<State>) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        crate::runtime::note();
        live.store.data_mut().new_call();
        let meter = live.store.data().meter();
        let guest = live.provider.artisanal_integers_engine();
        let answer = within(
            self.provider.host.options().patience,
            &meter,
            live.store
                .run_concurrent(async |accessor| call(guest, accessor).await),
        )
        .await?;
        let refusal = live.store.data_mut().take_refusal();
        answer.map_err(|error| told(error.into(), refusal))
    }
}

/// What the engine said, and beside it what the host refused during the same call, which the engine
/// may have taken for something else.
///
/// What it is stays the engine's to say. A node that its backend names can be refused while those of
/// the DSN are away for a moment only: that passes, and `denied` would mean that it does not.
fn told(error: Error, refusal: Option<Refusal>) -> Error {
    let Some(refusal) = refusal else {
        return error;
    };
    match error {
        Error::Denied(text) => Error::Denied(refusal.beside(&text)),
        Error::Unavailable(text) => Error::Unavailable(refusal.beside(&text)),
        Error::Other(text) => Error::Other(refusal.beside(&text)),
        error => error,
    }
}

/// Nothing is half done between any two statements that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a call: for its answer, a trap, or the end of patience.
async fn within<T>(
    patience: Duration,
    meter: &Meter,
    call: impl Future<Output = wasmtime::Result<wasmtime::Result<T>>>,
) -> Result<T, Error> {
    match timeout(patience, meter.run(call)).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error)) | Err(error)) => Err(trapped(&error)),
        Err(_) => Err(Error::Broken(format!(
            "the component did not answer within {} s; it was stopped",
            patience.as_secs()
        ))),
    }
}

/// The error for a component that did not end its call in order.
fn trapped(error: &wasmtime::Error) -> Error {
    let text = format!("{error:#}");
    match text.contains(OVERRUN) {
        true => Error::Broken(format!("{}; it was stopped", error.root_cause())),
        false => Error::Broken(format!("the component trapped: {}", error.root_cause())),
    }
}

impl From<&Config> for wit::Config {
    fn from(config: &Config) -> Self {
        Self {
            dsn: config.dsn.clone(),
            key: config.key.clone(),
            increment: config.increment,
            offset: config.offset,
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::TooSmall(current) => Self::TooSmall(current),
            wit::Error::Exhausted(text) => Self::Exhausted(text),
            wit::Error::Denied(text) => Self::Denied(text),
            wit::Error::Unavailable(text) => Self::Unavailable(text),
            wit::Error::Other(text) => Self::Other(text),
        }
    }
}
