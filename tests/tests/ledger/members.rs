//! A ledger that is the only member, and one that cannot be one of several.

use serde_json::json;
use testbed::TestResult;
use testbed::cli::{Place, Serving};

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
