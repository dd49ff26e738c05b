//! A ledger that wants tokens.

use testbed::cli::{Outcome, Place, Serving};
use testbed::{TestResult, port};

/// Makes a token; its entry is added to `entries`.
fn make(place: &Place, entries: &mut String, arguments: &[&str]) -> TestResult<String> {
    let made: Outcome = place.run(&[&["token", "new"], arguments].concat())?;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    *entries += &made.stdout;
    Ok(made.stderr.lines().last().expect("the token").to_owned())
}

#[test]
fn each_token_allows_what_its_entry_says() -> TestResult {
    let place = Place::new()?;
    let mut entries = String::new();
    let all = make(
        &place,
        &mut entries,
        &["--name", "all", "--keys", "*", "--rights", "mint,read"],
    )?;
    let reader = make(
        &place,
        &mut entries,
        &["--name", "reader", "--keys", "*", "--rights", "read"],
    )?;
    let orders = make(
        &place,
        &mut entries,
        &[
            "--name",
            "orders",
            "--keys",
            "orders-*",
            "--rights",
            "mint,read",
        ],
    )?;
    let file = place.file("tokens.toml");
    std::fs::write(&file, entries).expect("written");
    let (file, port) = (file.display().to_string(), port::free()?.to_string());
    let arguments = [
        "ledger",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--tokens",
        &file,
    ];
    let ledger = Serving::start(place.command(&arguments)?)?;
    let url = format!("ws://127.0.0.1:{port}");
    // Without its token a server cannot publish.
    let publish = [
        "--ledger",
        &*url,
        "--ledger-policy",
        "strict",
        "--engine",
        "memory",
    ];
    let stranger = place.serve(&publish)?;
    assert_eq!(stranger.get("/")?.status, 503);
    let serving = place.serve(&[&publish[..], &["--ledger-token", &all]].concat())?;
    assert_eq!(serving.get("/")?.integer(), 2);
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        let answer = ledger.request(method, path, &[("authorization", bearer.as_str())], body)?;
        testbed::ledger::check_described(method, path, &answer);
        Ok::<_, testbed::Error>(answer)
    };
    let event = r#"{"kind":"n","payload":1}"#;
    for (method, path, token, status) in [
        ("GET", "/v1.0/alive", "wrong", 200),
        ("GET", "/openapi.json", "wrong", 200),
        ("GET", "/v1.0/stats", "wrong", 401),
        ("GET", "/v1/integers/integers/2", "wrong", 401),
        ("GET", "/v1/integers/integers/2", &*reader, 200),
        ("GET", "/v1/integers/integers/2", &*orders, 403),
        ("GET", "/v1/keys/orders-7/events", &*orders, 200),
        ("POST", "/v1/keys/orders-7/events", &*reader, 403),
        ("POST", "/v1/keys/orders-7/events", &*orders, 201),
        ("POST", "/v1/keys/other/events", &*orders, 403),
        ("POST", "/v1/keys/other/events", &*all, 201),
        ("GET", "/v1/backup", &*orders, 403),
        ("GET", "/v1/backup", "wrong", 401),
        ("GET", "/v1/ingest", &*reader, 403),
        ("GET", "/v1/ingest", &*all, 426),
        ("GET", "/nothing", "wrong", 401),
    ] {
        let answer = ask(method, path, token, event)?;
        assert_eq!(
            answer.status, status,
            "{method} {path} {token}: {}",
            answer.body
        );
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    let events = ask("GET", "/v1/keys/orders-7/events", &reader, "")?.json();
    assert_eq!(events["events"][0]["by"], "orders");
    let backup = ["ledger", "backup", "--host", "127.0.0.1", "--port", &port];
    place.run(&backup)?.assert_failed(5, &["--ledger-token"]);
    Ok(())
}
