//! Requests with an `Idempotency-Key`.

use crate::{LIMIT, integers, serve};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::cli::{Place, Serving};
use testbed::http::{Answer, request};
use testbed::ledger::Ledger;
use testbed::{TestResult, wait};

const NEXT: &str = "/v1/sequences/integers/next";

fn next(serving: &Serving, query: &str, idempotency: &str) -> testbed::Result<Answer> {
    let path = format!("{NEXT}{query}");
    serving.request("POST", &path, &[("idempotency-key", idempotency)], "")
}

/// A server whose integers are those ≡ `offset` modulo 4, so that two of them have different ones of one sequence.
pub(crate) fn memory(place: &Place, ledger: &Ledger, offset: &str) -> TestResult<Serving> {
    Ok(place.serve(&[
        "--engine",
        "memory",
        "--set-increment",
        "4",
        "--set-offset",
        offset,
        "--ledger",
        &ledger.url(),
        "--ledger-policy",
        "strict",
    ])?)
}

#[test]
fn the_same_key_gets_the_same_integers() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let first = next(&serving, "?count=3", "order-1")?;
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (200, "")
    );
    assert_eq!(first.json()["first"], 2);
    for quoted in ["order-1", "\"order-1\""] {
        let again = next(&serving, "?count=3", quoted)?;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!(next(&serving, "?count=3", "order-2")?.json()["first"], 8);
    let strings = next(&serving, "?count=3&strings=true", "order-1")?;
    assert_eq!(strings.json()["first"], "2");
    for query in ["", "?count=2", "?count=4"] {
        let other = next(&serving, query, "order-1")?;
        assert_eq!(
            (
                other.status,
                &other.json()["code"],
                other.header("content-type")
            ),
            (422, &"idempotency-key".into(), "application/problem+json")
        );
    }
    for (path, idempotency, status) in [
        (NEXT, "", 400),
        (NEXT, "a\"b", 400),
        (NEXT, &*"x".repeat(129), 400),
        ("/", "order-1", 400),
        ("/v1/sequences/none/next", "order-1", 404),
    ] {
        let headers = [("idempotency-key", idempotency)];
        assert_eq!(serving.request("POST", path, &headers, "")?.status, status);
    }
    assert_eq!(serving.get("/")?.integer(), 14, "nothing else was minted");
    let found = ledger.get("/v1/integers/integers/4")?;
    assert_eq!(found["event"]["idempotency"], "order-1");
    assert_eq!(found["event"]["payload"]["count"], 3);
    Ok(())
}

#[test]
fn only_strict_remembers_keys() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let url = ledger.url();
    for arguments in [
        &["--engine", "memory"][..],
        &["--engine", "memory", "--ledger", &url],
        &[
            "--engine",
            "memory",
            "--ledger",
            &url,
            "--ledger-policy",
            "block",
        ],
    ] {
        let serving = place.serve(arguments)?;
        let refused = next(&serving, "", "a")?;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (501, &"idempotency-key".into())
        );
        assert!(
            refused.body.contains("--ledger-policy strict"),
            "{}",
            refused.body
        );
        assert_eq!(serving.get("/")?.integer(), 2);
    }
    Ok(())
}

#[test]
fn each_token_has_its_own_keys() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let (mut entries, mut tokens) = (String::new(), Vec::new());
    for name in ["billing", "shop"] {
        let made = place.run(&["token", "new", "--name", name])?;
        tokens.push(made.stderr.lines().last().expect("the token").to_owned());
        entries += &made.stdout;
    }
    let file = place.file("tokens.toml");
    std::fs::write(&file, entries).expect("written");
    let (file, url) = (file.display().to_string(), ledger.url());
    let publish = ["--ledger", &*url, "--ledger-policy", "strict"];
    let serving = place.serve(&[&["--tokens", &*file][..], &publish].concat())?;
    let mint = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("idempotency-key", "same"),
        ];
        serving.request("POST", NEXT, &headers, "")
    };
    for _ in 0..2 {
        for (token, first) in tokens.iter().zip([2, 4]) {
            assert_eq!(mint(token)?.json()["first"], first);
        }
    }
    assert_eq!(mint("wrong")?.status, 401);
    Ok(())
}

