//! The answers of each path; no other path mints.

use super::Api;
use http::{Method, StatusCode};
use serde_json::json;

#[test]
fn the_root_mints_as_it_always_did() {
    let api = Api::new();
    for (method, expected) in [("GET", "2"), ("POST", "4"), ("GET", "6")] {
        let answer = api.call(method, "/");
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, expected));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(api.call("GET", "/?count=3").body, "8\n10\n12\n");
    assert_eq!(api.call("GET", "/?count=1").body, "14");
    assert_eq!(api.call("GET", "/?").body, "16");
    let many = api.call("GET", "/?count=100000").body;
    assert_eq!(many.lines().count(), 100_000);
    assert_eq!(many.lines().last(), Some("200016"));
}

#[test]
fn requests_to_mint_have_no_body() {
    let api = Api::new();
    let targets = ["/", "/v1/sequences/integers/next"];
    for target in targets {
        let refused = api.send("POST", target, &[("content-length", "11")], "");
        assert_eq!(
            (refused.status, &*refused.code()),
            (StatusCode::BAD_REQUEST, "invalid")
        );
        assert!(refused.body.contains("?count=5"), "{}", refused.body);
    }
    assert_eq!(api.changes(), 0);
    for target in targets {
        for headers in [("content-length", "0"), ("transfer-encoding", "chunked")] {
            let answer = api.send("POST", target, &[headers], "");
            assert_eq!(answer.status, StatusCode::OK, "{target} {headers:?}");
        }
    }
}

#[test]
fn the_top_of_the_range_is_exact() {
    let api = Api::new();
    api.cells("integers").last.set(i64::MAX - 4);
    assert_eq!(
        api.call("GET", "/?count=2").body,
        format!("{}\n{}\n", i64::MAX - 2, i64::MAX)
    );
    assert_eq!(api.call("GET", "/last").body, i64::MAX.to_string());
    let exhausted = api.call("GET", "/");
    assert_eq!(exhausted.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(exhausted.header("retry-after"), None);
    let put = api.put(
        "/v1/sequences/other",
        &format!("{{\"last\": {}}}", i64::MAX),
    );
    assert_eq!(put.json()["last"], i64::MAX);
}

#[test]
fn reading_mints_nothing() {
    let api = Api::new();
    let none = api.call("GET", "/last");
    assert_eq!(
        (none.status, &*none.code()),
        (StatusCode::NOT_FOUND, "none-yet")
    );
    let fresh = api.call("GET", "/v1/sequences/integers");
    assert_eq!(
        fresh.json(),
        json!({"key": "integers", "last": null, "increment": 2, "offset": 0})
    );
    api.call("GET", "/");
    assert_eq!(api.changes(), 1);
    assert_eq!(api.call("GET", "/last").body, "2");
    assert_eq!(api.call("GET", "/ping").body, "PONG");
    assert_eq!(api.call("GET", "/healthz").body, "OK");
    assert_eq!(
        api.call("GET", "/v1/sequences/integers?strings=true")
            .json(),
        json!({"key": "integers", "last": "2", "increment": "2", "offset": "0"})
    );
    let document = api.call("GET", "/openapi.json");
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.json(), api.document);
    assert_eq!(api.changes(), 1);
}

