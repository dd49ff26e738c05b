//! The tests of the contract that every engine keeps, C1 to C11: one function per promise, for all engines.
//!
//! A promise is tested through the host, on a real server, including what an administrator or another program
//! may do to that server concurrently. The tests are the same for all engines; differences between engines are
//! in [`crate::backend`].
//!
//! A broken promise panics. An error means that the test could not be made, because a server or a proxy failed.

mod ambiguity;
mod bounds;
mod claim;
mod durable;
mod exhausted;
mod last;
mod lattice;
mod order;
mod secrets;
mod set_last;
mod stage;
mod unique;

pub use stage::{Stage, assert_fails, kind};

use crate::failure::TestResult;

/// A promise of the contract and its test.
pub struct Promise {
    /// The number and name of the promise, such as `c1_unique`.
    pub name: &'static str,
    /// The test, which panics when the promise is broken.
    pub test: fn(&Stage) -> TestResult,
    /// Whether the test needs its own server because it would disturb other tests on a shared one.
    pub own_server: bool,
}

/// All promises.
pub const PROMISES: [Promise; 11] = [
    promise("c1_unique", unique::test),
    promise("c2_lattice", lattice::test),
    promise("c3_order", order::test),
    promise("c4_last", last::test),
    promise("c5_set_last", set_last::test),
    promise("c6_exhausted", exhausted::test),
    on_own_server("c7_ambiguity", ambiguity::test),
    promise("c8_bounds", bounds::test),
    on_own_server("c9_durable", durable::test),
    promise("c10_secrets", secrets::test),
    on_own_server("c11_claim", claim::test),
];

const fn promise(name: &'static str, test: fn(&Stage) -> TestResult) -> Promise {
    Promise {
        name,
        test,
        own_server: false,
    }
}

const fn on_own_server(name: &'static str, test: fn(&Stage) -> TestResult) -> Promise {
    Promise {
        name,
        test,
        own_server: true,
    }
}
