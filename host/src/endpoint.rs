//! Components that are HTTP endpoints: a pool of their instances, and a server in front of it.

mod pool;
mod proxy;
mod queue;
mod shared;
mod worker;

pub use pool::{Endpoint, EndpointOptions};
pub use proxy::proxy;
