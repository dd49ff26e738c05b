//! Measures every layer against its limit.
//!
//! The program `bench` loads real servers over HTTP and compares each with a yardstick that was loaded
//! in the same round: a server that answers a constant, the backend's own client behind that same
//! server, a component that does nothing. Every integer that comes back is checked; a run with a wrong
//! one has no ratio. The benches beside it time single calls with criterion.

pub mod attempt;
pub mod calls;
pub mod integers;
pub mod load;
pub mod machine;
pub mod measure;
pub mod native;
pub mod report;
pub mod stage;
pub mod yardstick;
