//! Mints unique, ordered integers from engines that are WebAssembly components.
//!
//! A program embeds an engine in ten lines:
//!
//! ```
//! use int_host::{Builtin, Config, Error, Host, Options};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let host = Host::new(Options::default())?;
//!     let sequence = host.open(Builtin::Memory, Config::default()).await?;
//!     let span = sequence.next(3).await?;
//!     assert_eq!(span.iter().collect::<Vec<_>>(), [2, 4, 6]);
//!     assert_eq!(sequence.last().await?, Some(6));
//!     Ok(())
//! }
//! ```
//!
//! It works on any tokio runtime. On one from [`runtime::start`] consecutive calls are faster, since its
//! thread does not sleep between a call and a reply that comes soon.
//!
//! The features `serve` (servers), `ledger` (the history of integers), `compose` (composing the HTTP endpoint with an
//! engine) and `cli` (the command line) are on by default; a program that only embeds engines can switch them off.
//!
//! [`Error`] distinguishes the three kinds of failure: the engine returned an error, the component is
//! broken, or the host is misconfigured.

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        reason = "some parts are used by the other features only"
    )
)]

mod bindings;
mod builtin;
mod cache;
mod call_log;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod component;
#[cfg(feature = "compose")]
pub mod compose;
#[cfg(feature = "serve")]
pub mod endpoint;
mod files;
mod host;
mod instance;
mod lease;
#[cfg(feature = "ledger")]
pub mod ledger;
mod meter;
pub mod metrics;
#[cfg(feature = "serve")]
pub mod node;
pub mod runtime;
mod sequence;
#[cfg(feature = "serve")]
pub mod serve;
#[doc(hidden)]
pub mod simulated;
mod state;
mod to_the_end;
#[cfg(feature = "serve")]
pub mod traces;
mod wasi;

pub use artisanal_core::{Error, Lattice, Span};
pub use builtin::{About, Builtin, CONFIG_BRIDGE, FLAKE, INTD, LEASE};
pub use component::{ENGINE, Shape, Source};
pub use host::{Host, Options};
pub use metrics::Metrics;
pub use sequence::{Config, Sequence};
pub use wasi::store;
