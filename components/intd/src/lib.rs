//! The HTTP endpoint, once as plain Rust and once as a component.
//!
//! The routes ([`App`]) and the [`Coalescer`] do no I/O and know no runtime: a native server puts
//! its own sequences below them and its own HTTP above. Built for `wasm32-wasip2`, the same crate
//! is the component `intd`, which exports `wasi:http/handler` and imports the engine.

mod app;
mod body;
mod budget;
mod cause;
mod coalescer;
mod content;
mod cors;
mod error;
mod json;
mod lattice;
mod problem;
mod query;
mod request_id;
mod route;
mod secret;
mod seldom;
mod sequence;
mod settings;
mod span;

pub use app::{App, refuse};
pub use budget::Reservation;
pub use cause::Cause;
pub use coalescer::{Coalescer, Driver, Source};
pub use content::{Content, PIECE_BYTES};
pub use cors::Cors;
pub use error::Error;
pub use lattice::Lattice;
pub use request_id::RequestId;
pub use secret::{DsnText, Token};
pub use seldom::Seldom;
pub use sequence::Sequence;
pub use settings::{Settings, SettingsError};
pub use span::Span;

/// The most integers that one call may ask for.
pub const MAX_COUNT: u32 = 100_000;

#[cfg(target_family = "wasm")]
mod component;
