//! Authorization, CORS, and the answers to errors.

use super::{Api, read};
use crate::grant::{Grant, Right, Terms, Tokens};
use crate::rate::{Limit, Rates};
use crate::refuse;
use artisanal_core::Error;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use std::num::NonZeroU32;
use std::sync::Arc;

#[test]
fn the_admin_token() {
    let path = "/v1/sequences/integers";
    let without = Api::with(&[]);
    let answer = without.send(
        "PUT",
        path,
        &[("authorization", "Bearer t0p")],
        "{\"last\":1}",
    );
    assert_eq!(
        (answer.status, &*answer.code()),
        (StatusCode::FORBIDDEN, "forbidden")
    );
    assert_eq!(without.changes(), 0);
    let api = Api::with(&[("admin_token", "t0p"), ("mint_token", "m1nt")]);
    for wrong in [
        None,
        Some("t0p"),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer t0"),
        Some("Bearer t0p1"),
        Some("Bearer t0p t0p"),
        Some("Bearer T0P"),
        Some("Bearer m1nt"),
        Some("Basic t0p"),
        Some("Bearert0p"),
    ] {
        let headers: Vec<_> = wrong
            .iter()
            .map(|value| ("authorization", *value))
            .collect();
        let answer = api.send("PUT", path, &headers, "{\"last\":1}");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
        assert!(!answer.body.contains("t0p"), "{}", answer.body);
    }
    let twice = [
        ("authorization", "Bearer t0p"),
        ("authorization", "Bearer t0p"),
    ];
    assert_eq!(
        api.send("PUT", path, &twice, "{\"last\":1}").status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(api.changes(), 0);
    for right in ["Bearer t0p", "bearer t0p", "BEARER  t0p"] {
        let answer = api.send("PUT", path, &[("authorization", right)], "{\"last\":1}");
        assert_eq!(answer.status, StatusCode::OK, "{right}");
    }
}

#[test]
fn the_mint_token() {
    let api = Api::with(&[("mint_token", "m1nt")]);
    let minting = [
        ("GET", "/"),
        ("GET", "/?count=2"),
        ("POST", "/"),
        ("POST", "/v1/sequences/integers/next"),
    ];
    for (method, target) in minting {
        assert_eq!(api.call(method, target).status, StatusCode::UNAUTHORIZED);
        let wrong = api.send(method, target, &[("authorization", "Bearer mint")], "");
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    // A stranger is not told what else is wrong.
    for header in [("idempotency-key", "a"), ("content-length", "9")] {
        let path = "/v1/sequences/integers/next";
        let answer = api.send("POST", path, &[header], "{}");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{header:?}");
    }
    assert_eq!(api.changes(), 0);
    for (method, target) in minting {
        let right = api.send(method, target, &[("authorization", "Bearer m1nt")], "");
        assert_eq!(right.status, StatusCode::OK, "{method} {target}");
    }
    // Reading needs no token.
    for target in ["/last", "/ping", "/healthz", "/v1/sequences/integers"] {
        assert_eq!(api.call("GET", target).status, StatusCode::OK, "{target}");
    }
    assert!(!api.app.ignores_headers(&Method::GET));
    assert!(Api::new().app.ignores_headers(&Method::GET));
    // These may have an idempotency key, or a body.
    for method in [Method::PUT, Method::POST] {
        assert!(!Api::new().app.ignores_headers(&method));
    }
}

#[test]
fn errors_have_their_status() {
    let api = Api::new();
    let text = || "as the engine says of user@10.0.0.7".to_owned();
    for (error, status, code, retry) in [
        (Error::Invalid(text()), 400, "invalid", false),
        (Error::Exhausted(text()), 507, "exhausted", false),
        (Error::Denied(text()), 502, "denied", false),
        (Error::Unavailable(text()), 503, "unavailable", true),
        (Error::Other(text()), 502, "other", false),
        (Error::Busy, 503, "busy", true),
        (Error::Broken(text()), 502, "broken", false),
        (Error::Misconfigured(text()), 500, "misconfigured", false),
    ] {
        *api.cells("integers").fail.borrow_mut() = Some(error.clone());
        let put = ("PUT", "/v1/sequences/integers");
        for (method, target) in [("GET", "/"), ("POST", "/v1/sequences/integers/next"), put] {
            let answer = if method == "PUT" {
                api.put(target, "{\"last\":5}")
            } else {
                api.call(method, target)
            };
            assert_eq!(answer.status.as_u16(), status, "{error:?}");
            assert_eq!(answer.code(), code);
            let secret = !matches!(error, Error::Invalid(_) | Error::Exhausted(_) | Error::Busy);
            if secret {
                assert!(!answer.body.contains("10.0.0.7"), "{}", answer.body);
                let cause = answer.cause.clone().unwrap();
                assert_eq!((cause.code, &*cause.text), (code, &*error.to_string()));
                assert_eq!(answer.headers["x-request-id"], cause.id.as_str());
            } else {
                assert_eq!(answer.json()["detail"], error.to_string());
                assert!(answer.cause.is_none());
            }
            assert_eq!(answer.header("retry-after").is_some(), retry, "{error:?}");
        }
        let health = api.call("GET", "/healthz");
        assert_eq!((health.status.as_u16(), &*health.code()), (503, code));
        assert_eq!(health.header("retry-after"), Some("1"));
        assert_eq!(api.call("GET", "/ping").body, "PONG");
    }
    let refused = refuse(Error::Misconfigured(text()), &HeaderMap::new()).map(read);
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    api.problem(&refused);
}

#[test]
fn other_origins_are_let_in_only_when_configured() {
    let origin = ("origin", "https://a.example");
    let closed = Api::new();
    let answer = closed.send("GET", "/", &[origin], "");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), None);
    assert_eq!(
        closed.send("OPTIONS", "/", &[origin], "").status,
        StatusCode::METHOD_NOT_ALLOWED
    );

    let open = Api::with(&[("cors_origin", "https://a.example"), ("admin_token", "t0p")]);
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("PUT", "/v1/sequences/integers"),
        ("DELETE", "/"),
    ] {
        let answer = open.send(method, target, &[origin], "");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://a.example")
        );
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    let other = open.send("GET", "/", &[("origin", "https://b.example")], "");
    assert_eq!(other.header("access-control-allow-origin"), None);
    let minted = open.changes();
    let asking = [
        origin,
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = open.send("OPTIONS", "/v1/sequences/integers", &asking, "");
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        Some("GET, HEAD, PUT")
    );
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("Authorization, Content-Type, Idempotency-Key")
    );
    assert_eq!(preflight.header("allow"), Some("GET, HEAD, PUT, OPTIONS"));
    assert_eq!(
        open.call("OPTIONS", "/nothing").status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        open.call("DELETE", "/").header("allow"),
        Some("GET, POST, OPTIONS")
    );
    assert_eq!(open.changes(), minted);
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let api = Api::with(&[("answer_memory", "40000")]);
    let long = |target: &str| {
        let (parts, ()) = Request::get(target).body(()).unwrap().into_parts();
        futures::executor::block_on(api.app.handle(&parts, Bytes::new()))
    };
    let (first, second) = (long("/?count=100000"), long("/?count=1000"));
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let minted = api.changes();
    for target in ["/?count=100000", "/?count=400"] {
        let busy = api.call("GET", target);
        assert_eq!((busy.status.as_u16(), &*busy.code()), (503, "busy"));
        assert_eq!(busy.header("retry-after"), Some("1"));
    }
    assert_eq!(api.changes(), minted, "refused before anything is minted");
    // Small answers, and requests that need no memory, are not refused.
    assert_eq!(api.call("GET", "/?count=5").status, StatusCode::OK);
    assert_eq!(api.call("GET", "/").status, StatusCode::OK);
    let json = api.call("POST", "/v1/sequences/integers/next?count=100000");
    assert_eq!(json.status, StatusCode::OK);
    drop(first);
    assert_eq!(api.call("GET", "/?count=100000").status, StatusCode::OK);
}

