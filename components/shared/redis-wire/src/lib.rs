//! One connection that speaks the Redis protocol, for the engines whose backends do.
//!
//! Commands are packed and replies parsed by the `redis` crate. The socket is this crate's own:
//! a whole exchange has one deadline, however slowly its bytes trickle in, and a reply has a
//! greatest length, whatever the server announces. What the replies mean is up to the engine.

mod reply;
#[cfg(feature = "stand-in")]
pub mod stand_in;
mod wire;

pub use redis::{Cmd, ServerError, Value, cmd, parse_redis_value as parse};
pub use reply::{Unreadable, integer, mark, number, printable, text};
pub use wire::{Lost, MAX_REPLY_BYTES, Wire};
