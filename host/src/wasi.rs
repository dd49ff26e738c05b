//! What a component is given: the interfaces of WASI, each with no more behind it than its DSN names.

pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod rights;
pub mod store;
