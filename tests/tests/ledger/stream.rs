//! Ledgers whose events are in a stream of NATS.

use crate::grpc::health;
use crate::{LIMIT, integers, mint_while, serve};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::cli::Place;
use testbed::http::Answer;
use testbed::ledger::Ledger;
use testbed::nats::Nats;
use testbed::{TestResult, wait};
use tonic_health::pb::health_check_response::ServingStatus;

pub(crate) fn dsn(nats: &Nats) -> String {
    let replicas = nats.size();
    format!("nats://{}?replicas={replicas}", nats.hosts())
}

/// A ledger that has caught up.
pub(crate) fn ledger(nats: &Nats) -> TestResult<Ledger> {
    let ledger = Ledger::start_with(&["--store", &dsn(nats)])?;
    current(&ledger)?;
    Ok(ledger)
}

/// Waits until a ledger has caught up with the stream since it started.
pub(crate) fn current(ledger: &Ledger) -> TestResult {
    Ok(wait::until_true("the ledger has caught up", LIMIT, || {
        ledger
            .get("/v1.0/alive")
            .is_ok_and(|alive| alive["stream"] == "current")
    })?)
}

pub(crate) fn append(ledger: &Ledger, key: &str, body: &Value) -> testbed::Result<Answer> {
    ledger.request("POST", &format!("/v1/keys/{key}/events"), &body.to_string())
}

/// Waits until ledgers have as many events of a key as one of them, and checks that they are the same.
pub(crate) fn agree(ledgers: &[&Ledger], key: &str) -> TestResult<Vec<Value>> {
    let last = |ledger: &Ledger| {
        let page = ledger.get(&format!("/v1/keys/{key}/events?limit=1"));
        page.map_or(0, |page| page["last"].as_u64().unwrap_or(0))
    };
    wait::until_true("all ledgers have the same events", LIMIT, || {
        let most = ledgers.iter().map(|ledger| last(ledger)).max();
        ledgers.iter().all(|ledger| Some(last(ledger)) == most)
    })?;
    let events = ledgers[0].events(key)?;
    for ledger in ledgers {
        assert!(ledger.events(key)? == events, "{key}");
    }
    Ok(events)
}

/// Waits until a ledger has an event for each of these integers, and returns all events.
pub(crate) fn complete(ledger: &Ledger, minted: &[i64]) -> TestResult<Vec<Value>> {
    let mut events = Vec::new();
    let done = wait::until_true("all integers are in the ledger", LIMIT, || {
        events = ledger.events("integers").unwrap_or_default();
        let stored = integers(&events);
        minted.iter().all(|integer| stored.contains_key(integer))
    });
    done?;
    Ok(events)
}

#[test]
fn crashes_lose_nothing_and_the_read_model_can_be_made_anew() -> TestResult {
    let (nats, place) = (Nats::start()?, Place::new()?);
    let ledger = ledger(&nats)?;
    let mut all = Vec::new();
    for policy in ["strict", "shed"] {
        let serving = serve(&place, &ledger, policy)?;
        let minted = mint_while(&serving.url("/"), |count| {
            let more = |what: &str| {
                let before = count();
                wait::until_true(what, LIMIT, || count() >= before + 200)
            };
            more("integers are minted")?;
            ledger.kill()?;
            ledger.start_again()?;
            more("integers are minted after the end of the ledger")?;
            nats.node(0).kill();
            nats.node(0).start_again()?;
            Ok(more("integers are minted after the end of NATS")?)
        })?;
        // A server that ends sends what it has.
        serving.stop()?;
        all.extend(minted);
    }
    let events = complete(&ledger, &all)?;
    let note = json!({"kind": "note", "payload": {"a": 1}, "expected": events.len()});
    assert_eq!(append(&ledger, "integers", &note)?.status, 201);
    let answers = || -> TestResult<Vec<Value>> {
        let paths = ["events?limit=1000", "gaps", "state", "state?reducer=merge"];
        let of = |path| ledger.get(&format!("/v1/keys/integers/{path}"));
        Ok(paths.into_iter().map(of).collect::<testbed::Result<_>>()?)
    };
    let before = (answers()?, ledger.events("integers")?);
    ledger.kill()?;
    std::fs::remove_dir_all(ledger.place().data().join("ledger")).expect("removed");
    ledger.start_again()?;
    current(&ledger)?;
    assert!((answers()?, ledger.events("integers")?) == before);
    Ok(())
}

