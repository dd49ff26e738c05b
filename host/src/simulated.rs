//! What a simulation puts in the place of the network, the clocks and the random numbers.

use bytes::Bytes;
use http::{Request, Response};
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use wasmtime_wasi::WasiCtxBuilder;

/// The exchange of one request for its response; None if the connection is lost.
pub type Exchange = Pin<Box<dyn Future<Output = Option<Response<Bytes>>> + Send>>;

/// A time in which nothing is done.
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All that a host and its components notice of the outside in a simulation.
pub trait Surroundings: Send + Sync {
    /// Sends a request of a component or of a node, instead of the network.
    fn send(&self, request: Request<Bytes>) -> Exchange;

    /// A random number for a node.
    fn random(&self) -> u64;

    /// Sets the clocks and the random numbers of a new component instance.
    fn prepare(&self, wasi: &mut WasiCtxBuilder);

    /// Ends when a call of this engine may go on, once before it is made and once after it has returned.
    fn pause(&self, engine: &str) -> Pause;
}

/// Shared surroundings.
#[derive(Clone)]
pub struct Simulated(Arc<dyn Surroundings>);

impl Simulated {
    /// These surroundings.
    pub fn new(surroundings: Arc<dyn Surroundings>) -> Self {
        Self(surroundings)
    }
}

impl Deref for Simulated {
    type Target = dyn Surroundings;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}
