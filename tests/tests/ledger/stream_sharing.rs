//! Several ledgers with one stream of NATS.

use crate::repeat::memory;
use crate::stream::{agree, append, compete, complete, current, dsn, ledger};
use crate::{LIMIT, integers, mint_while, serve};
use artisanal_ledger::Stream;
use artisanal_ledger::event::{Event, Payload};
use artisanal_ledger::partition::{self, Share};
use artisanal_ledger::store::Options as StoreOptions;
use artisanal_ledger::stream::Options;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::cli::Place;
use testbed::http::request;
use testbed::nats::Nats;
use testbed::{TestResult, wait};
use tokio::sync::watch;
use tokio::time::timeout;

#[test]
fn two_ledgers_number_events_as_one() -> TestResult {
    let nats = Nats::start()?;
    let ledgers = [&ledger(&nats)?, &ledger(&nats)?];
    let stored = compete(&ledgers, |count| {
        Ok(wait::until_true("events are appended", LIMIT, || {
            count() >= 300
        })?)
    })?;
    let mut events = 0;
    for key in ["key-0", "key-1"] {
        events += agree(&ledgers, key)?.len();
    }
    // Nothing failed, so each event has a client that knows of it.
    assert_eq!(events, stored.len());
    Ok(())
}

#[test]
fn an_idempotency_key_has_one_answer_at_two_ledgers() -> TestResult {
    let (nats, place) = (Nats::start()?, Place::new()?);
    let ledgers = [&ledger(&nats)?, &ledger(&nats)?];
    let servers = [
        memory(&place, ledgers[0], "0")?,
        memory(&place, ledgers[1], "2")?,
    ];
    let urls = servers
        .each_ref()
        .map(|server| server.url("/v1/sequences/integers/next"));
    let answers = Mutex::new(BTreeMap::<usize, Vec<Value>>::new());
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..8_usize {
            let (asked, answers, urls) = (&asked, &answers, &urls);
            scope.spawn(move || {
                loop {
                    let turn = asked.fetch_add(1, Ordering::Relaxed);
                    if turn >= 400 {
                        break;
                    }
                    let idempotency = format!("key-{}", turn / 4);
                    let headers = [("idempotency-key", idempotency.as_str())];
                    loop {
                        let answer =
                            request("POST", &urls[client % 2], &headers, "").expect("an answer");
                        if answer.status == 200 {
                            let mut all = answers.lock().expect("not poisoned");
                            all.entry(turn / 4).or_default().push(answer.json());
                            break;
                        }
                        assert!(matches!(answer.status, 409 | 503), "{}", answer.body);
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
    });
    let answers = answers.into_inner().expect("not poisoned");
    let mut handed_out = BTreeSet::new();
    for (key, all) in &answers {
        let one = &all[0];
        assert!(all.iter().all(|answer| answer == one), "{key}: {all:?}");
        let integer = one["first"].as_i64().expect("an integer");
        assert!(handed_out.insert(integer), "{integer} has two keys");
    }
    let events = agree(&ledgers, "integers")?;
    let minted = integers(&events);
    assert_eq!(minted.keys().copied().collect::<BTreeSet<_>>(), handed_out);
    assert!(
        events.len() > minted.len(),
        "no two servers were asked at the same time"
    );
    Ok(())
}

#[test]
fn three_ledgers_and_three_servers_survive_one_of_each() -> TestResult {
    let nats = Nats::cluster(3)?;
    let place = Place::new()?;
    let ledgers = [&ledger(&nats)?, &ledger(&nats)?, &ledger(&nats)?];
    let serving = serve(&place, ledgers[0], "strict")?;
    let mut stored = BTreeSet::new();
    let minted = mint_while(&serving.url("/"), |count| {
        stored = compete(&ledgers, |appended| {
            let more = |what: &str| {
                let before = (count(), appended());
                let more = || count() >= before.0 + 100 && appended() >= before.1 + 50;
                wait::until_true(what, LIMIT, more)
            };
            more("events are stored")?;
            for (index, ledger) in ledgers.into_iter().enumerate() {
                nats.node(index).kill();
                more("events are stored by two servers")?;
                nats.node(index).start_again()?;
                ledger.kill()?;
                ledger.start_again()?;
                more("events are stored again")?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    serving.stop()?;
    complete(ledgers[0], &minted)?;
    for ledger in ledgers {
        current(ledger)?;
    }
    let all = integers(&agree(&ledgers, "integers")?);
    assert!(minted.iter().all(|integer| all.contains_key(integer)));
    for key in ["key-0", "key-1"] {
        let events = agree(&ledgers, key)?.len() as u64;
        let known = stored.iter().filter(|(of, _)| of == key);
        assert!(known.map(|(_, number)| *number).max() <= Some(events));
    }
    Ok(())
}

/// A ledger whose share changes has the events of its share, and goes on from where it was when a partition comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_read_alone() -> TestResult {
    let nats = Nats::start()?;
    let whole = ledger(&nats)?;
    let place = Place::new()?;
    let serving = serve(&place, &whole, "strict")?;
    for _ in 0..20 {
        assert_eq!(serving.get("/")?.status, 200);
    }
    let keys = ["integers", "a", "b", "c"];
    let note = |key: &str| append(&whole, key, &json!({"kind": "note", "payload": key}));
    let share = |keys: &[&str]| -> Arc<Share> {
        Arc::new(keys.iter().map(|key| partition::of(key)).collect())
    };
    let options = Options::parse(&dsn(&nats)).expect("a DSN");
    let (shares, watched) = watch::channel(share(&keys[..1]));
    let folder = place.data().join("part");
    let (holding, mut held) = watch::channel(Arc::default());
    let part = Stream::open(&options, &folder, StoreOptions::default(), watched, holding)
        .await
        .expect("it opens");
    let changes = [
        &keys[..1],
        &keys[..],
        &keys[1..2],
        &["integers", "c"],
        &["integers", "b"],
    ];
    for wanted in changes {
        shares.send_replace(share(wanted));
        for key in keys {
            assert_eq!(note(key)?.status, 201);
        }
        let reached = held.wait_for(|held| *held == share(wanted));
        timeout(LIMIT, reached)
            .await
            .expect("in time")
            .expect("open");
        for key in keys {
            assert_eq!(part.holds(key), wanted.contains(&key), "{key}");
        }
        for key in wanted {
            let events = whole.events(key)?;
            let mut commits = part.store().commits();
            let all = || part.store().events(key, 1, 1000).expect("read").events;
            let caught_up = async {
                while all().len() < events.len() {
                    commits.changed().await.expect("open");
                }
            };
            timeout(LIMIT, caught_up).await.expect("in time");
            let found: Vec<_> = all()
                .iter()
                .map(|e| (e.number, e.kind().to_owned()))
                .collect();
            let kind = |event: &Value| event["kind"].as_str().unwrap_or_default().to_owned();
            let expected: Vec<_> = (1..).zip(events.iter().map(kind)).collect();
            assert_eq!(found, expected);
        }
    }
    // What is in no share was not read.
    assert_eq!(part.store().events("c", 1, 1000).expect("read").last, 4);
    let event = Event {
        key: "c".into(),
        json_kind: "note".into(),
        payload: Some(Payload::Json("1".into())),
        ..Event::default()
    };
    let refused = part.append(event, None).await;
    assert!(
        matches!(refused, Err(artisanal_ledger::Error::Unavailable(_))),
        "{refused:?}"
    );
    Ok(())
}
