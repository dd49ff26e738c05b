//! The history of every integer, and an event log per key.
//!
//! A server that hands out integers publishes each answer as an [event](event::Event). A ledger stores the events
//! durably, and answers who got an integer, when, and in which span; which integers were skipped; and what the events of
//! a key, replayed, come to.

pub mod api;
pub mod backup;
pub mod columns;
pub mod endpoint;
mod error;
pub mod event;
pub mod frame;
mod key;
mod log;
pub mod members;
pub mod partition;
pub mod publisher;
pub mod query;
pub mod reducer;
pub mod relay;
mod retention;
pub mod ring;
pub mod state;
pub mod store;
pub mod stream;

pub use api::Api;
pub use error::Error;
pub use log::Log;
pub use publisher::Publisher;
pub use relay::Relay;
pub use store::Store;
pub use stream::Stream;

/// How many lines of one kind are logged in a burst; after that, one every five seconds. When the disk fails, or a client
/// follows no protocol, every request would cause a line.
const LINES: u32 = 16;