#[test]
fn every_other_path_is_404_and_mints_nothing() {
    let api = Api::new();
    for path in [
        "/favicon.ico",
        "/robots.txt",
        "/index.html",
        "//",
        "/last/",
        "/v1/sequences/integers/",
        "/v1/sequences//next",
        "/v1/sequences/integers/next/next",
    ] {
        for method in ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"] {
            let answer = api.call(method, path);
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn a_wrong_method_is_405_and_mints_nothing() {
    let api = Api::new();
    for (path, allow) in [
        ("/", "GET, POST"),
        ("/last", "GET, HEAD"),
        ("/ping", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/v1/sequences", "GET, HEAD"),
        ("/v1/sequences/integers", "GET, HEAD, PUT"),
        ("/v1/sequences/integers/next", "POST"),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "PURGE",
        ] {
            if allow.split(", ").any(|known| known == method) {
                continue;
            }
            let answer = api.call(method, path);
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn head_is_get_without_the_body() {
    let api = Api::new();
    api.cells("integers").last.set(8);
    for path in [
        "/last",
        "/ping",
        "/healthz",
        "/openapi.json",
        "/v1/sequences/integers",
    ] {
        let (get, head) = (api.call("GET", path), api.call("HEAD", path));
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.body, "");
        assert_eq!(
            head.header("content-length"),
            Some(&*get.body.len().to_string())
        );
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn minting_as_json() {
    let api = Api::new();
    assert_eq!(
        api.call("POST", "/v1/sequences/other/next?count=3").json(),
        json!({"key": "other", "first": 2, "step": 2, "count": 3})
    );
    api.cells("other").last.set(1 << 53);
    assert_eq!(
        api.call("POST", "/v1/sequences/other/next?strings=true&count=2")
            .json(),
        json!({"key": "other", "first": "9007199254740994", "step": "2", "count": "2"})
    );
    // Keys are percent-decoded, and each is a separate sequence.
    let answer = api.call("POST", "/v1/sequences/a%2Fb%20%C3%A9/next");
    assert_eq!(
        answer.json(),
        json!({"key": "a/b é", "first": 2, "step": 2, "count": 1})
    );
    assert_eq!(api.call("GET", "/").body, "2");
}

#[test]
fn only_configured_sequences_exist() {
    let api = Api::new();
    for key in ["x", "Integers", "integers%00", "other,a", "%2E%2E", "a"] {
        for (method, end) in [("POST", "/next"), ("GET", ""), ("PUT", ""), ("HEAD", "")] {
            let answer = api.send(
                method,
                &format!("/v1/sequences/{key}{end}"),
                &[("authorization", "Bearer t0p")],
                "{\"last\":1}",
            );
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {key}");
        }
    }
    assert_eq!(api.changes(), 0);
}

#[test]
fn wrong_parameters_are_named_and_mint_nothing() {
    let api = Api::new();
    for (method, target, named) in [
        ("GET", "/?count=0", "1 to 100000"),
        ("GET", "/?count=100001", "`100001`"),
        ("POST", "/?count=x", "`x`"),
        ("GET", "/?Count=1", "`Count`"),
        ("GET", "/?count=1&count=2", "twice"),
        ("GET", "/?strings=true", "`strings`"),
        ("GET", "/last?count=1", "`count`"),
        ("GET", "/ping?x", "`x`"),
        ("GET", "/healthz?verbose=1", "`verbose`"),
        ("GET", "/openapi.json?v=3", "`v`"),
        ("GET", "/v1/sequences/integers?strings=yes", "`yes`"),
        ("POST", "/v1/sequences/integers/next?n=5", "`n`"),
    ] {
        let answer = api.call(method, target);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{target}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(named), "{target}: {detail}");
    }
    let put = api.put("/v1/sequences/integers?last=5", "{\"last\":5}");
    assert_eq!(put.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.changes(), 0);
}

#[test]
fn raising_a_sequence() {
    let api = Api::new();
    let path = "/v1/sequences/other";
    for (body, last) in [
        ("{\"last\": 10}", 10),
        ("{\"last\": 10}", 10),
        (
            "{\"last\": \"9007199254740993\"}",
            9_007_199_254_740_993_i64,
        ),
    ] {
        let answer = api.put(path, body);
        assert_eq!(
            answer.json(),
            json!({"key": "other", "last": last, "increment": 2, "offset": 0})
        );
    }
    let conflict = api.put(path, "{\"last\": 9}");
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert_eq!(conflict.code(), "too-small");
    assert_eq!(conflict.json()["current"], 9_007_199_254_740_993_i64);
    let conflict = api.put(&format!("{path}?strings=true"), "{\"last\": 9}");
    assert_eq!(conflict.json()["current"], "9007199254740993");
    assert_eq!(
        api.call("GET", "/last").status,
        StatusCode::NOT_FOUND,
        "another sequence"
    );
}

#[test]
fn bodies_that_are_not_accepted_change_nothing() {
    let api = Api::new();
    let path = "/v1/sequences/integers";
    for body in [
        "",
        "5",
        "{}",
        "{\"last\":1.5}",
        "{\"last\":-1}",
        "{\"last\":1,\"x\":2}",
    ] {
        assert_eq!(
            api.put(path, body).status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
    let long = format!("{{\"last\":1}}{}", " ".repeat(4096));
    assert_eq!(api.put(path, &long).status, StatusCode::PAYLOAD_TOO_LARGE);
    let token = ("authorization", "Bearer t0p");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let answer = api.send("PUT", path, &[token, form], "{\"last\":1}");
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(api.changes(), 0);
    // Without a content type, the body is read as JSON.
    assert_eq!(
        api.send("PUT", path, &[token], "{\"last\":1}").status,
        StatusCode::OK
    );
    assert_eq!(api.app.body_bytes(&Method::PUT), 4097);
    assert_eq!(api.app.body_bytes(&Method::POST), 0);
}
