//! Instances of an engine component, each shared by a number of open sequences.

mod opening;

use crate::bindings::engine::artisanal::integers::types as wit;
use crate::bindings::engine::exports::artisanal::integers::{claims, engine};
use crate::component::Source;
use crate::meter::Meter;
use crate::state::{OVERRUN, State};
use crate::to_the_end::Begun;
use crate::wasi::config::ConfigStore;
use crate::wasi::network::Refusal;
use crate::wasi::rights::Rights;
use crate::wasi::server::Failovers;
use crate::{Config, Error, Host};
use artisanal_core::Lattice;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::time::timeout;
use wasmtime::component::{Accessor, InstancePre, ResourceAny};

pub(crate) use opening::{Id, Opening};

/// An engine that is ready to be instantiated, with the rights of its instances.
pub(crate) struct Provider {
    host: Host,
    pre: InstancePre<State>,
    engine: engine::GuestIndices,
    /// None if the component does not export this interface.
    claims: Option<claims::GuestIndices>,
    rights: Rights,
    /// None if the backend has several servers that are used side by side.
    failovers: Option<Failovers>,
    engine_name: String,
}

/// The interfaces that an instance exports.
pub(crate) struct Exports {
    pub(crate) engine: engine::Guest,
    pub(crate) claims: Option<claims::Guest>,
}

impl Provider {
    pub(crate) fn new(host: &Host, source: &Source, dsn: &str) -> Result<Self, Error> {
        let (component, shape) = host.engine_component(source)?;
        let rights = host.rights(source, &shape, dsn, ConfigStore::default())?;
        let unfit = |e| Error::Misconfigured(format!("{source} cannot run on this host: {e:#}"));
        let pre = host.linker().instantiate_pre(&component).map_err(unfit)?;
        let engine = engine::GuestIndices::new(&pre).map_err(unfit)?;
        let claims = shape
            .exports_claims()
            .then(|| claims::GuestIndices::new(&pre))
            .transpose()
            .map_err(unfit)?;
        let engine_name = source.name().into_owned();
        Ok(Self {
            host: host.clone(),
            pre,
            engine,
            claims,
            failovers: Failovers::of(dsn, &engine_name, &rights.metrics),
            rights,
            engine_name,
        })
    }

    async fn instantiate(&self) -> Result<Live, Error> {
        let mut store = self.host.state(&self.rights);
        let meter = store.data().meter();
        let instance = within(self.host.options().call_timeout, &meter, async {
            Ok(self.pre.instantiate_async(&mut store).await)
        })
        .await?;
        let unfit = |e: wasmtime::Error| Error::Broken(format!("{e:#}"));
        let exports = Exports {
            engine: self.engine.load(&mut store, &instance).map_err(unfit)?,
            claims: self
                .claims
                .as_ref()
                .map(|claims| claims.load(&mut store, &instance))
                .transpose()
                .map_err(unfit)?,
        };
        Ok(Live {
            store,
            exports,
            sequences: HashMap::new(),
        })
    }
}

/// An instance that one or more sequences share. It makes one call at a time, and is recreated after a
/// failure.
pub(crate) struct EngineInstance {
    provider: Arc<Provider>,
    live: AsyncMutex<Option<Live>>,
    /// Dropped sequences, still to be closed in the instance.
    closed: Mutex<Vec<Id>>,
}

struct Live {
    store: wasmtime::Store<State>,
    exports: Exports,
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

    /// The name of the engine.
    pub(crate) fn engine(&self) -> &str {
        &self.provider.engine_name
    }

    /// Opens a sequence and returns its lattice.
    pub(crate) async fn open(&self, opening: &Opening) -> Result<Lattice, Error> {
        self.with(opening, &Begun::default(), async |_, open| Ok(open.lattice))
            .await
    }

