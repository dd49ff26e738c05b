//! One server with many sequences, which share a few instances.

use std::collections::BTreeMap;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::{Answer, Client};
use testbed::redis::Redis;
use testbed::runtime::run;
use testbed::wait;
use tokio::task::JoinSet;

/// The number of keys, far above the number of instances.
const KEYS: usize = 1_600;

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(60);

fn keys() -> String {
    let keys: Vec<_> = (0..KEYS).map(|n| format!("k{n}")).collect();
    keys.join(",")
}

/// Mints once from each key concurrently, and returns the responses in the order of the keys.
async fn round(serving: &Serving) -> TestResult<Vec<Answer>> {
    let client = Client::default();
    let mut requests = JoinSet::new();
    for key in 0..KEYS {
        let client = client.clone();
        let url = serving.url(&format!("/v1/sequences/k{key}/next"));
        requests.spawn(async move { (key, client.send("POST", &url, &[], "").await) });
    }
    let answers: BTreeMap<_, _> = requests.join_all().await.into_iter().collect();
    Ok(answers.into_values().collect::<testbed::Result<_>>()?)
}

fn assert_minted(answers: &[Answer], first: i64) {
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 200, "k{n}: {answer:?}");
        let json = answer.json();
        assert_eq!(json["key"], format!("k{n}"));
        assert_eq!(json["first"], first, "k{n} is a sequence of its own");
    }
}

#[test]
fn each_key_counts_by_itself() -> TestResult {
    let keys = keys();
    let serving = Place::new()?.serve(&["--engine", "memory", "--keys", &keys])?;
    run(async {
        for first in [2, 4, 6] {
            assert_minted(&round(&serving).await?, first);
        }
        TestResult::Ok(())
    })?;
    // One instance per key would take two gigabytes.
    let memory = serving.memory()?;
    assert!(memory.most < 300 * 1024, "{} KiB", memory.most);
    Ok(())
}

#[test]
fn keys_share_connections() -> TestResult {
    let redis = Redis::start()?;
    let keys = keys();
    let serving =
        Place::new()?.serve(&["--engine", "redis", "--dsn", &redis.dsn(), "--keys", &keys])?;
    run(async {
        assert_minted(&round(&serving).await?, 2);
        assert_minted(&round(&serving).await?, 4);
        TestResult::Ok(())
    })?;
    let clients: String = redis.query(&["CLIENT", "LIST"])?;
    // One client is the connection of this query.
    let connections = clients.lines().count() - 1;
    assert!((1..=16).contains(&connections), "{connections} connections");
    Ok(())
}

#[test]
fn keys_do_not_wait_for_the_backend_in_turn() -> TestResult {
    let redis = Redis::start()?;
    let keys = keys();
    let dsn = format!("{}?timeout=2s", redis.dsn());
    let serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn, "--keys", &keys])?;
    run(async {
        assert_minted(&round(&serving).await?, 2);
        redis.pause();
        // Serving the hundred keys of one instance one after another would take minutes of deadlines.
        let stalled = tokio::time::timeout(Duration::from_secs(30), round(&serving)).await;
        redis.resume();
        for answer in stalled.expect("all are answered before their deadlines would add up")? {
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.json()["code"], "unavailable");
        }
        TestResult::Ok(())
    })?;
    wait::until_or_error("the server mints again", SOON, || {
        let answer = serving.request("POST", "/v1/sequences/k0/next", &[], "")?;
        Ok(match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}: {}", answer.body)),
        })
    })?;
    // Integers in lost replies are skipped and never handed out again.
    let answers = run(round(&serving))?;
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json()["first"].as_i64() >= Some(4), "{answer:?}");
    }
    Ok(())
}
