//! The surroundings of the host: the network, virtual time, and random numbers that follow from the seed.

use crate::network::Network;
use crate::random::Random;
use bytes::Bytes;
use http::Request;
use int_host::simulated::{Exchange, Surroundings};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use wasmtime_wasi::{HostMonotonicClock, WasiCtxBuilder};

thread_local! {
    /// The seed of the instances that are made at present, if it is not a random one.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
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

/// The surroundings of one run.
pub(crate) struct World {
    network: Arc<Network>,
    start: Instant,
    random: Mutex<Random>,
}

impl World {
    pub(crate) fn new(network: Arc<Network>, random: Random) -> Self {
        Self {
            network,
            start: Instant::now(),
            random: Mutex::new(random),
        }
    }
}

impl Surroundings for World {
    fn send(&self, request: Request<Bytes>) -> Exchange {
        self.network.send(request)
    }

    fn random(&self) -> u64 {
        let mut shared = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        1 + shared.below(1 << 52)
    }

    fn prepare(&self, wasi: &mut WasiCtxBuilder) {
        let mut own = SEED.get().map(|seed| Random::new(seed, 0));
        let mut shared = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let random = own.as_mut().unwrap_or(&mut shared);
        wasi.secure_random(random.fork())
            .insecure_random(random.fork())
            .insecure_random_seed(random.below(u64::MAX).into())
            .monotonic_clock(VirtualClock(self.start));
    }
}

/// The clock of the runtime, which stands still while anything can be done.
struct VirtualClock(Instant);

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
