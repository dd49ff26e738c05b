//! The contract, C1 to C10, for every engine that `int-host` carries.

use integration_tests::backend::{KINDS, PLACES};
use integration_tests::contract::{PROMISES, Stage};
use integration_tests::suite::Suite;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    for kind in KINDS.iter().chain(PLACES) {
        // Set by the first promise that needs it; its servers are gone when the last one is done.
        let shared: Arc<OnceLock<Stage>> = Arc::default();
        for promise in &PROMISES {
            let name = format!("{}::{}", kind.name, promise.name);
            let shared = Arc::clone(&shared);
            let stage = || Stage::new(kind.engine, Arc::from((kind.start)()));
            suite.test_unless((kind.missing)(), name, move || match promise.own_server {
                true => (promise.test)(&stage()),
                false => (promise.test)(shared.get_or_init(stage)),
            });
        }
    }
    suite.run()
}