#[test]
fn without_nats_the_ledger_answers_questions_alone() -> TestResult {
    let nats = Nats::start()?;
    let ledger = ledger(&nats)?;
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    nats.node(0).kill();
    wait::until_true("the ledger notices", LIMIT, || {
        ledger
            .get("/v1.0/alive")
            .is_ok_and(|alive| alive["stream"] == "away")
    })?;
    let refused = append(&ledger, "a", &note)?;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &"unavailable".into())
    );
    assert_eq!(ledger.events("a")?.len(), 1);
    nats.node(0).start_again()?;
    wait::until_true("events are appended again", LIMIT, || {
        append(&ledger, "a", &note).is_ok_and(|answer| answer.status == 201)
    })?;
    let stats = ledger.get("/v1.0/stats")?;
    assert!(stats["stream_reconnects"].as_u64() >= Some(1), "{stats}");
    assert_eq!(stats["stream_lag"], 0);
    Ok(())
}

/// What a node says of the stream.
fn info(nats: &Nats, node: usize) -> Value {
    let answer = nats.request(node, "$JS.API.STREAM.INFO.LEDGER", "");
    answer
        .ok()
        .and_then(|answer| serde_json::from_str(&answer).ok())
        .unwrap_or_default()
}

/// Most servers of the stream stop, then all, and come back. They say that the stream was made at another time than before,
/// since two clients made it: a server keeps the time of the first while it runs, and that of the last in the snapshot that
/// it takes when it is stopped. A killed one takes none, so it may come back with either.
#[test]
fn a_stream_comes_back_after_all_its_servers_stopped() -> TestResult {
    let nats = Nats::cluster(3)?;
    let config = json!({"name": "LEDGER", "subjects": ["LEDGER.*"], "num_replicas": 3});
    let made = nats.requests(
        0,
        "$JS.API.STREAM.CREATE.LEDGER",
        &[&*config.to_string(); 2],
    )?;
    assert!(
        made.iter().all(|answer| !answer.contains("error")),
        "{made:?}"
    );
    let ledger = ledger(&nats)?;
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    let first = info(&nats, 0);
    wait::until_true("all servers have the event", LIMIT, || {
        let info = info(&nats, 0);
        let replicas = info["cluster"]["replicas"].as_array();
        replicas.is_some_and(|all| all.iter().all(|one| one["current"] == true))
    })?;
    for node in [1, 2] {
        nats.node(node).stop()?;
    }
    wait::until_true("the last server answers without a leader", LIMIT, || {
        let info = info(&nats, 0);
        info["state"]["last_seq"] == 1 && info["cluster"]["leader"].is_null()
    })?;
    for _ in 0..10 {
        assert_eq!(ledger.request("GET", "/v1.0/alive", "")?.status, 200);
        assert_eq!(ledger.events("a")?.len(), 1);
        std::thread::sleep(Duration::from_millis(300));
    }
    nats.node(0).stop()?;
    for node in 0..3 {
        nats.node(node).launch()?;
    }
    wait::until_true("events are appended again", LIMIT, || {
        append(&ledger, "a", &note).is_ok_and(|answer| answer.status == 201)
    })?;
    assert_ne!(info(&nats, 0)["created"], first["created"]);
    let events = ledger.events("a")?;
    ledger.kill()?;
    ledger.start_again()?;
    current(&ledger)?;
    assert_eq!(ledger.events("a")?, events);
    Ok(())
}

