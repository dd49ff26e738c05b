//! An engine from outside the workspace, `examples/engine`: it keeps the contract, and the program runs it.

use int_host::{Builtin, Source};
use std::path::PathBuf;
use std::sync::Arc;
use testbed::TestResult;
use testbed::backend::{Backend, Reach};
use testbed::cli::Place;
use testbed::contract::{PROMISES, Stage};
use testbed::target;

/// Builds the component as its README says. The second time cargo finds it built.
fn component() -> testbed::Result<PathBuf> {
    target::component_outside("examples/engine", "counter")
}

/// The engine needs no server.
struct Counter;

impl Backend for Counter {
    fn dsn(&self) -> String {
        "counter://".to_owned()
    }

    fn reach(&self) -> Reach {
        Reach::Sequence
    }
}

#[test]
fn it_keeps_the_contract() -> TestResult {
    let source = Source::File(component()?);
    for promise in &PROMISES {
        // Without a start in the DSN it makes the same promises as the engine `memory`.
        let stage = Stage::with(source.clone(), Builtin::Memory.about(), Arc::new(Counter))?;
        eprintln!("{}", promise.name);
        (promise.test)(&stage)?;
    }
    Ok(())
}

#[test]
fn it_begins_where_the_dsn_says() -> TestResult {
    let place = Place::new()?;
    let file = component()?;
    let file = file.to_str().expect("a path in UTF-8");
    let with = |more: &[&str]| {
        let mut all = vec!["--component", file, "--dsn", "counter://1000"];
        all.extend(more);
        place.run(&all)
    };
    assert_eq!(with(&["--count", "3"])?.integers(), [1002, 1004, 1006]);
    assert_eq!(with(&["last"])?.integers(), [1000]);
    assert_eq!(
        with(&["--set-last-int", "2000", "--count", "2"])?.integers(),
        [2002, 2004]
    );
    with(&["last", "--set-last-int", "999"])?.assert_failed(3, &["1000"]);
    for bad in ["counter://-1", "counter://x", "counter://1,2"] {
        let refused = place.run(&["--component", file, "--dsn", bad])?;
        refused.assert_failed(2, &["counter://START"]);
    }
    Ok(())
}
