//! Reducers: components that the ledger runs without any rights.

use serde_json::{Value, json};
use testbed::ledger::Ledger;
use testbed::{TestResult, target};

/// The value of the option that adds the component of a file.
fn option(name: &str, file: &std::path::Path) -> String {
    format!("{name}={}", file.display())
}

fn append(ledger: &Ledger, key: &str, kind: &str) -> TestResult {
    let body = json!({"kind": kind, "payload": {}}).to_string();
    let answer = ledger.request("POST", &format!("/v1/keys/{key}/events"), &body)?;
    assert_eq!(answer.status, 201, "{}", answer.body);
    Ok(())
}

#[test]
fn a_reducer_of_ones_own_makes_states() -> TestResult {
    let file = target::component_outside("examples/reducer", "kinds")?;
    let ledger = Ledger::start_with(&[
        "--reducer",
        &option("kinds", &file),
        "--reduce",
        "order-*=kinds",
    ])?;
    for kind in ["placed", "paid", "paid"] {
        append(&ledger, "order-7", kind)?;
        append(&ledger, "other", kind)?;
    }
    let kinds = json!({"paid": 2, "placed": 1});
    for (path, reducer, state) in [
        ("/v1/keys/order-7/state", "kinds", kinds.clone()),
        ("/v1/keys/other/state?reducer=kinds", "kinds", kinds),
        ("/v1/keys/nothing/state?reducer=kinds", "kinds", json!({})),
        ("/v1/keys/order-7/state?reducer=merge", "merge", json!({})),
        (
            "/v1/keys/other/state",
            "mints",
            json!({"first": null, "integers": 0, "last": null, "lost": 0, "mints": 0}),
        ),
    ] {
        let answer = ledger.get(path)?;
        assert_eq!(
            (&answer["reducer"], &answer["state"]),
            (&reducer.into(), &state),
            "{path}"
        );
    }
    Ok(())
}

/// Whatever a reducer does, its question has an answer that says so, and all other questions have theirs.
#[test]
fn a_reducer_that_misbehaves_harms_nobody() -> TestResult {
    let file = target::component("broken-reducer")?;
    let ledger = Ledger::start_with(&["--reducer", &option("broken", &file)])?;
    for (kind, status, code, text) in [
        (
            "traps",
            502,
            "reducer",
            "at events 1 to 1: it called `wasi:cli/environment",
        ),
        (
            "spins",
            502,
            "reducer",
            "computed for longer than its limit",
        ),
        ("hog", 502, "reducer", "memory"),
        ("huge", 507, "too-large", "1048576 are allowed"),
        ("garbage", 502, "reducer", "no JSON"),
        ("refuses", 502, "reducer", "this is refused"),
        ("clock", 502, "reducer", "it called `wasi:clocks/"),
        ("random", 502, "reducer", "it called `wasi:random/"),
        ("reads", 502, "reducer", "it called `wasi:filesystem/"),
    ] {
        append(&ledger, kind, kind)?;
        let path = format!("/v1/keys/{kind}/state?reducer=broken");
        for _ in 0..2 {
            let answer = ledger.request("GET", &path, "")?;
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (status, &code.into()),
                "{problem}"
            );
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(text), "{kind}: {detail}");
        }
        let merged = ledger.get(&format!("/v1/keys/{kind}/state?reducer=merge"))?;
        assert_eq!(merged["state"], json!({}), "{kind}");
    }
    // Many that compute forever leave other questions their turns.
    std::thread::scope(|scope| -> TestResult {
        let spinning: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| ledger.get("/v1/keys/spins/state?reducer=broken").map(drop)))
            .collect();
        for _ in 0..20 {
            assert_eq!(ledger.get("/v1/keys/spins/events")?["last"], 1);
        }
        for client in spinning {
            client.join().expect("no panic")?;
        }
        Ok(())
    })?;
    // No instance remembers earlier calls.
    append(&ledger, "a", "remembers")?;
    for _ in 0..3 {
        assert_eq!(ledger.get("/v1/keys/a/state?reducer=broken")?["state"], 1);
    }
    Ok(())
}

/// States of one component are not continued by another one with its name.
#[test]
fn snapshots_belong_to_the_content_of_a_component() -> TestResult {
    let own = target::component_outside("examples/reducer", "kinds")?;
    let other = target::component("broken-reducer")?;
    let place = testbed::cli::Place::new()?;
    let file = place.file("reducer.wasm");
    std::fs::copy(&own, &file).expect("copied");
    let ledger = Ledger::start_with(&["--reducer", &option("mine", &file)])?;
    let state = |component: &std::path::Path| -> TestResult<Value> {
        ledger.kill()?;
        std::fs::copy(component, &file).expect("copied");
        ledger.start_again()?;
        // Two times this is more than what a snapshot is kept after.
        for _ in 0..510 {
            append(&ledger, "k", "n")?;
        }
        let state = ledger.get("/v1/keys/k/state?reducer=mine")?;
        // When this is durable, the snapshot is.
        append(&ledger, "k", "n")?;
        Ok(state["state"].clone())
    };
    assert_eq!(state(&own)?, json!({"n": 510}));
    assert_eq!(state(&own)?, json!({"n": 1021}));
    // From the state `{"n": …}` it would go on with what is no number.
    assert_eq!(state(&other)?, json!(1532));
    assert_eq!(state(&own)?, json!({"n": 2043}));
    Ok(())
}

#[test]
fn what_is_no_reducer_is_refused_at_the_start() -> TestResult {
    let place = testbed::cli::Place::new()?;
    let engine = target::component("misbehaving")?;
    let reducer = target::component("broken-reducer")?;
    let (engine, reducer) = (engine.display(), reducer.display());
    for (options, code, text) in [
        (
            vec!["--reducer".into(), "x=/nothing.wasm".into()],
            8,
            "/nothing.wasm",
        ),
        (
            vec!["--reducer".into(), format!("x={engine}")],
            8,
            "artisanal:ledger/reducer@0.1.0",
        ),
        (
            vec!["--reducer".into(), format!("merge={reducer}")],
            8,
            "another reducer",
        ),
        (
            vec!["--reducer".into(), format!("a b={reducer}")],
            2,
            "NAME=FILE",
        ),
        (vec!["--reduce".into(), "*=x".into()], 8, "`merge`, `mints`"),
        (vec!["--reduce".into(), "x".into()], 2, "KEY=NAME"),
    ] {
        let mut arguments = vec!["ledger", "--port", "0"];
        arguments.extend(options.iter().map(String::as_str));
        place.run(&arguments)?.assert_failed(code, &[text]);
    }
    Ok(())
}
