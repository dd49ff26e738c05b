//! The positive control of the contract suite: an engine that breaks a promise must fail its test.

use int_host::{Builtin, Source};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use testbed::TestResult;
use testbed::backend::{Backend, Reach};
use testbed::contract::{PROMISES, Promise, Stage};
use testbed::scratch::Scratch;
use testbed::target;

/// The engine in `tests/components/defective` with one mistake.
struct Defective {
    mistake: &'static str,
    data: Scratch,
}

impl Backend for Defective {
    fn dsn(&self) -> String {
        format!("defective:///{}", self.mistake)
    }

    fn reach(&self) -> Reach {
        Reach::Process
    }

    fn data(&self) -> Option<PathBuf> {
        Some(self.data.path().to_owned())
    }

    fn dsn_with_password(&self, password: &str, _: u16) -> Option<String> {
        Some(format!("defective://user:{password}@host/{}", self.mistake))
    }
}

fn stage(mistake: &'static str) -> TestResult<Stage> {
    let source = Source::File(target::component("defective")?);
    let data = Scratch::new("defective")?;
    let backend = Arc::new(Defective { mistake, data });
    // Without a mistake it behaves like the engine `keyvalue`.
    Ok(Stage::with(source, Builtin::Keyvalue.about(), backend)?)
}

/// Whether an engine with this mistake fails a promise, which is a panic. An error is none of the engine's.
fn breaks(mistake: &'static str, promise: &Promise) -> TestResult<bool> {
    let stage = stage(mistake)?;
    match catch_unwind(AssertUnwindSafe(|| (promise.test)(&stage))) {
        Ok(tested) => tested.map(|()| false),
        Err(_) => Ok(true),
    }
}

#[test]
fn an_engine_without_a_mistake_passes() -> TestResult {
    for promise in &PROMISES {
        (promise.test)(&stage("")?)?;
    }
    Ok(())
}

#[test]
fn each_mistake_breaks_the_promise_that_it_is_about() -> TestResult {
    for (mistake, name) in MISTAKES {
        let promise = PROMISES.iter().find(|promise| promise.name == name);
        let promise = promise.unwrap_or_else(|| panic!("no promise is called {name}"));
        assert!(breaks(mistake, promise)?, "{mistake} passes {name}");
    }
    Ok(())
}

/// Mistakes, each with a promise that it breaks.
const MISTAKES: [(&str, &str); 21] = [
    ("not-atomic", "c1_unique"),
    ("reads-then-writes", "c5_set_last"),
    ("forgets", "c1_unique"),
    ("forgets", "c3_order"),
    ("folds-case", "c1_unique"),
    ("trims-keys", "c1_unique"),
    ("cuts-keys", "c1_unique"),
    ("starts-late", "c2_lattice"),
    ("starts-late", "c4_last"),
    ("lags", "c4_last"),
    ("begins-at-one", "c4_last"),
    ("mints-when-asked", "c4_last"),
    ("rewinds", "c5_set_last"),
    ("raises-only-what-exists", "c5_set_last"),
    ("counts-in-doubles", "c5_set_last"),
    ("wraps", "c6_exhausted"),
    ("spoils-the-top", "c6_exhausted"),
    ("ignores-parameters", "c8_bounds"),
    ("tells-passwords", "c10_secrets"),
    ("accepts-any-larger", "c11_claim"),
    ("reads-then-writes", "c11_claim"),
];
