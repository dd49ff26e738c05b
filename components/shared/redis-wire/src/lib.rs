//! A connection with the Redis protocol, for the engines whose backends use it.
//!
//! The `redis` crate encodes commands and parses replies. This crate implements the socket I/O: an
//! exchange as a whole has one deadline, however slowly its bytes arrive, and a reply has a maximum
//! length, whatever length the server announces. The engines interpret the replies.

mod reply;
#[cfg(feature = "stand-in")]
pub mod stand_in;
mod wire;

pub use redis::{Cmd, ServerError, Value, cmd, parse_redis_value as parse};
pub use reply::{Unreadable, integer, mark, number, printable, text};
pub use wire::{Lost, MAX_REPLY_BYTES, Wire};
