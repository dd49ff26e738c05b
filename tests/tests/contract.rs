//! The contract, C1 to C10, for every built-in engine of `int-host`.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use testbed::backend::{KINDS, PLACES};
use testbed::contract::{PROMISES, Stage};
use testbed::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    for kind in KINDS.iter().chain(PLACES) {
        // Created by the first promise that needs it; its server stops after the last one.
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