#[test]
fn crashes_forget_no_key() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let serving = serve(&place, &ledger, "strict")?;
    let all: Vec<_> = (0..5).map(|n| format!("order-{n}")).collect();
    let mut answers = Vec::new();
    for idempotency in &all {
        answers.push(next(&serving, "?count=2", idempotency)?.body);
    }
    ledger.kill()?;
    let away = next(&serving, "?count=2", "order-0")?;
    assert_eq!(
        (away.status, &away.json()["code"]),
        (503, &"unavailable".into())
    );
    serving.signal(Signal::KILL);
    serving.end()?;
    ledger.start_again()?;
    let serving = serve(&place, &ledger, "strict")?;
    for (idempotency, answer) in all.iter().zip(&answers) {
        assert_eq!(&next(&serving, "?count=2", idempotency)?.body, answer);
    }
    Ok(())
}

/// Several clients use each key, at two servers, while the ledger is killed and started again.
#[test]
fn two_servers_have_one_answer_for_a_key() -> TestResult {
    let (ledger, place) = (Ledger::start()?, Place::new()?);
    let servers = [memory(&place, &ledger, "0")?, memory(&place, &ledger, "2")?];
    let urls = servers.each_ref().map(|server| server.url(NEXT));
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answers = Mutex::new(BTreeMap::<usize, Vec<Value>>::new());
    std::thread::scope(|scope| -> TestResult {
        for client in 0..8_usize {
            let (over, asked, answers, urls) = (&over, &asked, &answers, &urls);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // Each key is used by four clients in a row, at both servers.
                    let key = asked.fetch_add(1, Ordering::Relaxed) / 4;
                    let idempotency = format!("key-{key}");
                    let headers = [("idempotency-key", idempotency.as_str())];
                    loop {
                        let url = &urls[client % 2];
                        match request("POST", url, &headers, "") {
                            Ok(answer) if answer.status == 200 => {
                                let mut all = answers.lock().expect("not poisoned");
                                all.entry(key).or_default().push(answer.json());
                                break;
                            }
                            Ok(answer) => {
                                assert!(matches!(answer.status, 409 | 503), "{}", answer.body)
                            }
                            Err(error) => panic!("{error}"),
                        }
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
        let answered = || asked.load(Ordering::Relaxed);
        let scenario = || -> TestResult {
            for _ in 0..3 {
                let before = answered();
                wait::until_true("keys are used", LIMIT, || answered() >= before + 200)?;
                ledger.kill()?;
                ledger.start_again()?;
            }
            let before = answered();
            Ok(wait::until_true("keys are used", LIMIT, || {
                answered() >= before + 200
            })?)
        };
        let done = scenario();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    for server in servers {
        server.stop()?;
    }
    let answers = answers.into_inner().expect("not poisoned");
    let mut handed_out = BTreeSet::new();
    for (key, all) in &answers {
        let one = all.first().expect("an answer");
        assert!(all.iter().all(|answer| answer == one), "{key}: {all:?}");
        let integer = one["first"].as_i64().expect("an integer");
        assert!(handed_out.insert(integer), "{integer} has two keys");
    }
    let events = ledger.events("integers")?;
    let minted = integers(&events);
    assert!(
        handed_out
            .iter()
            .all(|integer| minted.contains_key(integer))
    );
    // One mint for each key; what a slower attempt minted is told, with the number of the event that won.
    let mut winners = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "mint") {
        let before = winners.insert(event["idempotency"].to_string(), event["number"].clone());
        assert_eq!(before, None, "{event}");
    }
    let unused: Vec<_> = events.iter().filter(|e| e["kind"] == "unused").collect();
    for event in &unused {
        let payload = &event["payload"];
        assert_eq!(payload["reason"], "idempotency-key");
        assert_eq!(
            payload["instead"],
            winners[&event["idempotency"].to_string()]
        );
        let integer = &payload["first"];
        let found = ledger.get(&format!("/v1/integers/integers/{integer}"))?;
        assert_eq!(
            (&found["status"], &found["because"]["kind"]),
            (&"skipped".into(), &"unused".into()),
            "{found}"
        );
    }
    assert_eq!(events.len(), minted.len() + unused.len());
    assert!(
        !unused.is_empty(),
        "no two servers were asked at the same time"
    );
    Ok(())
}
