//! The parts that all engine components share, so that an engine implements only its protocol.
//!
//! An engine author implements [`Engine`]: `open`, `advance`, `mark` and `claim`. This crate adds
//! the bindings, the checks of the configuration, the arithmetic of spans, the lock that lets a
//! sequence serve one call at a time, and the component's exports:
//!
//! ```
//! use engine_guest::{Dsn, Engine, Error, Key};
//!
//! /// Keeps the mark in a field. Real engines keep it in a backend.
//! struct Counter(Option<i64>);
//!
//! impl Engine for Counter {
//!     const OFFSET: i64 = 0;
//!     const DSN: Option<&'static str> = Some("counter://");
//!     const SCHEMES: &'static [&'static str] = &["counter"];
//!
//!     async fn open(_dsn: Dsn, _key: Key) -> Result<Self, Error> {
//!         Ok(Self(None))
//!     }
//!     async fn advance(&mut self, by: i64) -> Result<i64, Error> {
//!         let mark = self.0.unwrap_or(0).checked_add(by).ok_or_else(engine_guest::exhausted)?;
//!         self.0 = Some(mark);
//!         Ok(mark)
//!     }
//!     async fn mark(&mut self) -> Result<Option<i64>, Error> {
//!         Ok(self.0)
//!     }
//!     async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
//!         match self.0 {
//!             Some(mark) if mark >= first => Err(Error::TooSmall(mark)),
//!             _ => Ok(self.0 = Some(last)),
//!         }
//!     }
//! }
//!
//! engine_guest::export!(Counter);
//! # fn main() {}
//! ```

pub mod bindings;
mod config;
mod convert;
pub mod deadline;
mod engine;
pub mod failover;
pub mod hosts;
pub mod operation;
pub mod remote;
pub mod retry;
mod sequence;
mod shared;
pub mod socket;

pub use artisanal_core::limits::{MAX_COUNT, MAX_KEY_BYTES};
pub use artisanal_core::{Lattice, Quoter};
pub use engine::{Engine, Key, exhausted};
pub use engine_dsn::Dsn;
pub use sequence::Sequence;
pub use shared::Shared;

pub use bindings::artisanal::integers::types::{Config, Error, Span};
pub use bindings::exports::artisanal::integers::engine::SequenceBorrow;

/// Exports an [`Engine`] as the component's `artisanal:integers/engine` and `artisanal:integers/claims`.
#[macro_export]
macro_rules! export {
    ($engine:ty) => {
        const _: () = {
            struct Component;
            impl $crate::bindings::exports::artisanal::integers::engine::Guest for Component {
                type Sequence = $crate::Sequence<$engine>;
            }
            impl $crate::bindings::exports::artisanal::integers::claims::Guest for Component {
                async fn claim(
                    sequence: $crate::SequenceBorrow<'_>,
                    first: i64,
                    last: i64,
                ) -> Result<(), $crate::Error> {
                    sequence
                        .get::<$crate::Sequence<$engine>>()
                        .claim(first, last)
                        .await
                }

                async fn generation(
                    sequence: $crate::SequenceBorrow<'_>,
                ) -> Result<Option<String>, $crate::Error> {
                    sequence
                        .get::<$crate::Sequence<$engine>>()
                        .generation()
                        .await
                }
            }
    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
