//! What `--store nats://…` connects to, and what is refused with it.

use crate::stream::{append, current, dsn, ledger};
use serde_json::json;
use testbed::TestResult;
use testbed::certificates::{Authority, Stored};
use testbed::cli::Place;
use testbed::ledger::Ledger;
use testbed::nats::Nats;

#[test]
fn a_folder_belongs_to_one_stream() -> TestResult {
    let nats = Nats::start()?;
    let ledger = ledger(&nats)?;
    let place = ledger.place();
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    let backup = ledger.request("GET", "/v1/backup", "")?;
    assert_eq!(backup.status, 400);
    assert!(
        backup.body.contains("nats stream backup"),
        "{}",
        backup.body
    );
    ledger.kill()?;
    let embedded = place.run(&["ledger", "--port", "0"])?;
    embedded.assert_failed(8, &["NATS stream LEDGER", "--store"]);
    let dsn = dsn(&nats);
    let other = format!("nats://{}?stream=OTHER", nats.hosts());
    let refused = place.run(&["ledger", "--port", "0", "--store", &other])?;
    refused.assert_failed(8, &["NATS stream LEDGER", "OTHER"]);
    for retain in [["--retain-days", "1"], ["--retain-size", "1GiB"]] {
        let arguments = [&["ledger", "--port", "0", "--store", &*dsn][..], &retain].concat();
        place
            .run(&arguments)?
            .assert_failed(8, &["--retain-days", "--store"]);
    }
    let restored = place.run(&["ledger", "--store", &dsn, "restore"])?;
    restored.assert_failed(8, &["nats stream restore"]);
    // The stream of this name that is there later is another one.
    let removed = nats.request(0, "$JS.API.STREAM.DELETE.LEDGER", "")?;
    assert!(removed.contains("\"success\":true"), "{removed}");
    let anew = place.run(&["ledger", "--port", "0", "--store", &dsn])?;
    anew.assert_failed(8, &["stream LEDGER", "made anew", "remove it"]);
    // A ledger without a stream has events that are in none.
    let alone = Ledger::start()?;
    alone.kill()?;
    let refused = alone
        .place()
        .run(&["ledger", "--port", "0", "--store", &dsn])?;
    refused.assert_failed(8, &["without --store"]);
    Ok(())
}

#[test]
fn nobody_sees_the_password() -> TestResult {
    let users = "authorization { users: [{ user: ledger, password: \"s3cret-1\" }] }";
    let nats = Nats::with(1, users)?;
    let hosts = nats.hosts();
    let ledger = Ledger::start_with(&["--store", &format!("nats://ledger:s3cret-1@{hosts}")])?;
    current(&ledger)?;
    let wrong = format!("nats://ledger:s3cret-2@{hosts}");
    let refused = Place::new()?.run(&["ledger", "--port", "0", "--store", &wrong])?;
    refused.assert_failed(8, &["login"]);
    for secret in ["s3cret-1", "s3cret-2"] {
        assert!(!refused.stderr.contains(secret), "{}", refused.stderr);
    }
    let wrong = Place::new()?.run(&["ledger", "--store", "nats://ledger:s3cret-1@h?replica=3"])?;
    wrong.assert_failed(8, &["--store", "replica"]);
    assert!(!wrong.stderr.contains("s3cret-1"), "{}", wrong.stderr);
    Ok(())
}

/// Options and commands for what only a store of its own has.
#[test]
fn a_stream_is_not_retained_restored_or_backed_up_here() -> TestResult {
    let place = Place::new()?;
    let store = ["ledger", "--store", "nats://127.0.0.1:1"];
    for (more, named) in [
        (&["--retain-days", "1"][..], "a NATS stream keeps all"),
        (&["--retain-size", "1GiB"], "a NATS stream keeps all"),
        (&["restore"], "nats stream restore"),
    ] {
        let refused = place.run(&[&store[..], more].concat())?;
        refused.assert_failed(8, &["--store", named]);
    }
    assert!(!place.data().join("ledger").exists());
    let nats = Nats::start()?;
    let ledger = ledger(&nats)?;
    let refused = ledger.request("GET", "/v1/backup", "")?;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (400, &"invalid".into())
    );
    let port = ledger.port().to_string();
    let refused = place.run(&["ledger", "backup", "--host", "127.0.0.1", "--port", &port])?;
    refused.assert_failed(2, &["makes no backup", "nats stream backup"]);
    Ok(())
}

#[test]
fn the_connection_can_have_tls_and_a_token() -> TestResult {
    let authority = Authority::new()?;
    let Stored { chain, key } = authority.for_this_machine()?;
    let nats = Nats::with(
        1,
        &format!(
            "tls {{ cert_file: {:?}, key_file: {:?} }}\nauthorization {{ token: \"s3cret-1\" }}",
            chain.display().to_string(),
            key.display().to_string()
        ),
    )?;
    let store = |token: &str| format!("tls://{}?token={token}", nats.hosts());
    let ca_file = authority.file().display().to_string();
    let ledger = Ledger::start_with(&["--ca-file", &ca_file, "--store", &store("s3cret-1")])?;
    current(&ledger)?;
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    assert_eq!(ledger.events("a")?.len(), 1);
    let wrong = ["ledger", "--port", "0", "--ca-file", &ca_file, "--store"];
    let wrong = Place::new()?.run(&[&wrong[..], &[&store("s3cret-2")]].concat())?;
    wrong.assert_failed(8, &["login"]);
    assert!(!wrong.stderr.contains("s3cret"), "{}", wrong.stderr);
    Ok(())
}
