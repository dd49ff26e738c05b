//! Keys by pattern, and the list of sequences.

use super::Api;
use http::StatusCode;
use serde_json::json;

fn listed(api: &Api, query: &str) -> serde_json::Value {
    let answer = api.call("GET", &format!("/v1/sequences{query}"));
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()
}

#[test]
fn a_key_that_matches_is_a_sequence_of_its_own() {
    let api = Api::with(&[("keys", "orders-*,plain,*\u{e9}*"), ("admin_token", "t0p")]);
    for (key, name) in [
        ("orders-1", "orders-1"),
        ("orders-a%2Fb%2C%20%2A", "orders-a/b, *"),
        ("%C3%A9", "\u{e9}"),
    ] {
        let path = format!("/v1/sequences/{key}");
        let fresh = json!({"key": name, "last": null, "increment": 2, "offset": 0});
        assert_eq!(api.call("GET", &path).json(), fresh);
        for first in [2, 4] {
            let minted = api.call("POST", &format!("{path}/next"));
            let expected = json!({"key": name, "first": first, "step": 2, "count": 1});
            assert_eq!(minted.json(), expected);
        }
        assert_eq!(api.call("GET", &path).json()["last"], 4);
        assert_eq!(api.put(&path, "{\"last\": 9}").json()["last"], 9);
        assert_eq!(
            api.call("POST", &format!("{path}/next")).json()["first"],
            11
        );
    }
    assert_eq!(api.changes(), 0, "the sequences that are named are others");
    for key in ["orders", "Orders-1", "x", "orders-%0A", "plain2"] {
        for (method, path) in [
            ("GET", format!("/v1/sequences/{key}")),
            ("HEAD", format!("/v1/sequences/{key}")),
            ("PUT", format!("/v1/sequences/{key}")),
            ("POST", format!("/v1/sequences/{key}/next")),
        ] {
            let answer = api.call(method, &path);
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn the_maximum_of_keys() {
    let api = Api::with(&[("keys", "*"), ("max_keys", "2"), ("admin_token", "t0p")]);
    for round in 1..4 {
        for key in ["a", "b", "integers"] {
            let minted = api.call("POST", &format!("/v1/sequences/{key}/next"));
            assert_eq!(minted.json()["first"], 2 * round, "{key}");
        }
        let refused = api.call("POST", "/v1/sequences/c/next");
        assert_eq!(
            (refused.status, &*refused.code()),
            (StatusCode::FORBIDDEN, "too-many-keys")
        );
        assert!(refused.body.contains("--max-keys"), "{}", refused.body);
        let refused = api.put("/v1/sequences/c", "{\"last\": 9}");
        assert_eq!(&*refused.code(), "too-many-keys");
        let read = api.call("GET", "/v1/sequences/c").json();
        assert_eq!(read["last"], json!(null), "reading opens nothing for good");
    }
    assert_eq!(listed(&api, "")["keys"], json!(["a", "b", "integers"]));
}

#[test]
fn the_list_is_sorted_and_has_pages() {
    let api = Api::with(&[("key", "m"), ("keys", "z,b,k-*"), ("mint_token", "m1nt")]);
    let token = [("authorization", "Bearer m1nt")];
    let get = |query: &str| api.send("GET", &format!("/v1/sequences{query}"), &token, "");
    for n in [3, 1, 2, 1] {
        let path = format!("/v1/sequences/k-{n}/next");
        assert_eq!(api.send("POST", &path, &token, "").status, StatusCode::OK);
    }
    api.call("GET", "/v1/sequences/k-4");
    assert_eq!(
        get("").json(),
        json!({"keys": ["b", "k-1", "k-2", "k-3", "m", "z"], "next": null, "patterns": ["k-*"]})
    );
    let mut all = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = get(&query).json();
        let keys: Vec<String> = serde_json::from_value(page["keys"].clone()).unwrap();
        assert_eq!(keys.len(), 2);
        all.extend(keys);
        match page["next"].as_str() {
            Some(after) => query = format!("?limit=2&after={after}"),
            None => break,
        }
    }
    assert_eq!(all, ["b", "k-1", "k-2", "k-3", "m", "z"]);
    assert_eq!(get("?after=zz").json()["keys"], json!([]));
    assert_eq!(get("?limit=6").json()["next"], json!(null));
    assert_eq!(get("?limit=0").status, StatusCode::BAD_REQUEST);
    assert_eq!(get("?strings=true").status, StatusCode::BAD_REQUEST);
    let head = api.send("HEAD", "/v1/sequences", &token, "");
    assert_eq!((head.status, &*head.body), (StatusCode::OK, ""));
    let without = api.call("GET", "/v1/sequences");
    assert_eq!(without.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn who_may_not_mint_opens_nothing() {
    let api = Api::with(&[("keys", "*"), ("max_keys", "1"), ("mint_token", "m1nt")]);
    for key in ["a", "b"] {
        let path = format!("/v1/sequences/{key}");
        let refused = api.call("POST", &format!("{path}/next"));
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            api.put(&path, "{\"last\": 9}").status,
            StatusCode::FORBIDDEN
        );
        assert_eq!(api.call("GET", &path).status, StatusCode::OK);
    }
    let token = [("authorization", "Bearer m1nt")];
    let minted = api.send("POST", "/v1/sequences/c/next", &token, "");
    assert_eq!(minted.json()["first"], 2);
}
