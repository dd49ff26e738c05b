//! The data directory, and the disk.

use crate::{LIMIT, integers, mint_while, serve};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use testbed::cli::Place;
use testbed::http::get;
use testbed::ledger::Ledger;
use testbed::{TestResult, wait};

#[test]
fn a_directory_belongs_to_one_ledger_of_its_version() -> TestResult {
    let ledger = Ledger::start()?;
    let place = ledger.place();
    let second = place.run(&["ledger", "--port", "0"])?;
    second.assert_failed(8, &["in use"]);
    ledger.kill()?;
    std::fs::write(
        place.data().join("ledger/version"),
        "artisanal-ledger 999\n",
    )
    .expect("written");
    let other = place.run(&["ledger", "--port", "0"])?;
    other.assert_failed(8, &["another version", "artisanal-ledger 999"]);
    Ok(())
}

#[test]
fn a_full_disk_is_refused_and_resumed() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let limit_files = |length| {
        let id = ledger
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .expect("it runs");
        let limit = Rlimit {
            current: length,
            maximum: None,
        };
        prlimit(Pid::from_raw(id), Resource::Fsize, limit).expect("the limit can be set");
    };
    let minted = mint_while(&serving.url("/"), |count| {
        for _ in 0..2 {
            let before = count();
            wait::until_true("integers are minted", LIMIT, || count() >= before + 50)?;
            limit_files(Some(64));
            wait::until_true("mints are refused", LIMIT, || {
                get(&serving.url("/")).is_ok_and(|a| a.status == 503)
            })?;
            limit_files(None);
        }
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 50
        })?)
    })?;
    serving.stop()?;
    let stored = integers(&ledger.events("integers")?);
    let missing: Vec<_> = minted
        .iter()
        .filter(|integer| !stored.contains_key(integer))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {}", minted.len());
    assert!(ledger.get("/v1.0/stats")?["failures"].as_u64() >= Some(1));
    Ok(())
}
