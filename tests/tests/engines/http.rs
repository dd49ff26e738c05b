//! The engine `http`: lattices, tokens and keys of a real server, and servers that answer something else.

use crate::{assert_fails, mint, open};
use int_host::{Builtin, Config, Error};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use testbed::TestResult;
use testbed::backend;
use testbed::cli::{Place, Serving};
use testbed::runtime::run;
use testbed::served::{ADMIN_TOKEN, MINT_TOKEN};

const HTTP: Builtin = Builtin::Http;

/// A server with the embedded store, and its place.
fn server(arguments: &[&str]) -> TestResult<(Place, Serving)> {
    let place = Place::new()?;
    let serving = place.serve(arguments)?;
    Ok((place, serving))
}

/// The DSN of a server, with these tokens and the rest after the port.
fn dsn(serving: &Serving, tokens: &str, rest: &str) -> String {
    format!("http://{tokens}127.0.0.1:{}{rest}", serving.port())
}

fn set_last(dsn: &str, key: &str, value: i64) -> Result<(), Error> {
    run(async { open(HTTP, dsn, key).await?.set_last(value).await })
}

#[test]
fn another_lattice_is_told_and_mints_nothing() -> TestResult {
    let (_place, serving) = server(&["--set-increment", "5", "--set-offset", "3"])?;
    let dsn = dsn(&serving, "", "");
    let says = [
        "increment 5 and offset 3",
        "increment 2 and offset 0",
        "--set-increment 5 --set-offset 3",
    ];
    assert_fails(mint(HTTP, &dsn, "integers"), "other", &says);
    assert_eq!(serving.get("/last")?.status, 404, "nothing was minted");
    let minted = run(async {
        let config = Config {
            dsn,
            increment: Some(5),
            offset: Some(8),
            ..Config::default()
        };
        let sequence = backend::host(None)?.open(HTTP, config).await?;
        let span = sequence.next(3).await?;
        Ok::<_, Error>(span.iter().collect::<Vec<_>>())
    });
    assert_eq!(minted, Ok(vec![3, 8, 13]));
    Ok(())
}

#[test]
fn tokens_are_needed_and_not_told() -> TestResult {
    let place = Place::new()?;
    let mut command = place.command(&["serve", "--port", "0", "--host", "127.0.0.1"])?;
    command
        .env("ARTISANAL_MINT_TOKEN", MINT_TOKEN)
        .env("ARTISANAL_ADMIN_TOKEN", ADMIN_TOKEN);
    let serving = Serving::start(command)?;
    for wrong in ["", "wrong@", &format!("{ADMIN_TOKEN}@"), ":wrong@"] {
        let minted = mint(HTTP, &dsn(&serving, wrong, ""), "integers");
        assert_fails(minted, "denied", &["401", "http://TOKEN@HOST"]);
    }
    let tokens = format!("{MINT_TOKEN}@");
    let mint_only = dsn(&serving, &tokens, "");
    assert_eq!(mint(HTTP, &mint_only, "integers"), Ok(2));
    let refused = set_last(&mint_only, "integers", 100).map(|()| 0);
    assert_fails(refused, "denied", &["ADMIN_TOKEN"]);
    let wrong = dsn(&serving, &format!("{MINT_TOKEN}:{MINT_TOKEN}@"), "");
    let refused = set_last(&wrong, "integers", 100).map(|()| 0);
    assert_fails(refused, "denied", &["401", "second token"]);
    let admin_only = dsn(&serving, &format!(":{ADMIN_TOKEN}@"), "");
    assert_eq!(set_last(&admin_only, "integers", 100), Ok(()));
    let both = dsn(&serving, &format!("{MINT_TOKEN}:{ADMIN_TOKEN}@"), "");
    assert_eq!(mint(HTTP, &both, "integers"), Ok(102));
    assert_eq!(set_last(&both, "integers", 9), Err(Error::TooSmall(102)));
    // A server without an admin token.
    let (_place, open) = server(&[])?;
    let refused = set_last(&dsn(&open, ":t0p@", ""), "integers", 9).map(|()| 0);
    assert_fails(refused, "denied", &["403", "admin token"]);
    Ok(())
}

