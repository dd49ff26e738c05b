//! `int-host serve --keys 'orders-*'`: sequences that are opened when they are first needed.

use serde_json::json;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::history::{History, Record, Span};
use testbed::http::{Answer, Client};
use testbed::redis::Redis;
use testbed::runtime::run;
use tokio::task::JoinSet;

const TOKEN: &str = "a-token-of-some-length";

fn memory(arguments: &[&str]) -> TestResult<Serving> {
    let mut all = vec!["--engine", "memory"];
    all.extend(arguments);
    Ok(Place::new()?.serve(&all)?)
}

/// Mints one integer from the sequence whose key is encoded like this.
fn next(serving: &Serving, key: &str) -> testbed::Result<Answer> {
    serving.request("POST", &format!("/v1/sequences/{key}/next"), &[], "")
}

fn first(serving: &Serving, key: &str) -> TestResult<i64> {
    let answer = next(serving, key)?;
    assert_eq!(answer.status, 200, "{key}: {}", answer.body);
    Ok(answer.json()["first"].as_i64().expect("an integer"))
}

fn last(serving: &Serving, key: &str) -> TestResult<serde_json::Value> {
    let answer = serving.get(&format!("/v1/sequences/{key}"))?;
    assert_eq!(answer.status, 200, "{key}: {}", answer.body);
    Ok(answer.json()["last"].clone())
}

fn listed(serving: &Serving, query: &str) -> TestResult<serde_json::Value> {
    let answer = serving.get(&format!("/v1/sequences{query}"))?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    Ok(answer.json())
}

#[test]
fn each_key_that_matches_is_a_sequence_of_its_own() -> TestResult {
    let serving = memory(&["--keys", "orders-*,plain,*/b"])?;
    for key in [
        "orders-2026-11-26",
        "orders-",
        "a%2Fb",
        "orders-%C3%BC%20%2C%2A%25",
    ] {
        assert_eq!(last(&serving, key)?, json!(null), "{key}");
        assert_eq!(first(&serving, key)?, 2, "{key}");
        assert_eq!(first(&serving, key)?, 4, "{key}");
        assert_eq!(last(&serving, key)?, 4, "{key}");
    }
    assert_eq!(serving.get("/")?.integer(), 2, "the default one is another");
    assert_eq!(first(&serving, "plain")?, 2);
    assert_eq!(
        listed(&serving, "")?,
        json!({
            "keys": ["a/b", "integers", "orders-", "orders-2026-11-26", "orders-ü ,*%", "plain"],
            "next": null,
            "patterns": ["orders-*", "*/b"],
        })
    );
    Ok(())
}

