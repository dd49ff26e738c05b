//! Events that clients append, and questions.

use testbed::TestResult;
use testbed::ledger::Ledger;

#[test]
fn events_are_appended_in_turn_and_replayed() -> TestResult {
    let ledger = Ledger::start()?;
    let append = |body: &str| ledger.request("POST", "/v1/keys/orders-7/events", body);
    let first =
        append(r#"{"kind":"order","payload":{"paid":false,"n":9007199254740993},"expected":0}"#)?;
    assert_eq!((first.status, &first.json()["number"]), (201, &1.into()));
    assert_eq!(
        append(r#"{"kind":"order","payload":{"paid":true}}"#)?.status,
        201
    );
    let conflict = append(r#"{"kind":"order","payload":{},"expected":1}"#)?;
    assert_eq!(
        (conflict.status, &conflict.json()["current"]),
        (409, &2.into())
    );
    assert_eq!(conflict.header("content-type"), "application/problem+json");
    for bad in [
        "",
        "{",
        "[]",
        r#"{"kind":"mint","payload":{}}"#,
        r#"{"kind":"a"}"#,
        r#"{"kind":"a","payload":1,"x":1}"#,
    ] {
        assert_eq!(append(bad)?.status, 400, "{bad}");
    }
    let long = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(append(&long)?.status, 413);
    let state = ledger.get("/v1/keys/orders-7/state?reducer=merge")?;
    assert_eq!(
        state["state"],
        serde_json::json!({"paid": true, "n": 9_007_199_254_740_993_i64})
    );
    for (path, status) in [
        ("/v1/keys/orders-7/state?reducer=x", 400),
        ("/v1/keys/orders-7/events?limit=0", 400),
        ("/v1/keys/orders-7/events?what=0", 400),
        ("/v1/integers/orders-7/x", 400),
        ("/v1/integers/a%00b/1", 400),
        ("/v1/ingest", 426),
        ("/nothing", 404),
    ] {
        assert_eq!(ledger.request("GET", path, "")?.status, status, "{path}");
    }
    let alive = ledger.request("GET", "/v1.0/alive", "")?;
    assert_eq!(alive.status, 200);
    assert!(!alive.header("server").is_empty() && !alive.header("x-request-id").is_empty());
    let stats = ledger.get("/v1.0/stats")?;
    assert_eq!(
        (&stats["appends"], &stats["conflicts"]),
        (&2.into(), &1.into())
    );
    // A restart forgets nothing.
    ledger.kill()?;
    ledger.start_again()?;
    assert_eq!(ledger.events("orders-7")?.len(), 2);
    Ok(())
}
