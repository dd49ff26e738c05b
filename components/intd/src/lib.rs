//! The HTTP endpoint, once as plain Rust and once as a component.
//!
//! The routes ([`App`]) and the [`Coalescer`] do no I/O and know no runtime: a native server puts
//! its own sequences below them and its own HTTP above. Built for `wasm32-wasip2`, the same crate
//! is the component `intd`, which exports `wasi:http/handler` and imports the engine.

mod coalescer;
mod error;
mod lattice;
mod sequence;
mod span;

pub use coalescer::{Coalescer, Driver, Source};
pub use error::Error;
pub use lattice::Lattice;
pub use sequence::Sequence;
pub use span::Span;

/// The most integers that one call may ask for.
pub const MAX_COUNT: u32 = 100_000;
