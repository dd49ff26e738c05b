//! Ledgers that share one stream and the work.

use crate::stream::{append, compete, complete, current, dsn};
use crate::{LIMIT, integers, mint_while, serve};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::request;
use testbed::ledger::Ledger;
use testbed::nats::Nats;
use testbed::{port, wait};

#[test]
fn a_ledger_without_gossip_is_the_only_member() -> TestResult {
    let place = Place::new()?;
    let arguments = [
        "ledger",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--member",
        "one",
    ];
    let serving = Serving::start(place.command(&arguments)?)?;
    let answer = serving.get("/v1/members")?;
    assert_eq!(answer.status, 200);
    let all = answer.json();
    let member = &all["members"][0];
    assert_eq!(
        (
            &all["member"],
            &all["partitions"],
            all["members"].as_array().map(Vec::len)
        ),
        (&json!("one"), &json!(1051), Some(1))
    );
    assert_eq!(member["address"], serving.url("").trim_end_matches('/'));
    for (name, value) in [
        ("health", json!("alive")),
        ("gossip", json!(null)),
        ("owned", json!(1051)),
        ("held", json!(1051)),
    ] {
        assert_eq!(member[name], value, "{name}");
    }
    let stats = serving.get("/v1.0/stats")?.json();
    assert_eq!(
        (&stats["members_alive"], &stats["partitions_held"]),
        (&json!(1), &json!(1051))
    );
    serving.stop()?;
    Ok(())
}

#[test]
fn a_store_of_its_own_is_not_shared() -> TestResult {
    let place = Place::new()?;
    let refused = place.run(&["ledger", "--gossip", "127.0.0.1:6662", "--port", "0"])?;
    refused.assert_failed(8, &["--gossip is for ledgers that share one stream"]);
    // Nothing was made.
    assert!(!place.data().join("ledger").exists());
    Ok(())
}

/// Members that know each other.
struct Group {
    nats: Nats,
    gossip: Vec<String>,
    members: Vec<Ledger>,
}

impl Group {
    fn start(size: usize) -> TestResult<Self> {
        let mut group = Self {
            nats: Nats::cluster(3)?,
            gossip: Vec::new(),
            members: Vec::new(),
        };
        for _ in 0..size {
            group.add()?;
        }
        group.settled(size)?;
        Ok(group)
    }

    /// Starts one more member.
    fn add(&mut self) -> TestResult {
        let gossip = format!("127.0.0.1:{}", port::free()?);
        let store = dsn(&self.nats);
        let join = self.gossip.join(",");
        let mut options = vec![
            "--store",
            &store,
            "--gossip",
            &gossip,
            "--gossip-secret",
            "a secret of the group",
        ];
        if !join.is_empty() {
            options.extend(["--join", &join]);
        }
        self.members.push(Ledger::start_with(&options)?);
        self.gossip.push(gossip);
        Ok(())
    }

    fn all(&self) -> Vec<&Ledger> {
        self.members.iter().collect()
    }

    /// Waits until each of `size` members knows that all of them hold what they own, and that each partition has three
    /// owners.
    fn settled(&self, size: usize) -> TestResult {
        for member in &self.members {
            let all_hold = || -> testbed::Result<bool> {
                let answer = member.get("/v1/members")?;
                let all = answer["members"].as_array().cloned().unwrap_or_default();
                let alive = all.iter().filter(|one| one["health"] == "alive");
                let shares: Vec<_> = alive
                    .map(|one| (one["owned"].as_u64(), one["held"].as_u64()))
                    .collect();
                let owned: u64 = shares.iter().filter_map(|(owned, _)| *owned).sum();
                Ok(shares.len() == size
                    && owned == 3 * 1051
                    && shares.iter().all(|(owned, held)| owned == held))
            };
            wait::until_true("the members hold what they own", LIMIT, || {
                all_hold().unwrap_or(false)
            })?;
        }
        Ok(())
    }

    /// Checks that these members answer questions about a key within 5 s.
    fn answer(&self, members: &[usize], key: &str) -> TestResult {
        for &index in members {
            let path = format!("/v1/keys/{key}/events?limit=1");
            let answered = || {
                let answer = self.members[index].request("GET", &path, "");
                answer.is_ok_and(|answer| answer.status == 200)
            };
            wait::until_true("a question is answered", Duration::from_secs(5), answered)?;
        }
        Ok(())
    }

    /// Waits until all these members give the same events of a key, and returns them.
    fn agree(&self, members: &[usize], key: &str) -> TestResult<Vec<Value>> {
        let mut events = Vec::new();
        wait::until_true("all members give the same events", LIMIT, || {
            let all = members.iter().map(|&index| self.members[index].events(key));
            let Ok(mut all) = all.collect::<testbed::Result<Vec<_>>>() else {
                return false;
            };
            events = all.pop().unwrap_or_default();
            all.iter().all(|other| *other == events)
        })?;
        Ok(events)
    }
}

