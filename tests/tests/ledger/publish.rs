//! What servers publish.

use crate::{LIMIT, integers, mint_while, serve};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use testbed::cli::Place;
use testbed::ledger::Ledger;
use testbed::{TestResult, wait};

#[test]
fn every_integer_has_an_event() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= 300
        })?)
    })?;
    let answer = serving.request(
        "POST",
        "/v1/sequences/integers/next",
        &[("x-request-id", "my-id")],
        "",
    )?;
    let own = answer.json()["first"].as_i64().expect("an integer");
    let events = ledger.events("integers")?;
    let stored = integers(&events);
    for integer in &minted {
        let found = ledger.get(&format!("/v1/integers/integers/{integer}"))?;
        assert_eq!(found["status"], "minted", "{found}");
        assert_eq!(
            found["event"]["number"].as_u64(),
            stored.get(integer).copied()
        );
    }
    let found = ledger.get(&format!("/v1/integers/integers/{own}?strings=true"))?;
    assert_eq!(found["event"]["request"], "my-id");
    assert_eq!(found["event"]["payload"]["first"], own.to_string());
    assert!(
        found["event"]["by"]
            .as_str()
            .is_some_and(|by| by.starts_with("127.0.0.1:")),
        "{found}"
    );
    let (greatest, _) = stored.last_key_value().expect("integers");
    for integer in 2..=*greatest {
        if !stored.contains_key(&integer) {
            let found = ledger.get(&format!("/v1/integers/integers/{integer}"))?;
            assert_eq!(found["status"], "skipped", "{found}");
        }
    }
    let beyond = ledger.get(&format!("/v1/integers/integers/{}", greatest + 2))?;
    assert_eq!(
        (&beyond["status"], &beyond["reason"]),
        (&"unknown".into(), &"after-the-last".into())
    );
    let before = ledger.get("/v1/integers/integers/1")?;
    assert_eq!(before["reason"], "before-the-ledger");
    let gaps = ledger.get("/v1/keys/integers/gaps")?;
    assert_eq!(
        gaps["gaps"],
        serde_json::json!([]),
        "every even integer was handed out"
    );
    let state = ledger.get("/v1/keys/integers/state")?;
    assert_eq!(state["state"]["integers"], stored.len());
    assert_eq!(state["state"]["mints"], events.len());
    Ok(())
}

#[test]
fn an_event_names_the_token_of_a_client() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let made = place.run(&["token", "new", "--name", "billing"])?;
    let token = made.stderr.lines().last().expect("the token").to_owned();
    let file = place.file("tokens.toml");
    std::fs::write(&file, &made.stdout).expect("written");
    let (file, url) = (file.display().to_string(), ledger.url());
    let publish = ["--ledger", &url, "--ledger-policy", "strict"];
    let serving = place.serve(&[&["--tokens", &file][..], &publish].concat())?;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/?count=3"),
        ("POST", "/v1/sequences/integers/next"),
    ] {
        let answer = serving.request(method, path, &headers, "")?;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let events = ledger.events("integers")?;
    let by: Vec<_> = events.iter().map(|event| &event["by"]).collect();
    assert_eq!(by, ["billing"; 3], "{events:?}");
    Ok(())
}

#[test]
fn nothing_that_strict_answered_is_missing_after_crashes_of_the_ledger() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        for _ in 0..3 {
            let before = count();
            wait::until_true("integers are minted", LIMIT, || count() >= before + 100)?;
            ledger.kill()?;
            ledger.start_again()?;
        }
        let before = count();
        Ok(wait::until_true("integers are minted", LIMIT, || {
            count() >= before + 100
        })?)
    })?;
    serving.stop()?;
    let stored = integers(&ledger.events("integers")?);
    let unique: BTreeSet<_> = minted.iter().collect();
    assert_eq!(unique.len(), minted.len());
    let missing: Vec<_> = minted
        .iter()
        .filter(|integer| !stored.contains_key(integer))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {}", minted.len());
    Ok(())
}

#[test]
fn nothing_that_strict_answered_is_missing_after_a_crash_of_the_server() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let minted = mint_while(&serving.url("/"), |count| {
        wait::until_true("integers are minted", LIMIT, || count() >= 200)?;
        serving.signal(Signal::KILL);
        Ok(())
    })?;
    let stored = integers(&ledger.events("integers")?);
    assert!(minted.iter().all(|integer| stored.contains_key(integer)));
    Ok(())
}

