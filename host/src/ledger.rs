//! The ledger: the history of every integer. [`serve`] is its server; a [`Publisher`] is what a server of integers
//! publishes to one with ([`Limits::publishing`](crate::serve::Limits::publishing)).

mod access;
mod grpc;
mod reducers;
mod server;

pub use artisanal_ledger::backup;
pub use artisanal_ledger::event::Mint;
pub use artisanal_ledger::members;
pub use artisanal_ledger::partition::Share;
pub use artisanal_ledger::publisher::{Name, Once, Options, Policy, Publisher, Stats, Target};
pub use artisanal_ledger::reducer::Reducers;
pub use artisanal_ledger::relay;
pub use artisanal_ledger::store::Options as StoreOptions;
pub use artisanal_ledger::stream::Options as StreamOptions;
pub use artisanal_ledger::{Error, Log, Store, Stream};
pub use reducers::reducers;
pub use server::{serve, serve_publisher};
