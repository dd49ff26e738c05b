//! The contract, C1 to C10, for every engine that `int-host` carries.

use integration_tests::backend::{Backend, KINDS};
use integration_tests::contract::{PROMISES, Stage};
use integration_tests::suite::Suite;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    for kind in KINDS {
        // Started by the first promise that needs it; gone when the last one is done.
        let shared: Arc<OnceLock<Arc<dyn Backend>>> = Arc::default();
        for promise in &PROMISES {
            let name = format!("{}::{}", kind.engine.about().name, promise.name);
            let shared = Arc::clone(&shared);
            suite.test_unless((kind.missing)(), name, move || {
                let backend = match promise.own_server {
                    true => Arc::from((kind.start)()),
                    false => Arc::clone(shared.get_or_init(|| Arc::from((kind.start)()))),
                };
                (promise.test)(&Stage::new(kind.engine, backend));
            });
        }
    }
    suite.run()
}
