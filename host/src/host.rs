//! The host: one compiler and one set of interfaces, shared by all components that it runs.

use crate::bindings::{config, config_rc1, keyvalue};
use crate::cache::Cache;
use crate::call_log::CallLog;
use crate::component::Shape;
use crate::meter::Clock;
use crate::metrics::Metrics;
use crate::simulated::Simulated;
use crate::state::{GuestLimits, State, TICK};
use crate::wasi::config::ConfigStore;
use crate::wasi::http::Client;
use crate::wasi::keyvalue::KeyValue;
use crate::wasi::names;
use crate::wasi::rights::Rights;
use crate::wasi::store::Store;
use crate::wasi::tls;
use crate::{Builtin, Error};
use engine_dsn::Address;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use wasmtime::component::{Component, HasData, Linker};
use wasmtime::{Engine, PoolingAllocationConfig};

/// The directories and limits of a [`Host`]. `Options::default()` suits most programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The directory that caches compiled components between runs; None compiles at every start.
    /// Default: the platform's cache directory.
    pub cache: Option<PathBuf>,
    /// The directory of the embedded store. Default: the platform's data directory.
    ///
    /// While its disk is fast, the store commits on the thread that polls the call, which waits for up to half a millisecond.
    pub data: Option<PathBuf>,
    /// The maximum size of each linear memory of a component instance, in bytes. Default 64 MiB.
    pub memory: usize,
    /// How long guest code may compute during one call, not counting waits. Default 1 s.
    pub compute: Duration,
    /// The timeout of one call in total, after which the instance is dropped. It should exceed the
    /// engines' own deadlines. Default 90 s: half a minute more than the longest that a DSN may set.
    pub call_timeout: Duration,
    /// How long a call may wait for earlier calls when several sequences share an instance. After that it
    /// fails with [`Error::Unavailable`] without having been made. Default 5 s.
    pub wait: Duration,
    /// The maximum number of waiting calls of each kind (`next`, `last`, `set_last`) for one sequence. As
    /// many again may be in flight, including calls whose callers are gone. Default 100 000.
    pub queue: usize,
    /// The maximum number of calls that one sequence may have in flight in its backend, each in its own
    /// instance. Default: what suits the built-in engine, and 1 for other components, since they may keep
    /// their sequences in their own memory.
    pub calls: Option<usize>,
    /// The maximum number of component instances at a time. Default 100.
    pub instances: u32,
    /// Addresses that components may connect to besides those of their DSN; an address without a port
    /// allows every port. Default none.
    pub allow: Vec<Address>,
    /// Where calls that minted are noted, for traces.
    pub(crate) call_log: Option<CallLog>,
    /// Surroundings to use instead of the machine's; guest code may compute without a limit then.
    #[doc(hidden)]
    pub simulated: Option<Simulated>,
    /// A file with the authorities whose certificates backends may have (PEM), in place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// A file with a client certificate and its chain (PEM), for backends that require one. Default none.
    pub client_cert: Option<PathBuf>,
    /// A file with the key of the client certificate (PEM). Components do not see it.
    pub client_key: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let platform = directories::ProjectDirs::from("", "", "int-host");
        Self {
            cache: platform
                .as_ref()
                .map(|dirs| dirs.cache_dir().join("components")),
            data: platform.as_ref().map(|dirs| dirs.data_dir().to_owned()),
            memory: 64 << 20,
            compute: Duration::from_secs(1),
            call_timeout: engine_dsn::MAX_TIMEOUT + Duration::from_secs(30),
            wait: Duration::from_secs(5),
            queue: 100_000,
            calls: None,
            instances: 100,
            allow: Vec::new(),
            call_log: None,
            simulated: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
        }
    }
}

/// Runs components. A clone is a reference to the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    client: Client,
    clock: Clock,
    metrics: Metrics,
    options: Options,
    /// The embedded store, once it is open.
    store: Mutex<Option<Store>>,
    /// The built-in engines that were loaded.
    builtins: [OnceLock<(Component, Shape)>; Builtin::ALL.len()],
}

