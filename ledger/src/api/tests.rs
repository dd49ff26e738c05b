//! Requests and their answers, each of which must match `/openapi.json`.

use super::route::Route;
use super::{Api, MAX_BODY, OPENAPI};
use crate::Store;
use crate::endpoint::Endpoint;
use crate::event::{Event, Lost, Mint, Payload, Raise};
use crate::frame::{Batch, VERSION};
use crate::reducer::native::reducers;
use bytes::Bytes;
use futures::future::poll_fn;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use serde_json::{Value, json};
use std::pin::Pin;
use tempfile::TempDir;
use tokio::sync::watch;

pub(super) fn mint(first: i64, count: u32) -> Payload {
    Payload::Mint(Mint {
        first,
        step: 2,
        count,
    })
}

/// A store with the events of one publisher, and its directory.
pub(super) async fn holding(events: Vec<Event>) -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), crate::store::Options::default()).unwrap();
    let batch = Batch {
        version: VERSION,
        publisher: 1,
        first: 1,
        events,
        ..Batch::default()
    };
    store.add(batch).await.unwrap();
    (directory, store)
}

struct Ledger {
    api: Api,
    document: Value,
    _stop: watch::Sender<bool>,
    _directory: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Ledger {
    /// A ledger with some events of the key `a`.
    async fn new() -> Self {
        let lost = Lost {
            events: 1,
            integers: 1,
            first: 32,
            last: 34,
        };
        let facts = [
            mint(10, 3),
            mint(20, 1),
            mint(20, 1),
            Payload::Lost(lost),
            Payload::Raise(Raise { last: 50 }),
            mint(52, 1),
        ];
        let events = facts.map(|fact| Event {
            key: "a".into(),
            at: 1_700_000_000_000_000,
            by: "client".into(),
            request: "r".into(),
            payload: Some(fact),
            ..Event::default()
        });
        let (directory, store) = holding(events.into()).await;
        let (stop, stopping) = watch::channel(false);
        Self {
            api: Api::new(store, reducers(), stopping),
            document: serde_json::from_str(OPENAPI).unwrap(),
            _stop: stop,
            _directory: directory,
        }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "").await
    }

    async fn send(&self, method: &str, target: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(target);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let response = self.api.handle(&parts, body, "127.0.0.1:1").await;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        // Of an answer without an end, the first piece.
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
            if head.headers["content-type"] == "text/event-stream" {
                break;
            }
        }
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body: bytes.into(),
        };
        self.compare(method, parts.uri.path(), &answer);
        answer
    }

    /// Panics unless the document describes this answer.
    fn compare(&self, method: &str, path: &str, answer: &Answer) {
        let Ok(route) = Route::find(path) else {
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}");
            return self.problem(answer);
        };
        let operation = &self.document["paths"][pattern(&route)][method.to_ascii_lowercase()];
        if operation.is_null() {
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.headers["allow"], route.allow());
            return self.problem(answer);
        }
        let described = self.resolve(&operation["responses"][answer.status.as_str()]);
        assert!(described.is_object(), "{method} {path} {}", answer.status);
        for (name, header) in described["headers"].as_object().unwrap() {
            let value = answer.headers.get(name);
            let value = value.unwrap_or_else(|| panic!("{method} {path} has no {name}"));
            let schema = &self.resolve(header)["schema"];
            let value = value.to_str().unwrap();
            let value = match schema["type"].as_str() {
                Some("integer") => json!(value.parse::<i64>().unwrap()),
                _ => json!(value),
            };
            self.validate(schema, &value);
        }
        if method == "HEAD" {
            assert!(answer.body.is_empty());
            return;
        }
        let kind = answer.headers["content-type"].to_str().unwrap();
        let schema = &described["content"][kind]["schema"];
        assert!(schema.is_object(), "{method} {path} {kind}");
        if kind.ends_with("json") {
            self.validate(schema, &answer.json());
        }
        if kind == "application/problem+json" {
            self.problem(answer);
        }
    }

    fn problem(&self, answer: &Answer) {
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        // Of HEAD there is nothing more.
        if answer.body.is_empty() {
            return;
        }
        let value = answer.json();
        self.validate(&json!({"$ref": "#/components/schemas/Problem"}), &value);
        assert_eq!(value["status"], answer.status.as_u16());
    }

    fn validate(&self, schema: &Value, value: &Value) {
        let mut root = schema.clone();
        root["components"] = self.document["components"].clone();
        let validator = jsonschema::draft202012::new(&root).unwrap();
        if let Err(error) = validator.validate(value) {
            panic!("{value} is not {schema}: {error}");
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(pointer) => self
                .document
                .pointer(pointer.trim_start_matches('#'))
                .unwrap(),
            None => value,
        }
    }

    /// Every reference resolves, and every example matches its schema.
    fn walk(&self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(pointer) = map.get("$ref").and_then(Value::as_str) {
                    let target = self.document.pointer(pointer.trim_start_matches('#'));
                    assert!(target.is_some(), "{pointer}");
                }
                if let (Some(schema), Some(Value::Object(examples))) =
                    (map.get("schema"), map.get("examples"))
                {
                    for example in examples.values() {
                        self.validate(schema, &example["value"]);
                    }
                }
                map.values().for_each(|value| self.walk(value));
            }
            Value::Array(all) => all.iter().for_each(|value| self.walk(value)),
            _ => {}
        }
    }
}