    /// Makes one call of a sequence, which is first opened if necessary.
    ///
    /// An instance that traps, exceeds its compute limit or does not answer in time is dropped.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        opening: &Opening,
        call: impl AsyncFnOnce(
            &Exports,
            &Accessor<State>,
            ResourceAny,
        ) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        self.call_begun(opening, &Begun::default(), call).await
    }

    /// As [`EngineInstance::call`]. Sets `begun` when no other call is in flight: from then on, dropping the future drops
    /// the instance, with its connections to the backend.
    pub(crate) async fn call_begun<T: Send + 'static>(
        &self,
        opening: &Opening,
        begun: &Begun,
        call: impl AsyncFnOnce(
            &Exports,
            &Accessor<State>,
            ResourceAny,
        ) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        self.pause().await;
        let answer = self
            .with(opening, begun, async |live, open| {
                self.run(live, async |exports, accessor| {
                    call(exports, accessor, open.sequence).await
                })
                .await
            })
            .await;
        self.pause().await;
        answer
    }

    /// In a simulation, the time that a request or an answer of the backend takes.
    async fn pause(&self) {
        if let Some(simulated) = &self.provider.host.options().simulated {
            simulated.pause(&self.provider.engine_name).await;
        }
    }

    /// Marks a sequence as closed. The instance closes it before its next call.
    pub(crate) fn close(&self, id: Id) {
        lock(&self.closed).push(id);
    }

    async fn with<T>(
        &self,
        opening: &Opening,
        begun: &Begun,
        work: impl AsyncFnOnce(&mut Live, Open) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.turn(opening).await?;
        begun.set();
        // Taken out, so that a call whose future is dropped midway leaves no half-used instance behind.
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
        let server = live.store.data().take_server();
        if let (Ok(_), Some(failovers), Some(server)) = (&done, &self.provider.failovers, server) {
            failovers.note(&opening.server, server);
        }
        match &done {
            Err(Error::Broken(_)) => {
                self.provider.rights.metrics.broken.inc();
                return done;
            }
            Err(Error::Unavailable(reason)) => opening.fail(reason),
            _ => {}
        }
        *slot = Some(live);
        done
    }

    /// Waits until no other call is in flight, in order of arrival.
    ///
    /// The wait is limited, because calls of other sequences may fail one after another, each after its own
    /// deadline. A failure of another sequence says nothing about this one. A failure of the same sequence
    /// during the wait fails this call too, so that deadlines do not add up.
    async fn turn(&self, opening: &Opening) -> Result<AsyncMutexGuard<'_, Option<Live>>, Error> {
        if let Ok(slot) = self.live.try_lock() {
            return Ok(slot);
        }
        let failures = opening.failures();
        let most = self.provider.host.options().wait;
        let slot = timeout(most, self.live.lock()).await.map_err(|_| {
            Error::Unavailable(format!(
                "earlier calls took longer than {most:?}, so this call was not made; is the backend \
                 overloaded?"
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
            .run(live, async |exports, accessor| {
                let sequence = match exports
                    .engine
                    .sequence()
                    .call_open(accessor, config)
                    .await?
                {
                    Ok(sequence) => sequence,
                    Err(error) => return Ok(Err(error)),
                };
                let lattice = exports
                    .engine
                    .sequence()
                    .call_lattice(accessor, sequence)
                    .await?;
                Ok(Ok((sequence, lattice)))
            })
            .await?;
        let lattice = Lattice::new(lattice.increment, lattice.offset).map_err(|_| {
            Error::Broken(format!(
                "the component returned the impossible lattice {lattice:?}"
            ))
        })?;
        let open = Open { sequence, lattice };
        live.sequences.insert(opening.id, open);
        Ok(open)
    }

    /// Closes the sequences that were dropped.
    async fn tidy(&self, live: &mut Live) -> Result<(), Error> {
        let closed = std::mem::take(&mut *lock(&self.closed));
        for id in closed {
            if let Some(open) = live.sequences.remove(&id) {
                live.store.data_mut().new_call();
                let meter = live.store.data().meter();
                within(self.provider.host.options().call_timeout, &meter, async {
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
        call: impl AsyncFnOnce(&Exports, &Accessor<State>) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        crate::runtime::note();
        live.store.data_mut().new_call();
        let meter = live.store.data().meter();
        let exports = &live.exports;
        let answer = within(
            self.provider.host.options().call_timeout,
            &meter,
            live.store
                .run_concurrent(async |accessor| call(exports, accessor).await),
        )
        .await?;
        let refusal = live.store.data_mut().take_refusal();
        answer.map_err(|error| told(error.into(), refusal))
    }
}

/// Appends to the engine's error what the host refused during the same call, since the engine may have
/// mistaken the refusal for another failure.
///
/// The kind of error remains the engine's choice. The host may refuse a node that the backend named while
/// the nodes of the DSN are unreachable only for a moment: that is temporary, and `denied` would mean that
/// it is permanent.
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

/// Ignores poisoning: the data is consistent at every point that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a call to return, to trap, or to exceed `call_timeout`.
async fn within<T>(
    call_timeout: Duration,
    meter: &Meter,
    call: impl Future<Output = wasmtime::Result<wasmtime::Result<T>>>,
) -> Result<T, Error> {
    match timeout(call_timeout, meter.run(call)).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error)) | Err(error)) => Err(trapped(&error)),
        Err(_) => Err(Error::Broken(format!(
            "the component did not answer within {} s; it was stopped",
            call_timeout.as_secs()
        ))),
    }
}

/// The error for a component that trapped or exceeded its compute limit.
fn trapped(error: &wasmtime::Error) -> Error {
    let text = format!("{error:#}");
    if text.contains(OVERRUN) {
        Error::Broken(format!("{}; it was stopped", error.root_cause()))
    } else {
        Error::Broken(format!("the component trapped: {}", error.root_cause()))
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
