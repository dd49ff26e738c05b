//! Backups of a ledger that runs.

use crate::{LIMIT, mint_while, serve};
use std::fs::File;
use std::path::Path;
use testbed::cli::{Outcome, Place, Serving, run};
use testbed::ledger::Ledger;
use testbed::{TestResult, wait};

/// Writes a backup of a ledger to a file.
fn save(ledger: &Ledger, file: &Path) -> TestResult<Outcome> {
    let port = ledger.port().to_string();
    let arguments = ["ledger", "backup", "--host", "127.0.0.1", "--port", &port];
    let script = format!("exec \"$@\" > '{}'", file.display());
    let command = ledger.place().command(&arguments)?;
    Ok(run(testbed::cli::within_shell(&script, &command))?)
}

/// Restores a file.
fn restore(place: &Place, file: &Path) -> TestResult<Outcome> {
    let command = place.command(&["ledger", "restore"])?;
    let script = format!("exec \"$@\" < '{}'", file.display());
    Ok(run(testbed::cli::within_shell(&script, &command))?)
}

#[test]
fn a_backup_under_load_is_the_beginning_of_the_ledger() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let file = place.file("backup");
    let mut before = 0;
    mint_while(&serving.url("/"), |count| {
        wait::until_true("integers are minted", LIMIT, || count() >= 300)?;
        before = ledger.events("integers")?.len();
        let saved = save(&ledger, &file)?;
        assert_eq!(saved.code, Some(0), "{}", saved.stderr);
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 100
        })?)
    })?;
    serving.stop()?;
    let all = ledger.events("integers")?;
    let new = Place::new()?;
    let restored = restore(&new, &file)?;
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let copy = Serving::start(new.command(&["ledger", "--host", "127.0.0.1", "--port", "0"])?)?;
    let mut events = Vec::new();
    loop {
        let from = events.len() + 1;
        let page = copy.get(&format!("/v1/keys/integers/events?from={from}&limit=1000"))?;
        events.extend(page.json()["events"].as_array().cloned().expect("events"));
        if page.json()["next"].is_null() {
            break;
        }
    }
    assert!(
        (before..all.len()).contains(&events.len()),
        "{before} {} {}",
        events.len(),
        all.len()
    );
    assert_eq!(events, all[..events.len()]);
    let last = &events.last().expect("an event")["payload"]["first"];
    let found = copy.get(&format!("/v1/integers/integers/{last}"))?.json();
    assert_eq!(found["status"], "minted");
    // A second time there is a ledger already.
    copy.stop()?;
    restore(&new, &file)?.assert_failed(8, &["exists"]);
    Ok(())
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    for n in 0..20 {
        let body = format!(r#"{{"kind":"n","payload":{n}}}"#);
        ledger.request("POST", "/v1/keys/k/events", &body)?;
    }
    let file = place.file("backup");
    assert_eq!(save(&ledger, &file)?.code, Some(0));
    let bytes = std::fs::read(&file).expect("read");
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (damaged, says) in [
        (&bytes[..bytes.len() - 1], "incomplete"),
        (&bytes[..middle], "incomplete"),
        (&[][..], "no backup"),
        (&altered, "altered"),
    ] {
        std::fs::write(&file, damaged).expect("written");
        restore(&place, &file)?.assert_failed(8, &[says]);
        let left = std::fs::read_dir(place.data()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{says}");
    }
    // A ledger that is away has no backup.
    ledger.kill()?;
    save(&ledger, &file)?.assert_failed(6, &["127.0.0.1"]);
    let empty = File::open(&file)
        .expect("a file")
        .metadata()
        .expect("its length");
    assert_eq!(empty.len(), 0);
    Ok(())
}