/// The path as the document writes it. Exhaustive: a new route does not compile without one.
fn pattern(route: &Route) -> &'static str {
    match route {
        Route::Integer(..) => "/v1/integers/{key}/{integer}",
        Route::Gaps(_) => "/v1/keys/{key}/gaps",
        Route::Events(_) => "/v1/keys/{key}/events",
        Route::State(_) => "/v1/keys/{key}/state",
        Route::OpenApi => "/openapi.json",
        Route::Alive => "/v1.0/alive",
        Route::Stats => "/v1.0/stats",
        Route::Ingest => "/v1/ingest",
        Route::Backup => "/v1/backup",
        Route::Members => "/v1/members",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_described() {
    let ledger = Ledger::new().await;
    for (target, status) in [
        ("/v1/integers/a/10", 200),
        ("/v1/integers/a/20?strings=true", 200),
        ("/v1/integers/a/11", 200),
        ("/v1/integers/a/33", 200),
        ("/v1/integers/a/100", 200),
        ("/v1/integers/none/1", 200),
        ("/v1/integers/a/x", 400),
        ("/v1/integers/a/1?x=1", 400),
        ("/v1/keys/a/gaps", 200),
        ("/v1/keys/a/gaps?strings=true&limit=1", 200),
        ("/v1/keys/a/gaps?from=-1", 400),
        ("/v1/keys/a/events", 200),
        ("/v1/keys/a/events?strings=true&limit=2", 200),
        ("/v1/keys/none/events", 200),
        ("/v1/keys/a/events?follow=true", 200),
        ("/v1/keys/a/events?limit=0", 400),
        ("/v1/keys/a/state", 200),
        ("/v1/keys/none/state", 200),
        ("/v1/keys/a/state?reducer=list", 200),
        ("/v1/keys/a/state?reducer=nothing", 400),
        ("/v1/keys/a/state?reducer=fails", 502),
        ("/v1/keys/a/state?reducer=garbage", 502),
        ("/v1/keys/a/state?reducer=huge", 507),
        ("/v1/ingest", 426),
        ("/v1.0/ingest", 426),
        ("/v1/members", 200),
        ("/v1/members?partitions=true", 200),
        ("/v1/members?partitions=1", 400),
        ("/v1/backup", 200),
        ("/v1/backup?x=1", 400),
        ("/v1.0/alive", 200),
        ("/v1.0/stats", 200),
        ("/openapi.json", 200),
        ("/openapi.json?x=1", 400),
        ("/", 404),
        ("/v1/keys/a", 404),
    ] {
        assert_eq!(ledger.get(target).await.status, status, "{target}");
        // A stream has no HEAD of its own: the request ends at once.
        assert_eq!(
            ledger.send("HEAD", target, "").await.status,
            status,
            "{target}"
        );
        if !target.contains("/events") {
            let refused = ledger.send("POST", target, "").await;
            assert!(
                matches!(refused.status.as_u16(), 400 | 404 | 405),
                "{target}"
            );
        }
    }
    assert_eq!(ledger.get("/openapi.json").await.body, OPENAPI);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_described() {
    let ledger = Ledger::new().await;
    let long = "x".repeat(MAX_BODY + 1);
    for (body, status) in [
        (r#"{"kind":"k","payload":{"a":1},"expected":0}"#, 201),
        (r#"{"kind":"k","payload":null}"#, 201),
        (r#"{"kind":"k","payload":1,"expected":0}"#, 409),
        (r#"{"kind":"mint","payload":1}"#, 400),
        ("", 400),
        (&*long, 413),
    ] {
        let answer = ledger.send("POST", "/v1/keys/b/events", body).await;
        assert_eq!(answer.status, status, "{body}");
        if status == 409 {
            assert_eq!(answer.json()["current"], 2);
        }
    }
    let state = ledger.get("/v1/keys/b/state?reducer=list").await;
    assert_eq!(
        state.body,
        r#"{"key":"b","reducer":"list","number":2,"state":[{"a":1},null]}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_router_know_the_same() {
    oas3::from_json(OPENAPI).unwrap();
    let ledger = Ledger::new().await;
    assert_eq!(
        ledger.document["info"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    ledger.walk(&ledger.document);
    let paths = ledger.document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let route = Route::find(&path.replace("{key}", "x").replace("{integer}", "1")).unwrap();
        let known = pattern(&route);
        assert!(known == path || path == "/v1.0/ingest", "{path}");
        let mut methods: Vec<_> = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "parameters")
            .map(|name| name.to_ascii_uppercase())
            .collect();
        methods.sort_unstable();
        assert_eq!(methods.join(", "), route.allow(), "{path}");
        // What needs a token has the answers for that.
        for method in methods {
            let operation = &item[method.to_ascii_lowercase()];
            for status in ["401", "403", "429"] {
                let both = (
                    operation["security"].is_null(),
                    operation["responses"][status].is_null(),
                );
                assert!(both.0 == both.1, "{method} {path} {status}");
            }
            assert_eq!(
                operation["security"].is_null(),
                matches!(route, Route::Alive | Route::OpenApi),
                "{path}"
            );
        }
    }
    assert_eq!(paths.len(), 11);
}
