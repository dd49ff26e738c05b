//! Benchmarks of every layer against its limit.
//!
//! The program `bench` loads real servers over HTTP and compares each with a yardstick that is loaded in the
//! same round: a server that returns a constant, the same server with the backend's native client, or a
//! component that does nothing. Every integer received is checked; a run with a wrong one has no ratio. The
//! benches in `bench/benches` time single calls with criterion.

pub mod calls;
pub mod clients;
pub mod integers;
pub mod lease;
pub mod ledger;
pub mod load;
pub mod machine;
pub mod measure;
pub mod native;
pub mod report;
pub mod stage;
pub mod yardstick;