#[test]
fn keys_are_those_of_the_server_or_of_the_path() -> TestResult {
    let (_place, serving) = server(&["--keys", "shop-*,a/b %"])?;
    let on = |rest: &str| dsn(&serving, "", rest);
    assert_fails(
        mint(HTTP, &on(""), "orders"),
        "other",
        &["`orders`", "--keys"],
    );
    assert_eq!(mint(HTTP, &on("/shop-*"), "orders"), Ok(2));
    assert_eq!(mint(HTTP, &on(""), "shop-orders"), Ok(4));
    assert_eq!(mint(HTTP, &on("/shop-orders"), "any"), Ok(6));
    assert_eq!(mint(HTTP, &on("/a%2Fb%20%25"), "any"), Ok(2));
    assert_eq!(mint(HTTP, &on("/a/b%20%25"), "any"), Ok(4));
    assert_eq!(mint(HTTP, &on(""), "a/b %"), Ok(6));
    assert_fails(mint(HTTP, &on("/*-*"), "k"), "invalid", &["path"]);
    Ok(())
}

/// A server in front of a server.
#[test]
fn servers_can_stand_one_behind_another() -> TestResult {
    let (_first, back) = server(&["--keys", "*", "--set-last-int", "1000"])?;
    let dsn = dsn(&back, "", "");
    let (place, front) = server(&["--engine", "http", "--dsn", &dsn, "--keys", "day-*"])?;
    assert_eq!(front.get("/")?.integer(), 1002);
    assert_eq!(front.get("/?count=3")?.body, "1004\n1006\n1008\n");
    assert_eq!(back.get("/")?.integer(), 1010);
    assert_eq!(front.get("/last")?.integer(), 1010);
    let minted = front.request("POST", "/v1/sequences/day-1/next", &[], "")?;
    assert_eq!(minted.json()["first"], 2);
    assert_eq!(
        place.mint(&["--engine", "http", "--dsn", &dsn, "--key", "day-1"])?,
        [4]
    );
    // It has no claims.
    let refused = place.run(&["node", "--port", "0", "--engine", "http", "--dsn", &dsn])?;
    refused.assert_failed(1, &["can neither carry a node of a quorum"]);
    Ok(())
}