#[test]
fn what_is_in_the_ring_is_sent_at_the_end() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    for policy in ["shed", "block"] {
        let key = format!("of-{policy}");
        let serving = place.serve(&[
            "--engine",
            "memory",
            "--key",
            &key,
            "--ledger",
            &ledger.url(),
            "--ledger-policy",
            policy,
        ])?;
        for _ in 0..50 {
            assert_eq!(serving.get("/")?.status, 200);
        }
        let (status, log) = serving.stop()?;
        assert!(status.success(), "{log}");
        assert_eq!(integers(&ledger.events(&key)?).len(), 50, "{log}");
    }
    Ok(())
}

#[test]
fn without_a_ledger_shed_mints_and_strict_does_not() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let shed = place.serve(&["--engine", "memory", "--ledger", &ledger.url()])?;
    assert_eq!(shed.get("/")?.integer(), 2);
    let strict = place.serve(&[
        "--engine",
        "memory",
        "--ledger",
        &ledger.url(),
        "--ledger-policy",
        "strict",
    ])?;
    let refused = strict.get("/")?;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"unavailable".into())
    );
    ledger.start_again()?;
    wait::until_true("strict mints again", LIMIT, || {
        strict.get("/").is_ok_and(|a| a.status == 200)
    })?;
    wait::until_true("the integer of shed arrives", LIMIT, || {
        ledger
            .get("/v1/integers/integers/2")
            .is_ok_and(|found| found["status"] == "minted")
    })?;
    Ok(())
}

/// The ledger keeps its connections, but does not answer.
#[test]
fn while_the_ledger_hangs_shed_mints_and_strict_does_not() -> TestResult {
    let (ledger, place, other) = (Ledger::start()?, Place::new()?, Place::new()?);
    let url = ledger.url();
    let shed = place.serve(&["--key", "a", "--ledger", &url])?;
    let strict = other.serve(&["--key", "b", "--ledger", &url, "--ledger-policy", "strict"])?;
    for serving in [&shed, &strict] {
        assert_eq!(serving.get("/")?.status, 200);
    }
    let stored = |count| ledger.events("a").is_ok_and(|events| events.len() == count);
    wait::until_true("the first event is stored", LIMIT, || stored(1))?;
    ledger.signal(Signal::STOP);
    for _ in 0..20 {
        assert_eq!(shed.get("/")?.status, 200);
    }
    let late = strict.get("/")?;
    assert_eq!(late.status, 503, "{}", late.body);
    assert_eq!(late.json()["code"], "unavailable");
    ledger.signal(Signal::CONT);
    wait::until_true("strict mints again", LIMIT, || {
        strict.get("/").is_ok_and(|answer| answer.status == 200)
    })?;
    wait::until_true("all events are stored", LIMIT, || stored(21))?;
    let minted = integers(&ledger.events("a")?);
    assert!(minted.into_keys().eq((1..=21).map(|n| 2 * n)));
    Ok(())
}

/// More mints than the ring and the batches of all connections have room for, while the ledger is away.
#[test]
fn what_was_shed_is_an_event() -> TestResult {
    const MINTS: usize = 120_000;
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    ledger.kill()?;
    let serving = place.serve(&[
        "--protocol",
        "resp",
        "--engine",
        "memory",
        "--ledger",
        &ledger.url(),
    ])?;
    let mut stream = TcpStream::connect(("127.0.0.1", serving.port())).expect("a connection");
    let reading = stream.try_clone().expect("a clone");
    let replies = std::thread::spawn(move || {
        BufReader::new(reading)
            .lines()
            .take(MINTS)
            .map_while(Result::ok)
            .filter(|line| line.starts_with(':'))
            .count()
    });
    let command = b"*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n";
    for _ in 0..MINTS / 100 {
        stream.write_all(&command.repeat(100)).expect("written");
    }
    assert_eq!(replies.join().expect("no panic"), MINTS, "all are answered");
    ledger.start_again()?;
    serving.stop()?;
    let events = ledger.events("integers")?;
    let lost: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "lost")
        .collect();
    let count: u64 = lost
        .iter()
        .filter_map(|event| event["payload"]["events"].as_u64())
        .sum();
    let stored = integers(&events).len();
    assert!(count > 0);
    assert_eq!(stored as u64 + count, MINTS as u64);
    let first = lost
        .first()
        .and_then(|event| event["payload"]["first"].as_i64())
        .expect("a loss");
    let found = ledger.get(&format!("/v1/integers/integers/{first}"))?;
    assert_eq!(found["status"], "unknown", "{found}");
    assert!(found["reason"]["lost"].is_u64(), "{found}");
    Ok(())
}
