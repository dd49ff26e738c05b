//! Requests and their answers, each of which must match `/openapi.json`.

mod access;
mod document;
mod keys;
mod repeatable;
mod routes;

use super::{App, OPENAPI};
use crate::route::Route;
use crate::{Cause, Content, Settings};
use artisanal_core::{Error, Lattice, Sequence, Span};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A sequence in a cell, with errors on demand.
#[derive(Default)]
struct Cells {
    last: Cell<i64>,
    fail: RefCell<Option<Error>>,
    /// The number of mints and raises.
    changes: Cell<usize>,
}

impl Cells {
    fn check(&self) -> Result<(), Error> {
        self.fail.borrow().clone().map_or(Ok(()), Err)
    }
}

impl Sequence for Cells {
    async fn next(&self, count: u32) -> Result<Span, Error> {
        self.changes.set(self.changes.get() + 1);
        self.check()?;
        let first = self.last.get().checked_add(2);
        let span = first
            .and_then(|first| Span::checked(first, 2, count))
            .ok_or_else(|| Error::Exhausted("full".into()))?;
        self.last.set(span.last());
        Ok(span)
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        self.check()?;
        Ok(Some(self.last.get()).filter(|last| *last > 0))
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.changes.set(self.changes.get() + 1);
        self.check()?;
        match self.last.get() {
            last if last > value => Err(Error::TooSmall(last)),
            _ => {
                self.last.set(value);
                Ok(())
            }
        }
    }

    async fn lattice(&self) -> Result<Lattice, Error> {
        Lattice::new(2, 0)
    }
}

/// The whole body of an answer, for comparison.
fn read(mut content: Content) -> Bytes {
    let pieces = std::iter::from_fn(|| content.next_piece());
    pieces.collect::<Vec<_>>().concat().into()
}

struct Api {
    app: App<Rc<Cells>>,
    document: Value,
}

/// An answer that was already compared with the document.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    /// The details for the log.
    cause: Option<Cause>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The error code.
    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl Api {
    fn with(pairs: &[(&str, &str)]) -> Self {
        let settings = Settings::from_lookup(|name| {
            pairs
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let app = App::new(settings.unwrap(), |_| Rc::default());
        Self {
            app: app.opening(false, |_| Box::pin(async { Ok(Rc::default()) })),
            document: serde_json::from_str(OPENAPI).unwrap(),
        }
    }

    fn new() -> Self {
        Self::with(&[("keys", "other,a/b é"), ("admin_token", "t0p")])
    }

    fn cells(&self, key: &str) -> &Cells {
        self.app.sequence(key).unwrap()
    }

    fn changes(&self) -> usize {
        let keys = std::iter::once(&self.app.settings().key).chain(&self.app.settings().keys);
        keys.map(|key| self.cells(key).changes.get()).sum()
    }

    fn call(&self, method: &str, target: &str) -> Answer {
        self.send(method, target, &[], "")
    }

    fn put(&self, target: &str, body: &str) -> Answer {
        let headers = [
            ("authorization", "Bearer t0p"),
            ("content-type", "application/json"),
        ];
        self.send("PUT", target, &headers, body)
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let response = futures::executor::block_on(self.app.handle(&parts, body));
        let response = response.map(read);
        self.compare(&parts.method, parts.uri.path(), &response);
        let (mut parts, body) = response.into_parts();
        Answer {
            cause: parts.extensions.remove(),
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Panics unless the document describes this answer.
    fn compare(&self, method: &Method, path: &str, response: &Response<Bytes>) {
        let Some(route) = Route::find(path) else {
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            self.problem(response);
            return;
        };
        let item = &self.document["paths"][route.template()];
        let operation = &item[method.as_str().to_ascii_lowercase()];
        if operation.is_null() || method.as_str().contains(char::is_lowercase) {
            if *method == Method::OPTIONS && response.status() == StatusCode::NO_CONTENT {
                return;
            }
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            return self.problem(response);
        }
        let described = self.resolve(&operation["responses"][response.status().as_str()]);
        assert!(
            described.is_object(),
            "{method} {path} {}",
            response.status()
        );
        let headers = described["headers"].as_object().unwrap();
        for (name, header) in headers {
            let value = response
                .headers()
                .get(name)
                .unwrap_or_else(|| panic!("{method} {path} has no {name}"));
            let schema = &self.resolve(header)["schema"];
            let value = value.to_str().unwrap();
            let value = match schema["type"].as_str() {
                Some("integer") => json!(value.parse::<i64>().unwrap()),
                _ => json!(value),
            };
            self.validate(schema, &value);
        }
        if *method == Method::HEAD {
            return;
        }
        let kind = response.headers()["content-type"].to_str().unwrap();
        let schema = &described["content"][kind]["schema"];
        assert!(schema.is_object(), "{method} {path} {kind}");
        let text = std::str::from_utf8(response.body()).unwrap();
        let value = if kind.ends_with("json") {
            serde_json::from_str(text).unwrap()
        } else {
            json!(text)
        };
        self.validate(schema, &value);
        if kind == "application/problem+json" {
            assert_eq!(value["status"], response.status().as_u16());
        }
    }

    fn problem(&self, response: &Response<Bytes>) {
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.headers()["cache-control"], "no-store");
        let value = serde_json::from_slice(response.body()).unwrap();
        self.validate(&json!({"$ref": "#/components/schemas/Problem"}), &value);
        assert_eq!(value["status"], response.status().as_u16());
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
}
