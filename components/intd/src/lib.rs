//! The HTTP endpoint, as a Rust library and as a component.
//!
//! The routes ([`App`]) do no I/O and depend on no runtime: a native server provides its own sequences
//! and its own HTTP. Built for `wasm32-wasip2`, the same crate is the component `intd`, which exports
//! `wasi:http/handler` and imports the engine.

mod app;
mod authorization;
mod body;
mod budget;
mod cause;
mod content;
mod cors;
mod grant;
mod json;
mod log_limiter;
mod opened;
mod pattern;
mod problem;
mod query;
mod rate;
mod request_id;
mod route;
mod secret;
mod settings;

pub use app::{App, Repeatable, Told, Unrepeatable, refuse};
pub use authorization::{authorize, bearer};
pub use budget::Reservation;
pub use cause::{Cause, Granted, Raised};
pub use content::{Content, PIECE_BYTES};
pub use cors::Cors;
pub use grant::{Grant, Refused, Right, Terms, Tokens, ask};
pub use log_limiter::LogLimiter;
pub use opened::Opening;
pub use pattern::Pattern;
pub use problem::Problem;
pub use rate::{Limit, Rates};
pub use request_id::RequestId;
pub use route::path_template;
pub use secret::Token;
pub use settings::{Settings, SettingsError};

#[cfg(target_family = "wasm")]
mod component;