#[test]
fn errors_have_the_name_of_their_request() {
    let api = Api::new();
    *api.cells("integers").fail.borrow_mut() = Some(Error::Unavailable("away".into()));
    let requests = [
        ("GET", "/", 503),
        ("GET", "/?count=2", 503),
        ("GET", "/healthz", 503),
        ("GET", "/?count=0", 400),
        ("GET", "/nowhere", 404),
        ("PATCH", "/last", 405),
        ("PUT", "/v1/sequences/integers", 401),
    ];
    let mut fresh = std::collections::BTreeSet::new();
    for (method, target, status) in requests {
        let sent = [("x-request-id", "mine-1")];
        let answer = api.send(method, target, &sent, "");
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("x-request-id"), Some("mine-1"));
        assert_eq!(answer.json()["request_id"], "mine-1");
        for bad in [&[][..], &[("x-request-id", "not mine")]] {
            let answer = api.send(method, target, bad, "");
            let id = answer.header("x-request-id").unwrap().to_owned();
            assert_eq!(answer.json()["request_id"], *id);
            assert!(fresh.insert(id), "each has its own");
        }
    }
    let well = api.send("GET", "/ping", &[("x-request-id", "mine-1")], "");
    assert_eq!(well.header("x-request-id"), None);
}

/// A file of tokens that has one.
struct OneToken(Arc<Grant>);