#[test]
fn a_key_that_matches_nothing_does_not_exist() -> TestResult {
    let serving = memory(&["--keys", "orders-*,a*b*c", "--admin-token", TOKEN])?;
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let long = format!("orders-{}", "x".repeat(122));
    for key in [
        "orders",
        "Orders-1",
        "xorders-1",
        "abbd",
        "ac",
        "orders-%0A",
        "orders-%FF",
        &long,
    ] {
        let path = format!("/v1/sequences/{key}");
        for (method, path) in [
            ("GET", path.clone()),
            ("PUT", path.clone()),
            ("POST", format!("{path}/next")),
        ] {
            let answer = serving.request(method, &path, &headers, "{\"last\": 8}")?;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    assert_eq!(
        serving.get("/last")?.status,
        404,
        "nothing was minted or raised"
    );
    assert_eq!(listed(&serving, "")?["keys"], json!(["integers"]));
    // Without a pattern there are no keys but those that are named.
    let plain = memory(&["--keys", "a"])?;
    assert_eq!(next(&plain, "b")?.status, 404);
    Ok(())
}

#[test]
fn everything_can_match() -> TestResult {
    let serving = memory(&["--keys", "*"])?;
    for key in ["a", "%2A", "next", "%2F", "..%2F..", "%F0%9F%94%A2"] {
        assert_eq!(first(&serving, key)?, 2, "{key}");
    }
    assert_eq!(first(&serving, "integers")?, 2);
    assert_eq!(serving.get("/")?.integer(), 4, "it is the default one");
    assert_eq!(
        next(&serving, "~node%2Fstarts")?.status,
        404,
        "kept by nodes"
    );
    Ok(())
}

#[test]
fn a_sequence_can_be_raised_before_it_is_used() -> TestResult {
    let serving = memory(&["--keys", "*", "--admin-token", TOKEN, "--mint-token", "m"])?;
    let bearer = format!("Bearer {TOKEN}");
    let put = |key: &str, value: i64| {
        let body = json!({"last": value}).to_string();
        let path = format!("/v1/sequences/{key}");
        serving.request("PUT", &path, &[("authorization", &bearer)], &body)
    };
    assert_eq!(put("a", 100)?.status, 200);
    assert_eq!(last(&serving, "a")?, 100);
    assert_eq!(put("a", 99)?.json()["current"], 100);
    let minter = [("authorization", "Bearer m")];
    let minted = serving.request("POST", "/v1/sequences/a/next", &minter, "")?;
    assert_eq!(minted.json()["first"], 102);
    assert_eq!(next(&serving, "b")?.status, 401, "without the token");
    assert_eq!(serving.get("/v1/sequences")?.status, 401);
    let list = serving.request("GET", "/v1/sequences", &minter, "")?;
    assert_eq!(list.json()["keys"], json!(["a", "integers"]));
    Ok(())
}

/// The memory engine keeps its integers in the open sequence, so that none may be closed.
#[test]
fn beyond_the_maximum_nothing_is_lost_in_memory() -> TestResult {
    let serving = memory(&["--keys", "k*", "--max-keys", "3"])?;
    for round in 1..=3 {
        for key in ["k1", "k2", "k3", "integers"] {
            assert_eq!(first(&serving, key)?, 2 * round, "{key}");
        }
        for n in 4..50 {
            let refused = next(&serving, &format!("k{n}"))?;
            assert_eq!(refused.status, 403);
            assert_eq!(refused.json()["code"], "too-many-keys");
            assert!(refused.body.contains("--max-keys"), "{}", refused.body);
            assert_eq!(last(&serving, &format!("k{n}"))?, json!(null));
        }
    }
    assert_eq!(
        listed(&serving, "")?["keys"],
        json!(["integers", "k1", "k2", "k3"])
    );
    Ok(())
}

/// Where the integers are in a backend, an idle sequence is closed for another one, and goes on later.
#[test]
fn beyond_the_maximum_idle_sequences_make_room() -> TestResult {
    let place = Place::new()?;
    let serving = place.serve(&["--keys", "k*", "--max-keys", "2"])?;
    for round in 1..=3 {
        for n in 0..10 {
            assert_eq!(first(&serving, &format!("k{n}"))?, 2 * round, "k{n}");
        }
    }
    for n in 0..10 {
        assert_eq!(last(&serving, &format!("k{n}"))?, 6, "k{n}");
    }
    assert_eq!(
        listed(&serving, "")?["keys"],
        json!(["integers", "k8", "k9"])
    );
    Ok(())
}

#[test]
fn a_restart_keeps_the_values() -> TestResult {
    let place = Place::new()?;
    for round in 0..3 {
        let serving = place.serve(&["--keys", "orders-*"])?;
        for key in ["orders-1", "orders-a%2Fb%20c"] {
            let before = if round == 0 {
                json!(null)
            } else {
                json!(2 * round)
            };
            assert_eq!(last(&serving, key)?, before);
            assert_eq!(first(&serving, key)?, 2 * round + 2, "{key}");
        }
        let (status, log) = serving.stop()?;
        assert_eq!(status.code(), Some(0), "{log}");
    }
    assert_eq!(place.mint(&["--key", "orders-1"])?, [8]);
    Ok(())
}

/// Many first requests for the same keys at the same time get different integers.
#[test]
fn the_first_requests_for_a_key_share_its_opening() -> TestResult {
    for engine in ["memory", "keyvalue"] {
        let serving = Place::new()?.serve(&["--engine", engine, "--keys", "*"])?;
        let spans: TestResult<Vec<(usize, Span)>> = run(async {
            let client = Client::default();
            let mut requests = JoinSet::new();
            for request in 0..200 {
                let (client, key) = (client.clone(), request % 4);
                let url = serving.url(&format!("/v1/sequences/k{key}/next?count=3"));
                requests.spawn(async move { (key, client.send("POST", &url, &[], "").await) });
            }
            let mut spans = Vec::new();
            for (key, answer) in requests.join_all().await {
                let answer = answer?;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let first = answer.json()["first"].as_i64().expect("an integer");
                spans.push((
                    key,
                    Span {
                        first,
                        step: 2,
                        count: 3,
                    },
                ));
            }
            Ok(spans)
        });
        let spans = spans?;
        for key in 0..4 {
            let of_key = spans.iter().filter(|(of, _)| *of == key);
            let history: History = of_key.map(|(_, span)| Record::untimed(0, *span)).collect();
            history.assert_clean();
            assert_eq!(history.integers(), 150);
            assert_eq!(
                history.greatest(),
                Some(300),
                "{engine}: nothing was skipped"
            );
        }
    }
    Ok(())
}

#[test]
fn a_failed_opening_takes_no_place() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=500ms", redis.dsn());
    let serving = Place::new()?.serve(&[
        "--engine",
        "redis",
        "--dsn",
        &dsn,
        "--keys",
        "*",
        "--max-keys",
        "1",
    ])?;
    redis.kill();
    for key in ["a", "b", "c", "a"] {
        let answer = next(&serving, key)?;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.json()["code"], "unavailable");
    }
    redis.start_again()?;
    testbed::wait::until_or_error("it mints again", std::time::Duration::from_secs(30), || {
        let answer = next(&serving, "d")?;
        Ok(if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body)
        })
    })?;
    assert_eq!(listed(&serving, "")?["keys"], json!(["d", "integers"]));
    Ok(())
}

