//! The surroundings of the host: the network, virtual time, and random numbers that follow from the seed.
//!
//! All runs share one host, and so the compiler and the compiled components. A run has its thread for itself, so the
//! thread tells which run a component belongs to.

use crate::clock::{Clock, MonotonicClock, WallClock};
use crate::network::Network;
use crate::random::Random;
use bytes::Bytes;
use http::Request;
use int_host::simulated::{Exchange, Pause, Simulated, Surroundings};
use int_host::{Host, Options};
use std::cell::{Cell, RefCell};
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::time::sleep;
use wasmtime_wasi::WasiCtxBuilder;

/// How many component instances one run has at a time, at most.
const INSTANCES: u32 = 64;

/// How many runs are made at a time, at most. Each needs address space for its instances.
const THREADS: usize = 8;

thread_local! {
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
    /// The seed of the instances that are made at present, if it is not a random one.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    /// The clock of the instances that are made at present, if somebody sets it.
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let mut options = Options::default();
    options.cache = Some(testbed::backend::cache());
    options.instances = INSTANCES * u32::try_from(threads()).unwrap_or(1);
    options.simulated = Some(simulated());
    Host::new(options).expect("a host")
});

/// The host of all runs.
pub(crate) fn host() -> Host {
    HOST.clone()
}

/// The surroundings of all runs.
pub(crate) fn simulated() -> Simulated {
    static SIMULATED: LazyLock<Simulated> = LazyLock::new(|| Simulated::new(Arc::new(OfThread)));
    SIMULATED.clone()
}

/// How many runs are made at a time.
pub(crate) fn threads() -> usize {
    available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// Makes a component instance whose random numbers follow from this seed. Two instances of the engine `memory` with
/// the same seed have the same generation.
pub(crate) async fn seeded<T>(seed: u64, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        SEED.set(Some(seed));
        let poll = work.as_mut().poll(context);
        SEED.set(None);
        poll
    })
    .await
}

/// Makes component instances that have this clock.
pub(crate) async fn clocked<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        CLOCK.set(Some(clock.clone()));
        let poll = work.as_mut().poll(context);
        CLOCK.set(None);
        poll
    })
    .await
}

/// The surroundings of one run.
pub(crate) struct World {
    network: Arc<Network>,
    random: Mutex<Random>,
}

impl World {
    pub(crate) fn new(network: Arc<Network>, random: Random) -> Arc<Self> {
        Arc::new(Self {
            network,
            random: Mutex::new(random),
        })
    }

    /// Makes these the surroundings of what this thread does, for as long as the guard lives.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        WORLD.set(Some(Arc::clone(self)));
        Entered
    }

    fn current() -> Option<Arc<Self>> {
        WORLD.with_borrow(Option::clone)
    }

    fn random<T>(&self, work: impl FnOnce(&mut Random) -> T) -> T {
        work(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A run that this thread makes.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

/// The surroundings of the run that the thread makes.
struct OfThread;

impl Surroundings for OfThread {
    fn send(&self, request: Request<Bytes>) -> Exchange {
        match World::current() {
            Some(world) => world.network.send(request),
            None => Box::pin(ready(None)),
        }
    }

    fn random(&self) -> u64 {
        let world = World::current().expect("a run");
        world.random(|random| 1 + random.below(1 << 52))
    }

    fn prepare(&self, wasi: &mut WasiCtxBuilder) {
        let world = World::current().expect("a run");
        let clock = CLOCK.with_borrow(Option::clone).unwrap_or_default();
        let mut prepare = |random: &mut Random| {
            wasi.secure_random(random.fork())
                .insecure_random(random.fork())
                .insecure_random_seed(random.below(u64::MAX).into());
        };
        match SEED.get() {
            Some(seed) => prepare(&mut Random::new(seed, 0)),
            None => world.random(prepare),
        }
        wasi.monotonic_clock(MonotonicClock(clock.clone()))
            .wall_clock(WallClock(clock));
    }

    fn pause(&self, engine: &str) -> Pause {
        let pause = World::current()
            .filter(|_| engine == "memory")
            .map_or(Duration::ZERO, |world| world.network.backend_pause());
        match pause {
            Duration::ZERO => Box::pin(ready(())),
            pause => Box::pin(sleep(pause)),
        }
    }
}