impl Tokens for OneToken {
    fn find(&self, presented: &[u8]) -> Option<Arc<Grant>> {
        (presented == b"s3cret").then(|| Arc::clone(&self.0))
    }

    fn renew(&self, _: &Grant) -> Option<Arc<Grant>> {
        Some(Arc::clone(&self.0))
    }

    fn limited(&self, _: &Grant, _: Limit) {}
}

/// The document describes each of these answers: a test compares them when they are made.
#[test]
fn answers_to_named_tokens_are_as_described() {
    let requests = [
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/?count=2"),
        ("GET", "/last"),
        ("HEAD", "/last"),
        ("GET", "/v1/sequences"),
        ("HEAD", "/v1/sequences"),
        ("GET", "/v1/sequences/integers"),
        ("HEAD", "/v1/sequences/integers"),
        ("PUT", "/v1/sequences/integers"),
        ("POST", "/v1/sequences/integers/next"),
    ];
    let token = [
        ("authorization", "Bearer s3cret"),
        ("content-type", "application/json"),
    ];
    for (rights, status) in [(Right::ALL.to_vec(), 429), (Vec::new(), 403)] {
        for (method, target) in requests {
            let mut api = Api::with(&[]);
            let grant = Grant::new(Terms {
                name: "billing".into(),
                id: [7; 32],
                keys: vec!["integers".into()],
                patterns: Vec::new(),
                rights: rights.clone(),
                rates: Rates {
                    requests: NonZeroU32::new(1),
                    integers: None,
                },
            });
            api.app = api.app.with_tokens(Arc::new(OneToken(Arc::new(grant))));
            let nobody = api.send(method, target, &[], "{\"last\":1}");
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {target}");
            let _first = api.send(method, target, &token, "{\"last\":1}");
            let changes = api.changes();
            let answer = api.send(method, target, &token, "{\"last\":1}");
            assert_eq!(answer.status, status, "{method} {target}");
            let seconds = (status == 429).then_some("1");
            assert_eq!(answer.header("retry-after"), seconds, "{method} {target}");
            if method != "HEAD" {
                let code = if status == 429 {
                    "limited"
                } else {
                    "forbidden"
                };
                assert_eq!(answer.code(), code, "{method} {target}");
            }
            assert_eq!(api.changes(), changes, "{method} {target}");
        }
    }
}
