//! What the paths answer.

use super::*;

#[test]
fn text_is_as_the_original_gave_it() -> TestResult {
    let serving = memory(&[])?;
    assert_eq!(serving.get("/last")?.status, 404);
    assert_eq!(serving.get("/healthz")?.status, 200);
    assert_eq!(serving.get("/")?.body, "2");
    assert_eq!(serving.request("POST", "/", &[], "")?.body, "4");
    assert_eq!(serving.get("/?count=1")?.body, "6");
    assert_eq!(serving.get("/?count=3")?.body, "8\n10\n12\n");
    let last = serving.get("/last")?;
    assert_eq!((last.status, last.body.as_str()), (200, "12"));
    assert_eq!(last.header("cache-control"), "no-store");
    assert_eq!(serving.get("/ping")?.body, "PONG");
    let many = serving.get("/?count=100000")?.body;
    assert_eq!(many.lines().count(), 100_000);
    assert!(
        many.lines()
            .zip((14u64..).step_by(2))
            .all(|(line, n)| line == n.to_string())
    );
    Ok(())
}

#[test]
fn json_for_programs() -> TestResult {
    let serving = memory(&["--keys", "b,a/ü", "--increment", "5", "--offset", "2"])?;
    let next = "/v1/sequences/integers/next";
    let answer = serving.request("POST", &format!("{next}?count=3"), &[], "")?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        answer.json(),
        json!({"key": "integers", "first": 2, "step": 5, "count": 3})
    );
    let answer = serving.get("/v1/sequences/integers")?;
    assert_eq!(answer.header("cache-control"), "no-store");
    let last = answer.json()["last"].as_i64().expect("an integer");
    assert!((12..17).contains(&last), "{last}");
    assert_eq!(answer.json()["increment"], 5);
    assert_eq!(answer.json()["offset"], 2);
    // Another sequence, from which nothing was minted.
    let answer = serving.get("/v1/sequences/a%2F%C3%BC")?;
    assert_eq!(
        answer.json(),
        json!({"key": "a/ü", "last": null, "increment": 5, "offset": 2})
    );
    let answer = serving.request("POST", "/v1/sequences/b/next", &[], "")?;
    assert_eq!(answer.json()["first"], 2);
    // Requests for unknown keys create no sequence.
    for path in ["/v1/sequences/stranger/next", "/v1/sequences/B/next"] {
        let answer = serving.request("POST", path, &[], "")?;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["status"], 404);
    }
    Ok(())
}

#[test]
fn integers_beyond_doubles_are_exact_and_can_be_strings() -> TestResult {
    let top = (1i64 << 53) + 1;
    let serving = memory(&["--set-last-int", &top.to_string()])?;
    let next = "/v1/sequences/integers/next?strings=true";
    let answer = serving.request("POST", next, &[], "")?.json();
    assert_eq!(answer["first"], "9007199254740994");
    assert_eq!(serving.get("/")?.integer(), top + 3);
    let state = serving.get("/v1/sequences/integers?strings=true")?.json();
    assert_eq!(state["last"], "9007199254740997");
    Ok(())
}

#[test]
fn every_other_path_and_method_mints_nothing() -> TestResult {
    let serving = memory(&[])?;
    for path in [
        "/favicon.ico",
        "/index.html",
        "/robots.txt",
        "/1",
        "//",
        "/last/",
        "/LAST",
        "/v1",
        "/v1/sequences/",
        "/v1/sequences/integers/",
        "/%2e",
        "/v1/sequences/integers/next/next",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = serving.request(method, path, &[], "")?;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    for (path, allowed) in [
        ("/", "GET, POST"),
        ("/last", "GET, HEAD"),
        ("/ping", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/v1/sequences", "GET, HEAD"),
        ("/v1/sequences/integers/next", "POST"),
        ("/v1/sequences/integers", "GET, HEAD, PUT"),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW",
        ] {
            if allowed.split(", ").any(|known| known == method) {
                continue;
            }
            let answer = serving.request(method, path, &[], "")?;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
    }
    for query in [
        "count=0",
        "count=100001",
        "count=-1",
        "count=x",
        "count=",
        "count=1&count=2",
        "cuont=2",
    ] {
        let answer = serving.get(&format!("/?{query}"))?;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(serving.get("/last")?.status, 404, "nothing was minted");
    Ok(())
}

/// Every operation in the OpenAPI description exists and answers as described, and every known path is in it.
#[test]
fn the_description_is_correct() -> TestResult {
    let serving = memory(&["--admin-token", TOKEN])?;
    let description = serving.get("/openapi.json")?;
    assert_eq!(description.header("content-type"), "application/json");
    let description = description.json();
    let version = description["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3."), "{version}");
    let paths = description["paths"].as_object().expect("paths");
    let mut operations = 0;
    for (path, about) in paths {
        let real = path.replace("{key}", "integers");
        for (method, operation) in about.as_object().expect("operations") {
            if !["get", "head", "post", "put", "delete", "patch", "options"]
                .contains(&method.as_str())
            {
                continue;
            }
            operations += 1;
            let responses = operation["responses"].as_object().expect("responses");
            let authorization = bearer(TOKEN);
            let headers = [
                ("authorization", authorization.as_str()),
                ("content-type", "application/json"),
            ];
            let body = if method == "put" {
                r#"{"last": 1000}"#
            } else {
                ""
            };
            let answer = serving.request(&method.to_uppercase(), &real, &headers, body)?;
            let status = answer.status.to_string();
            let documented = responses.get(&status).or_else(|| responses.get("default"));
            let documented =
                documented.unwrap_or_else(|| panic!("{method} {path}: {status} is not documented"));
            let content = documented["content"].as_object();
            if let Some(content) = content {
                let kind = answer.header("content-type");
                assert!(
                    content.contains_key(kind),
                    "{method} {path}: {kind} is not documented"
                );
            }
            let wrong = serving.request(
                &method.to_uppercase(),
                &format!("{real}?nonsense=1"),
                &headers,
                body,
            )?;
            if wrong.status == 400 {
                assert!(
                    responses.contains_key("400") || responses.contains_key("default"),
                    "{method} {path}: 400 is not documented"
                );
            }
        }
    }
    assert!(operations >= 8, "{operations}");
    for path in [
        "/",
        "/last",
        "/ping",
        "/healthz",
        "/v1/sequences",
        "/v1/sequences/{key}",
        "/v1/sequences/{key}/next",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    let root = &paths["/"]["get"]["responses"]["200"];
    assert!(root["content"]["text/plain"].is_object(), "{root}");
    Ok(())
}
