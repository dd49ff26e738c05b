//! Who may mint and raise, and what nobody is told.

use super::*;

#[test]
fn raising_needs_the_admin_token_and_never_lowers() -> TestResult {
    let serving = memory(&["--admin-token", TOKEN])?;
    let path = "/v1/sequences/integers";
    let put = |token: Option<&str>, body: &str| {
        let authorization = token.map(bearer);
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(
            authorization
                .as_deref()
                .map(|value| ("authorization", value)),
        );
        serving.request("PUT", path, &headers, body)
    };
    let body = json!({"last": 1000}).to_string();
    for token in [None, Some("wrong"), Some(""), Some(&TOKEN[1..])] {
        let answer = put(token, &body)?;
        assert_eq!(answer.status, 401, "{token:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(put(Some(TOKEN), &body)?.status, 200);
    assert_eq!(serving.get("/last")?.body, "1000");
    assert_eq!(
        put(Some(TOKEN), &body)?.status,
        200,
        "the current value again"
    );
    let answer = put(Some(TOKEN), &json!({"last": 999}).to_string())?;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["current"], 1000);
    for bad in [
        "",
        "{}",
        "[]",
        "1000",
        r#"{"last": -1}"#,
        r#"{"last": 1.5}"#,
        r#"{"last": 1e3}"#,
        r#"{"last": 9223372036854775808}"#,
        r#"{"last": "many"}"#,
        r#"{"last": null}"#,
        r#"{"last": 1001, "last": 5}"#,
        r#"{"lst": 1001}"#,
        r#"{"last": 2000"#,
    ] {
        let answer = put(Some(TOKEN), bad)?;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
    }
    let long = format!("{{\"last\": 2000{}}}", " ".repeat(1 << 20));
    let answer = put(Some(TOKEN), &long)?;
    assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
    assert_eq!(serving.get("/last")?.body, "1000");
    assert_eq!(serving.get("/")?.integer(), 1002);
    let exact = (1i64 << 53) + 1;
    assert_eq!(
        put(Some(TOKEN), &json!({"last": exact}).to_string())?.status,
        200
    );
    assert_eq!(serving.get("/last")?.integer(), exact);
    let (_, log) = serving.stop()?;
    assert!(!log.contains(TOKEN), "{log}");
    assert_eq!(log.matches("a sequence was raised").count(), 3, "{log}");
    assert!(
        log.contains(&format!("key=\"integers\" last={exact}")),
        "{log}"
    );

    // Without a configured token nobody may raise.
    let open = memory(&[])?;
    let answer = open.request("PUT", path, &[("authorization", &bearer(TOKEN))], &body)?;
    assert_eq!(answer.status, 403);
    let answer = open.request("PUT", path, &[("authorization", "Bearer ")], &body)?;
    assert_eq!(answer.status, 403);
    Ok(())
}

#[test]
fn minting_can_need_a_token() -> TestResult {
    let serving = memory(&["--mint-token", TOKEN])?;
    let minting = [
        ("GET", "/"),
        ("POST", "/"),
        ("POST", "/v1/sequences/integers/next"),
    ];
    for (method, path) in minting {
        assert_eq!(
            serving.request(method, path, &[], "")?.status,
            401,
            "{path}"
        );
        for wrong in ["Bearer wrong", "Basic eA==", TOKEN] {
            let answer = serving.request(method, path, &[("authorization", wrong)], "")?;
            assert_eq!(answer.status, 401, "{path}, {wrong}");
        }
    }
    assert_eq!(serving.get("/last")?.status, 404, "nothing was minted");
    for (method, path) in minting {
        let answer = serving.request(method, path, &[("authorization", &bearer(TOKEN))], "")?;
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(serving.get("/ping")?.status, 200);
    Ok(())
}

#[test]
fn other_sites_pages_are_let_in_only_when_configured() -> TestResult {
    let origin = ("origin", "https://example.com");
    let closed = memory(&[])?;
    let answer = closed.request("GET", "/ping", &[origin], "")?;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let open = memory(&["--cors-origin", "https://example.com"])?;
    let answer = open.request("GET", "/ping", &[origin], "")?;
    assert_eq!(answer.header("access-control-allow-origin"), origin.1);
    let other = ("origin", "https://example.org");
    let answer = open.request("GET", "/ping", &[other], "")?;
    assert_ne!(answer.header("access-control-allow-origin"), other.1);
    let asked = ("access-control-request-method", "POST");
    let answer = open.request("OPTIONS", "/", &[origin, asked], "")?;
    assert!(answer.status < 300);
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("POST")
    );
    Ok(())
}

#[test]
fn no_password_is_logged_or_answered() -> TestResult {
    let port = testbed::port::free()?;
    let dsn = format!("redis://user:{PASSWORD}@127.0.0.1:{port}?timeout=300ms");
    let place = Place::new()?;
    let mut command = place.command(&[
        "serve",
        "--port",
        "0",
        "--engine",
        "redis",
        "--log-requests",
    ])?;
    command.env("ARTISANAL_DSN", &dsn).env("RUST_LOG", "trace");
    command.env("ARTISANAL_ADMIN_TOKEN", TOKEN);
    let serving = Serving::start(command)?;
    for path in ["/", "/last", "/healthz"] {
        let answer = serving.get(path)?;
        assert_eq!(answer.status, 503);
        assert!(!answer.body.contains(PASSWORD), "{}", answer.body);
    }
    let (_, log) = serving.stop()?;
    assert!(!log.contains(PASSWORD) && !log.contains(TOKEN), "{log}");
    Ok(())
}
