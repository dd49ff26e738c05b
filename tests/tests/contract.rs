//! The contract, C1 to C11, for every built-in engine of `int-host`.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use testbed::TestResult;
use testbed::backend::{KINDS, Kind, PLACES};
use testbed::contract::{PROMISES, Stage};
use testbed::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    for kind in KINDS.iter().chain(PLACES) {
        // Created by the first promise that needs it; its server stops after the last one.
        let shared: Arc<Mutex<Option<Arc<Stage>>>> = Arc::default();
        for promise in &PROMISES {
            let name = format!("{}::{}", kind.name, promise.name);
            let shared = Arc::clone(&shared);
            suite.test_unless((kind.missing)(), name, move || {
                if promise.own_server {
                    (promise.test)(&stage(kind)?)
                } else {
                    (promise.test)(&*shared_stage(kind, &shared)?)
                }
            });
        }
    }
    suite.run()
}

fn stage(kind: &Kind) -> TestResult<Stage> {
    Ok(Stage::new(kind.engine, Arc::from((kind.start)()?))?)
}

fn shared_stage(kind: &Kind, shared: &Mutex<Option<Arc<Stage>>>) -> TestResult<Arc<Stage>> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    match &*shared {
        Some(stage) => Ok(Arc::clone(stage)),
        None => Ok(Arc::clone(shared.insert(Arc::new(stage(kind)?)))),
    }
}
