//! Shared by integration tests and benchmarks: real servers, a fault-injecting proxy, processes that mint,
//! and a checker for the history of what they minted.

pub mod backend;
pub mod cli;
pub mod clock;
pub mod contract;
pub mod galera;
pub mod group;
pub mod history;
pub mod http;
pub mod load;
pub mod mariadb;
pub mod minter;
pub mod open_files;
pub mod packets;
pub mod port;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod rqlite;
pub mod runtime;
pub mod scratch;
pub mod sentinel;
pub mod server;
pub mod stand_in;
pub mod suite;
pub mod summitdb;
pub mod target;
pub mod wait;
