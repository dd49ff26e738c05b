//! Plain Rust shared by the engines, the HTTP endpoint and the host: no WIT, no HTTP, no I/O.
//!
//! An engine advances a *mark*; a [`Lattice`] computes the integers that an advance has taken, and a
//! [`Span`] holds them. A [`Coalescer`] lets many requests share one engine call, a [`lease::Lease`] lets many
//! calls share one span that was fetched before, and [`flake`] makes integers from the time.

mod coalescer;
mod error;
pub mod flake;
mod lattice;
pub mod lease;
pub mod limits;
mod quote;
mod secret;
mod sequence;
mod span;
mod wit;

pub use coalescer::{Coalescer, Driver, Upstream, yield_once};
pub use error::Error;
pub use lattice::Lattice;
pub use limits::MAX_COUNT;
pub use quote::Quoter;
pub use secret::Secret;
pub use sequence::Sequence;
pub use span::Span;