/// Clients append the next event of a few keys at several ledgers, each when it thinks that it is its turn.
pub(crate) fn compete(
    ledgers: &[&Ledger],
    scenario: impl FnOnce(&dyn Fn() -> usize) -> TestResult,
) -> TestResult<BTreeSet<(String, u64)>> {
    let over = AtomicBool::new(false);
    let stored = Mutex::new(BTreeSet::new());
    let conflicts = AtomicUsize::new(0);
    let count = || stored.lock().expect("not poisoned").len();
    std::thread::scope(|scope| -> TestResult {
        for client in 0..6_usize {
            let (over, stored, conflicts) = (&over, &stored, &conflicts);
            scope.spawn(move || {
                let ledger = ledgers[client % ledgers.len()];
                let key = format!("key-{}", client / ledgers.len() % 2);
                let mut last = 0;
                while !over.load(Ordering::Relaxed) {
                    let body = json!({"kind": "note", "payload": client, "expected": last});
                    match append(ledger, &key, &body) {
                        Ok(answer) if answer.status == 201 => {
                            let event = answer.json();
                            assert_eq!(event["number"], last + 1, "{event}");
                            last += 1;
                            let new = stored
                                .lock()
                                .expect("not poisoned")
                                .insert((key.clone(), last));
                            assert!(new, "two clients got event {last} of {key}");
                        }
                        Ok(answer) if answer.status == 409 => {
                            conflicts.fetch_add(1, Ordering::Relaxed);
                            last = answer.json()["current"].as_u64().expect("a number");
                        }
                        Ok(answer) => {
                            assert_eq!(answer.status, 503, "{}", answer.body);
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        let done = scenario(&count);
        over.store(true, Ordering::Relaxed);
        done
    })?;
    assert!(conflicts.load(Ordering::Relaxed) > 0, "nobody competed");
    Ok(stored.into_inner().expect("not poisoned"))
}

#[test]
fn a_stream_that_loses_messages_is_refused() -> TestResult {
    let (nats, place) = (Nats::start()?, Place::new()?);
    let hosts = nats.hosts();
    for (name, settings, named) in [
        ("AGE", json!({"max_age": 3_600_000_000_000_u64}), "max_age"),
        ("COUNT", json!({"max_msgs": 10}), "max_msgs"),
        ("BYTES", json!({"max_bytes": 10_000_000}), "max_bytes"),
        ("MEMORY", json!({"storage": "memory"}), "storage"),
        ("QUEUE", json!({"retention": "workqueue"}), "retention"),
        ("SUBJECTS", json!({"subjects": ["other"]}), "subjects"),
    ] {
        let mut config =
            json!({"name": name, "subjects": [format!("{name}.*")], "storage": "file"});
        for (setting, value) in settings.as_object().expect("an object") {
            config[setting] = value.clone();
        }
        let subject = format!("$JS.API.STREAM.CREATE.{name}");
        let made = nats.request(0, &subject, &config.to_string())?;
        assert!(!made.contains("error"), "{made}");
        let dsn = format!("nats://{hosts}?stream={name}");
        let refused = place.run(&["ledger", "--port", "0", "--store", &dsn])?;
        refused.assert_failed(8, &[name, named, "has to be"]);
    }
    // One server cannot have three copies.
    let dsn = format!("nats://{hosts}?replicas=3");
    let refused = place.run(&["ledger", "--port", "0", "--store", &dsn])?;
    refused.assert_failed(8, &["LEDGER", "replicas"]);
    Ok(())
}

#[test]
fn a_message_that_is_none_stops_the_read_model() -> TestResult {
    let nats = Nats::start()?;
    let ledger = ledger(&nats)?;
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    nats.request(0, "LEDGER.17", "no entry")?;
    wait::until_true("the read model stops", LIMIT, || {
        let alive = ledger.request("GET", "/v1.0/alive", "");
        alive.is_ok_and(|alive| alive.status == 503 && alive.body.contains("message 2"))
    })?;
    assert_eq!(append(&ledger, "a", &note)?.status, 503);
    assert_eq!(ledger.events("a")?.len(), 1);
    let health = testbed::runtime::run(health(ledger.port()));
    assert_eq!(health.expect("an answer"), ServingStatus::NotServing);
    Ok(())
}

#[test]
fn a_ledger_waits_for_its_stream() -> TestResult {
    let nats = Nats::start()?;
    let ledger = ledger(&nats)?;
    let note = json!({"kind": "note", "payload": 1});
    assert_eq!(append(&ledger, "a", &note)?.status, 201);
    ledger.kill()?;
    nats.node(0).kill();
    std::thread::scope(|scope| -> TestResult {
        let starting = scope.spawn(|| ledger.start_again());
        nats.node(0).start_again()?;
        Ok(starting.join().expect("no panic")?)
    })?;
    current(&ledger)?;
    assert_eq!(ledger.events("a")?.len(), 1);
    Ok(())
}
