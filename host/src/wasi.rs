//! The WASI interfaces that components may import, each restricted to what the component's DSN names.

pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod rights;
pub(crate) mod server;
pub mod store;
pub(crate) mod tls;