/// A server that answers each request with the next of these texts, and the last one for ever.
struct Fake {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, served) = (Arc::clone(&requests), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => request.extend(&buffer[..read]),
                        _ => break,
                    }
                }
                let line = String::from_utf8_lossy(&request);
                let line = line.lines().next().unwrap_or_default().to_owned();
                seen.lock().expect("no panic").push(line);
                let number = served
                    .fetch_add(1, Ordering::Relaxed)
                    .min(answers.len() - 1);
                // The engine may have gone.
                let _ = stream.write_all(answers[number].as_bytes());
            }
        });
        Self { port, requests }
    }

    fn dsn(&self) -> String {
        format!("http://127.0.0.1:{}?timeout=3s", self.port)
    }

    fn requests(&self) -> usize {
        self.requests.lock().expect("no panic").len()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn ok(body: &str) -> String {
    answer("200 OK", "content-type: application/json\r\n", body)
}

fn state(last: &str) -> String {
    ok(&format!(
        r#"{{"key":"k","last":{last},"increment":2,"offset":0}}"#
    ))
}

fn minted(first: &str, step: i64, count: i64) -> String {
    ok(&format!(
        r#"{{"key":"k","first":{first},"step":{step},"count":{count}}}"#
    ))
}

#[test]
fn what_a_server_may_not_answer_is_an_error() -> TestResult {
    let long = ok(&" ".repeat(1 << 20));
    for (bad, says) in [
        (minted("8", 4, 1), "increment 4 and offset 0"),
        (minted("7", 2, 1), "increment 2 and offset 1"),
        (minted("8", 2, 2), "2 integers instead of 1"),
        (minted("-8", 2, 1), "-8"),
        (minted("8.0", 2, 1), "not understood"),
        (minted("9223372036854775808", 2, 1), "not understood"),
        (minted("6", 2, 1), "went back"),
        (minted("4", 2, 1), "went back"),
        (ok("8"), "not understood"),
        (ok("<html>"), "not understood"),
        (long, "longer than"),
        (answer("302 Found", "location: /x\r\n", ""), "redirects"),
        (answer("404 Not Found", "", "nothing"), "int-host serve"),
        (answer("204 No Content", "", ""), "204"),
    ] {
        let fake = Fake::new(vec![state("6"), bad.clone()]);
        assert_fails(mint(HTTP, &fake.dsn(), "k"), "other", &[says]);
        assert_eq!(fake.requests(), 2, "{bad}");
    }
    for bad in [ok("2"), ok("{}"), state("0"), state("-1"), state("1e3")] {
        let fake = Fake::new(vec![bad]);
        assert_fails(mint(HTTP, &fake.dsn(), "k"), "other", &["int-host serve"]);
    }
    Ok(())
}

/// Nothing that was handed out, or told as the last integer, comes again.
#[test]
fn a_server_that_goes_back_is_refused_until_it_is_past_what_it_told() -> TestResult {
    let fake = Fake::new(vec![
        state("null"),
        minted("\"9007199254740994\"", 2, 1),
        minted("2", 2, 1),
        state("null"),
        minted("9007199254740994", 2, 1),
        minted("9007199254740996", 2, 1),
    ]);
    run(async {
        let sequence = open(HTTP, &fake.dsn(), "k").await.expect("opened");
        let first = sequence.next(1).await.expect("minted");
        assert_eq!(first.first(), 9_007_199_254_740_994);
        for result in [
            sequence.next(1).await.map(drop),
            sequence.last().await.map(drop),
            sequence.next(1).await.map(drop),
        ] {
            let error = result.expect_err("it went back");
            assert!(
                matches!(&error, Error::Other(text) if text.contains("9007199254740994")),
                "{error:?}"
            );
        }
        let again = sequence.next(1).await.expect("past it");
        assert_eq!(again.first(), 9_007_199_254_740_996);
    });
    Ok(())
}

#[test]
fn what_may_pass_is_tried_again() -> TestResult {
    let busy = answer("503 Service Unavailable", "", "");
    let wait = answer("503 Service Unavailable", "retry-after: 1\r\n", "");
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"key\":\"k\",".to_owned();
    let proxy = answer("502 Bad Gateway", "", "<html>");
    for passing in [busy, wait, cut, proxy, String::new()] {
        let answers = vec![
            passing.clone(),
            state("2"),
            passing.clone(),
            minted("4", 2, 1),
        ];
        let fake = Fake::new(answers);
        assert_eq!(mint(HTTP, &fake.dsn(), "k"), Ok(4), "{passing}");
        // The host's client may send a request again by itself if a connection ends without an answer.
        assert!(fake.requests() >= 4, "{passing}");
    }
    // A wait that is longer than the deadline is not begun.
    let long = answer("503 Service Unavailable", "retry-after: 60\r\n", "so it is");
    let fake = Fake::new(vec![long]);
    assert_fails(
        mint(HTTP, &fake.dsn(), "k"),
        "unavailable",
        &["so it is", "wait 60s"],
    );
    assert_eq!(fake.requests(), 1);
    let full = r#"{"code":"exhausted","detail":"full"}"#;
    let fake = Fake::new(vec![
        state("9223372036854775807"),
        answer("507 Insufficient Storage", "", full),
    ]);
    assert_fails(mint(HTTP, &fake.dsn(), "k"), "exhausted", &[]);
    Ok(())
}