impl Host {
    /// Sets up the compiler and the interfaces that components may import.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the machine does not support the options, or a file for TLS cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        let tls = tls::Settings::read(&options)?;
        let (engine, linker) =
            engine_and_linker(&options).map_err(|e| Error::Misconfigured(format!("{e:#}")))?;
        let inner = Arc::new(Inner {
            engine,
            linker,
            cache: options.cache.clone().map(Cache::new),
            client: Client::new(tls),
            clock: Clock::default(),
            metrics: Metrics::new(),
            options,
            store: Mutex::new(None),
            builtins: Default::default(),
        });
        // A tick interrupts guest code at a time of the machine's clock.
        if inner.options.simulated.is_none() {
            tick(Arc::downgrade(&inner));
        }
        Ok(Self { inner })
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// What it has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.inner.linker
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Where a built-in engine is kept once it was loaded.
    pub(crate) fn builtin(&self, engine: Builtin) -> &OnceLock<(Component, Shape)> {
        &self.inner.builtins[engine as usize]
    }

    /// A wasmtime store for an instance with these rights. It has to be driven inside `run` of its
    /// [`State::meter`].
    pub(crate) fn state(&self, rights: &Rights) -> wasmtime::Store<State> {
        let Inner {
            engine,
            client,
            clock,
            options,
            ..
        } = &*self.inner;
        let simulated = options.simulated.as_ref();
        State::store(engine, rights, self.limits(), client, clock, simulated)
    }

    pub(crate) fn limits(&self) -> GuestLimits {
        let ticks = self
            .inner
            .options
            .compute
            .as_millis()
            .div_ceil(TICK.as_millis());
        GuestLimits {
            memory: self.inner.options.memory,
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
        }
    }

    /// Compiles a component, or loads it from the cache.
    pub(crate) fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        match &self.inner.cache {
            Some(cache) => cache.load(&self.inner.engine, wasm),
            None => Component::new(&self.inner.engine, wasm),
        }
    }

    /// The embedded store, opened on first use.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when there is no data directory, or it cannot be used.
    pub(crate) fn store(&self) -> Result<Store, Error> {
        let mut open = self
            .inner
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*open {
            return Ok(store.clone());
        }
        let directory = self.inner.options.data.as_ref().ok_or_else(|| {
            Error::Misconfigured(
                "this platform has no data directory; name one with --data DIR".into(),
            )
        })?;
        let store = Store::open(directory).map_err(|e| Error::Misconfigured(e.to_string()))?;
        *open = Some(store.clone());
        Ok(store)
    }
}

fn engine_and_linker(options: &Options) -> wasmtime::Result<(Engine, Linker<State>)> {
    let mut pool = PoolingAllocationConfig::new();
    // A composed endpoint consists of a few core instances, each with its own memory.
    pool.total_component_instances(options.instances)
        .total_core_instances(options.instances.saturating_mul(20))
        .total_memories(options.instances.saturating_mul(8))
        .total_tables(options.instances.saturating_mul(16))
        .total_stacks(options.instances.saturating_mul(20))
        .max_memory_size(options.memory)
        // Instances are long-lived: pages kept resident for the next one would only waste memory.
        .linear_memory_keep_resident(0);
    let mut config = wasmtime::Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .allocation_strategy(pool)
        // Reserving 4 GiB of address space per memory makes bounds checks unnecessary.
        .memory_reservation(4 << 30);
    let engine = Engine::new(&config)?;

    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    names::replace_in_linker(&mut linker)?;
    tls::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    keyvalue::Imports::add_to_linker::<_, HasKeyValue>(&mut linker, State::keyvalue)?;
    config::Imports::add_to_linker::<_, HasConfig>(&mut linker, State::settings)?;
    config_rc1::Imports::add_to_linker::<_, HasConfig>(&mut linker, State::settings)?;
    Ok((engine, linker))
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValue<'a>;
}

struct HasConfig;

impl HasData for HasConfig {
    type Data<'a> = &'a mut ConfigStore;
}

/// Advances the clock that measures the compute time of guest code, until the host is dropped.
fn tick(host: Weak<Inner>) {
    std::thread::Builder::new()
        .name("guest-clock".into())
        .spawn(move || {
            while let Some(inner) = host.upgrade() {
                inner.clock.tick();
                inner.engine.increment_epoch();
                drop(inner);
                std::thread::sleep(TICK);
            }
        })
        .map(drop)
        .unwrap_or_else(|error| tracing::warn!(%error, "cannot start the guest clock thread: compute time is not limited"));
}
