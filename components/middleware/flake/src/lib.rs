//! A component between an endpoint, or another caller, and an engine: it makes integers from the time and the number
//! of a node, and leases that number from the engine. See [`artisanal_core::flake`].
//!
//! It exports `artisanal:integers/engine` and needs an engine that exports `artisanal:integers/claims`, which it calls
//! every few seconds and not for each integer. Each opened sequence holds a number of its own.
//!
//! - Integers are unique, whatever the clocks show and whoever crashes, as long as the backend keeps its marks.
//! - Integers of one sequence are in order; those of different ones are in the order of their
//!   milliseconds, as far as the clocks agree (C3).
//! - `last` is the greatest integer of this opened sequence, and `set-last` cannot raise beyond the present.
//! - While the backend fails, calls succeed until the lease ends, after 5 to 10 seconds.
//!
//! The DSN is the engine's, with two parameters that the engine does not see: `flake`, the layout
//! (see [`artisanal_core::flake::Layout`], by default `standard`), and `flake-node`, the only number to hold.

pub mod dsn;

#[cfg(target_family = "wasm")]
mod component;
