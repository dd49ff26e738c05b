//! Components that are HTTP endpoints: an instance pool, and an HTTP server in front of it.

mod pool;
mod proxy;
mod queue;
mod shared;
mod worker;

pub use pool::{Endpoint, EndpointOptions};
pub use proxy::proxy;
