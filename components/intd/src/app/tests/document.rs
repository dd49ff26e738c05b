//! Checks of the OpenAPI document.

use super::super::OPENAPI;
use super::Api;
use crate::route::Route;
use serde_json::{Value, json};

#[test]
fn the_document_and_the_router_know_the_same() {
    oas3::from_json(OPENAPI).unwrap();
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let with_key = path.replace("{key}", "x");
        let route = Route::find(&with_key).unwrap();
        assert_eq!(route.template(), path);
        let mut methods: Vec<_> = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "parameters")
            .map(|name| name.to_ascii_uppercase())
            .collect();
        methods.sort_unstable();
        assert_eq!(methods.join(", "), route.allow(), "{path}");
        for operation in item.as_object().unwrap() {
            let takes = route.takes();
            let has = |name| {
                operation.1["parameters"].as_array().is_some_and(|all| {
                    all.iter()
                        .any(|p| p["$ref"] == format!("#/components/parameters/{name}"))
                })
            };
            if operation.0 != "parameters" {
                assert_eq!(
                    (has("count"), has("strings"), has("after"), has("limit")),
                    (takes.count, takes.strings, takes.page, takes.page),
                    "{path}"
                );
            }
        }
    }
    let routes = [
        Route::Root,
        Route::Last,
        Route::Ping,
        Route::Healthz,
        Route::OpenApi,
        Route::Sequences,
        Route::Next("x".into()),
        Route::Sequence("x".into()),
    ];
    for route in &routes {
        assert!(paths.contains_key(route.template()), "{route:?}");
    }
    assert_eq!(paths.len(), routes.len());
}

/// Every reference resolves, and every example matches its schema.
#[test]
fn the_document_holds_together() {
    fn walk(api: &Api, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(pointer) = map.get("$ref").and_then(Value::as_str) {
                    assert!(
                        api.document
                            .pointer(pointer.trim_start_matches('#'))
                            .is_some(),
                        "{pointer}"
                    );
                }
                if let (Some(schema), Some(Value::Object(examples))) =
                    (map.get("schema"), map.get("examples"))
                {
                    for example in examples.values() {
                        api.validate(schema, &example["value"]);
                    }
                }
                map.values().for_each(|value| walk(api, value));
            }
            Value::Array(all) => all.iter().for_each(|value| walk(api, value)),
            _ => {}
        }
    }
    let api = Api::new();
    walk(&api, &api.document);
    // The codes are those of the error answers.
    let codes = &api.document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert_eq!(codes.as_array().map(Vec::len), Some(21));
}

/// Who may do what, and how it is said.
#[test]
fn the_document_describes_tokens_and_limits() {
    let api = Api::new();
    let schemes = &api.document["components"]["securitySchemes"];
    for name in ["mint", "admin", "token"] {
        assert_eq!(schemes[name]["type"], "http", "{name}");
        assert_eq!(schemes[name]["scheme"], "bearer", "{name}");
    }
    let paths = &api.document["paths"];
    for (path, method, security) in [
        ("/", "get", Some(json!([{}, {"mint": []}, {"token": []}]))),
        ("/", "post", Some(json!([{}, {"mint": []}, {"token": []}]))),
        (
            "/v1/sequences/{key}/next",
            "post",
            Some(json!([{}, {"mint": []}, {"token": []}])),
        ),
        (
            "/v1/sequences",
            "get",
            Some(json!([{}, {"mint": []}, {"token": []}])),
        ),
        ("/last", "get", Some(json!([{}, {"token": []}]))),
        (
            "/v1/sequences/{key}",
            "get",
            Some(json!([{}, {"token": []}])),
        ),
        (
            "/v1/sequences/{key}",
            "put",
            Some(json!([{"admin": []}, {"token": []}])),
        ),
        ("/ping", "get", None),
        ("/healthz", "get", None),
        ("/openapi.json", "get", None),
    ] {
        let operation = &paths[path][method];
        assert_eq!(
            operation.get("security"),
            security.as_ref(),
            "{method} {path}"
        );
        let limited = &operation["responses"]["429"];
        match security {
            None => assert!(limited.is_null(), "{method} {path}"),
            Some(_) => {
                let limited = api.resolve(limited);
                let header = api.resolve(&limited["headers"]["Retry-After"]);
                assert_eq!(header["schema"]["minimum"], 1, "{method} {path}");
                let types = limited["content"].as_object().expect("a body");
                assert!(types.contains_key("application/problem+json"));
            }
        }
    }
}
