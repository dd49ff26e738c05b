//! The state that the workers of one endpoint share.

use super::EndpointOptions;
use super::queue::Queue;
use crate::Host;
use crate::serve::Shutdown;
use crate::state::{GuestLimits, State};
use crate::wasi::rights::Rights;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::Store;
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};

/// The state that the workers of one endpoint share.
pub(super) struct Shared {
    pub(super) host: Host,
    pub(super) pre: ProxyPre<State>,
    pub(super) rights: Rights,
    pub(super) options: EndpointOptions,
    pub(super) queue: Queue,
    pub(super) closed: Shutdown,
    /// Permits for instances: twice the number that accept requests, since retired ones are still finishing.
    pub(super) places: Arc<Semaphore>,
    /// Permits for requests in flight.
    pub(super) in_flight: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn limits(&self) -> GuestLimits {
        self.host.limits()
    }

    /// Creates an instance in its own store.
    pub(super) async fn instantiate(&self) -> wasmtime::Result<(Store<State>, Proxy)> {
        let mut store = self.host.state(&self.rights);
        let meter = store.data().meter();
        let proxy = meter.run(self.pre.instantiate_async(&mut store)).await?;
        Ok((store, proxy))
    }
}

/// The error of a request for which no instance could be created.
#[derive(Debug, thiserror::Error)]
#[error("the component failed to start")]
pub(super) struct Unstarted;
