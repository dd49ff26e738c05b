//! Shared by integration tests and benchmarks: real servers, a fault-injecting proxy, processes that mint,
//! and a checker for the history of what they minted.
//!
//! Functions return an [`Error`] when a server, a program or the system does not do its part. What asserts
//! panics: the tests of [`contract`], [`history::History::assert_clean`], the mistakes that [`load`] finds, and the
//! accessors of an [`http::Answer`] and a [`cli::Outcome`]. A test returns a [`TestResult`], so that `?` ends it
//! with an error, its place in the test, and the logs kept.

pub mod backend;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod contract;
pub mod crowd;
mod error;
mod failure;
mod family;
pub mod galera;
mod go;
pub mod group;
pub mod history;
pub mod http;
pub mod ledger;
pub mod load;
pub mod mariadb;
pub mod minter;
pub mod nats;
pub mod open_files;
pub mod packets;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod quorum;
pub mod redis;
pub mod redis_cluster;
pub mod rqlite;
pub mod runtime;
pub mod scratch;
pub mod sentinel;
pub mod served;
pub mod server;
pub mod stand_in;
pub mod suite;
pub mod summitdb;
pub mod target;
pub mod tls;
pub mod wait;

pub use error::{Error, Result};
pub use failure::{Failure, TestResult};