#[test]
fn a_ledger_is_lost_one_is_added_and_one_goes_under_load() -> TestResult {
    let mut group = Group::start(3)?;
    let place = Place::new()?;
    let serving = serve(&place, &group.members[0], "strict")?;
    let mut stored = BTreeSet::new();
    let minted = mint_while(&serving.url("/"), |count| {
        stored = compete(&group.all(), |appended| {
            let more = |what: &str| {
                let before = (count(), appended());
                let more = || count() >= before.0 + 50 && appended() >= before.1 + 30;
                wait::until_true(what, LIMIT, more)
            };
            more("events are stored")?;
            for index in 0..3 {
                group.nats.node(index).kill();
                more("events are stored by two servers")?;
                group.nats.node(index).start_again()?;
                group.members[index].kill()?;
                let others: Vec<_> = (0..3).filter(|other| *other != index).collect();
                group.answer(&others, "integers")?;
                group.answer(&others, "key-0")?;
                group.members[index].start_again()?;
                more("events are stored again")?;
            }
            Ok(())
        })?;
        group.add()?;
        group.settled(4)?;
        let with_four = compete(&group.all(), |appended| {
            let more = |what: &str, wanted: usize| {
                let before = (count(), appended());
                let more = || count() >= before.0 + wanted && appended() >= before.1 + wanted;
                wait::until_true(what, LIMIT, more)
            };
            more("events are stored with four members", 50)?;
            group.members[3].kill()?;
            group.answer(&[0, 1, 2], "integers")?;
            more("events are stored after the loss of the fourth", 30)?;
            group.members[3].start_again()?;
            more("events are stored with four members again", 30)?;
            // The one that the server publishes to stays.
            let log = group.members[1].stop()?;
            assert!(log.contains("stopped"), "{log}");
            group.answer(&[0, 2, 3], "integers")?;
            group.answer(&[0, 2, 3], "key-1")?;
            Ok(more("events are stored by those that are left", 50)?)
        })?;
        assert!(stored.is_disjoint(&with_four), "an event was stored twice");
        stored.extend(with_four);
        Ok(())
    })?;
    serving.stop()?;
    complete(&group.members[0], &minted)?;
    let left = [0, 2, 3];
    let health = group.members[0].get("/v1/members")?;
    let health = health["members"].as_array().expect("members").iter();
    assert_eq!(health.filter(|one| one["health"] == "left").count(), 1);
    let all = integers(&group.agree(&left, "integers")?);
    assert!(minted.iter().all(|integer| all.contains_key(integer)));
    for key in ["key-0", "key-1"] {
        let events = group.agree(&left, key)?.len() as u64;
        let known = stored.iter().filter(|(of, _)| of == key);
        assert!(known.map(|(_, number)| *number).max() <= Some(events));
    }
    Ok(())
}

/// Each of five members lacks two fifths of the keys.
#[test]
fn any_member_answers_for_any_key() -> TestResult {
    let mut group = Group::start(3)?;
    group.add()?;
    group.add()?;
    group.settled(5)?;
    let place = Place::new()?;
    let servers = ["0", "2"].map(|offset| {
        let ledger = if offset == "0" { 0 } else { 4 };
        let url = group.members[ledger].url();
        let options = ["--engine", "memory", "--keys", "key-*"];
        let lattice = ["--set-increment", "4", "--set-offset", offset];
        let publish = ["--ledger", &*url, "--ledger-policy", "strict"];
        place.serve(&[&options[..], &lattice, &publish].concat())
    });
    let [one, other] = servers;
    let (one, other) = (one?, other?);
    let mint = |server: &Serving, key: &str| -> TestResult<Value> {
        let url = server.url(&format!("/v1/sequences/{key}/next"));
        let headers = [("idempotency-key", "once")];
        let answer = request("POST", &url, &headers, "")?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Ok(answer.json())
    };
    for number in 0..20 {
        let key = format!("key-{number}");
        let first = mint(&one, &key)?;
        assert_eq!(mint(&other, &key)?, first, "{key}");
        let note = json!({"kind": "note", "payload": number});
        for (index, member) in group.members.iter().enumerate() {
            let answer = append(member, &key, &note)?;
            assert_eq!(answer.status, 201, "{}", answer.body);
            let answer = append(
                member,
                &key,
                &json!({"kind": "n", "payload": 1, "expected": index + 1}),
            )?;
            assert_eq!(answer.status, 409, "{}", answer.body);
        }
        let events = group.agree(&[0, 1, 2, 3, 4], &key)?;
        let kinds: Vec<_> = events.iter().map(|event| event["kind"].clone()).collect();
        // The second server did not mint, or what it minted is unused.
        let notes = kinds.iter().filter(|kind| *kind == "note").count();
        let mints = kinds.iter().filter(|kind| *kind == "mint").count();
        assert_eq!((notes, mints), (5, 1), "{kinds:?}");
        let integer = first["first"].as_i64().expect("an integer");
        for member in &group.members {
            let found = member.get(&format!("/v1/integers/{key}/{integer}"))?;
            assert_eq!(found["status"], "minted", "{found}");
            let state = member.get(&format!("/v1/keys/{key}/state"))?;
            assert_eq!(state["number"], events.len(), "{state}");
        }
    }
    let forwarded = |member: &Ledger| -> TestResult<u64> {
        let stats = member.get("/v1.0/stats")?;
        Ok(stats["forwarded_answered"].as_u64().expect("a number"))
    };
    for member in &group.members {
        assert!(forwarded(member)? > 0, "nothing was passed on");
        current(member)?;
    }
    Ok(())
}