/// Strangers who read keys that nobody uses fill no memory.
#[test]
fn reading_opens_nothing_for_good() -> TestResult {
    let serving = memory(&["--keys", "*", "--max-keys", "2"])?;
    assert_eq!(first(&serving, "mine")?, 2);
    run(async {
        let client = Client::default();
        for round in 0..20 {
            let mut requests = JoinSet::new();
            for n in 0..50 {
                let client = client.clone();
                let method = ["GET", "HEAD"][n % 2];
                let url = serving.url(&format!("/v1/sequences/{round}-{n}"));
                requests.spawn(async move { client.send(method, &url, &[], "").await });
            }
            for answer in requests.join_all().await {
                let status = answer?.status;
                assert!(matches!(status, 200 | 503), "{status}");
            }
        }
        TestResult::Ok(())
    })?;
    assert_eq!(first(&serving, "mine")?, 4);
    assert_eq!(first(&serving, "yours")?, 2, "there is still room");
    assert_eq!(
        listed(&serving, "")?["keys"],
        json!(["integers", "mine", "yours"])
    );
    Ok(())
}

#[test]
fn the_list_has_pages() -> TestResult {
    let serving = memory(&["--keys", "day-*,a,z"])?;
    for day in (0..25).rev() {
        first(&serving, &format!("day-{day:02}"))?;
    }
    let (mut keys, mut query) = (Vec::new(), "?limit=10".to_owned());
    loop {
        let page = listed(&serving, &query)?;
        keys.extend(page["keys"].as_array().expect("keys").clone());
        match page["next"].as_str() {
            Some(after) => query = format!("?limit=10&after={after}"),
            None => break,
        }
    }
    let days = (0..25).map(|day| format!("day-{day:02}"));
    let mut expected: Vec<_> = days
        .chain(["a", "integers", "z"].map(str::to_owned))
        .collect();
    expected.sort();
    assert_eq!(keys, expected);
    for bad in ["?limit=0", "?limit=1001", "?after=a&after=b", "?page=2"] {
        assert_eq!(
            serving.get(&format!("/v1/sequences{bad}"))?.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(
        serving.request("HEAD", "/v1/sequences", &[], "")?.status,
        200
    );
    let wrong = serving.request("POST", "/v1/sequences", &[], "")?;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, HEAD"));
    Ok(())
}

/// The composed endpoint reads the same settings.
#[test]
fn a_composed_endpoint_knows_patterns_too() -> TestResult {
    let place = Place::new()?;
    let file = place.file("composed.wasm");
    let file = file.to_str().expect("UTF-8");
    let composed = place.run(&["compose", "--engine", "memory", "-o", file])?;
    assert_eq!(composed.code, Some(0), "{composed:?}");
    let serving = place.serve(&["--component", file, "--keys", "k*,a", "--max-keys", "1"])?;
    assert_eq!(first(&serving, "k1")?, 2);
    assert_eq!(first(&serving, "k1")?, 4);
    assert_eq!(next(&serving, "k2")?.status, 403);
    assert_eq!(next(&serving, "x")?.status, 404);
    assert_eq!(
        listed(&serving, "")?,
        json!({"keys": ["a", "integers", "k1"], "next": null, "patterns": ["k*"]})
    );
    Ok(())
}

#[test]
fn the_maximum_has_bounds() -> TestResult {
    let place = Place::new()?;
    for bad in ["0", "100001", "many"] {
        let arguments = [
            "serve",
            "--port",
            "0",
            "--engine",
            "memory",
            "--max-keys",
            bad,
        ];
        place.run(&arguments)?.assert_failed(2, &["--max-keys"]);
    }
    Ok(())
}
