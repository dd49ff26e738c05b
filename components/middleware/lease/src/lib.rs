//! A component between an endpoint, or another caller, and an engine: it fetches spans from the engine and mints
//! from them, so most calls need no round trip.
//!
//! It exports `artisanal:integers/engine`, like the engine that it is composed with, and keeps the contract of
//! that engine with one exception. **Integers of different holders are not in order (C3)**: a holder is one open
//! sequence, and of two holders the one that mints later may mint the smaller integers. What a holder does not
//! hand out is a gap. `last` is the mark of the backend: never less than an integer that was handed out, and
//! greater while the holder has integers in stock.
//!
//! The parameter `lease` of the DSN is the size of the largest span, 1 to 100 000 and by default 1000, as in
//! `redis://localhost?lease=500`. The engine does not see this parameter.

pub mod dsn;

#[cfg(target_family = "wasm")]
mod component;
