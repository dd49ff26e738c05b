//! `int-host serve`, with real clients over HTTP and TCP.

use rustix::process::Signal;
use serde_json::json;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::clock;
use testbed::history::{History, Record, Span};
use testbed::http::{Client, request};
use testbed::mariadb::PASSWORD;
use testbed::proxy::{Fault, Proxy};
use testbed::redis::Redis;
use testbed::runtime::run;
use testbed::{target, wait};

const TOKEN: &str = "an-admin-token-of-some-length";

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(30);

fn memory(arguments: &[&str]) -> TestResult<Serving> {
    let mut all = vec!["--engine", "memory"];
    all.extend(arguments);
    Ok(Place::new()?.serve(&all)?)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_newcomer_serves_without_any_option() -> TestResult {
    let place = Place::new()?;
    let serving = place.serve(&[])?;
    let answer = serving.get("/")?;
    assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("cache-control"), "no-store");
    let (status, log) = serving.stop()?;
    assert_eq!(status.code(), Some(0), "{log}");
    // The next server and the command line continue after the served integers.
    assert_eq!(place.serve(&[])?.get("/")?.integer(), 4);
    assert_eq!(place.mint(&[])?, [6]);
    Ok(())
}

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

/// Mints over HTTP and records the times of the calls.
async fn mint(
    client: Client,
    url: String,
    process: u32,
    calls: usize,
    count: u32,
) -> TestResult<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..calls {
        let begin = clock::now();
        let answer = client.send("POST", &url, &[], "").await?;
        let end = clock::now();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let minted = answer.json();
        assert_eq!(minted["count"], count);
        let span = Span {
            first: minted["first"].as_i64().expect("an integer"),
            step: minted["step"].as_i64().expect("an integer"),
            count,
        };
        records.push(Record {
            process,
            begin,
            end,
            span,
        });
    }
    Ok(records)
}

/// Two servers with many connections mint from one sequence.
#[test]
fn servers_on_one_backend_share_its_sequence() -> TestResult {
    let redis = Redis::start()?;
    let dsn = redis.dsn();
    let line = ["--engine", "redis", "--dsn", &dsn];
    let servers = [Place::new()?.serve(&line)?, Place::new()?.serve(&line)?];
    let history: TestResult<Vec<_>> = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for process in 0..32 {
            let count = [1, 1, 5, 100][process % 4];
            let url = format!("/v1/sequences/integers/next?count={count}");
            let url = servers[process % 2].url(&url);
            clients.spawn(mint(Client::default(), url, process as u32, 40, count));
        }
        clients.join_all().await.into_iter().collect()
    });
    let history = History::from_iter(history?.into_iter().flatten());
    history.assert_clean();
    assert_eq!(history.off_lattice(2, 0), []);
    assert_eq!(history.records().len(), 32 * 40);
    let mark: i64 = redis.query(&["GET", "integers"])?;
    assert!(Some(i128::from(mark)) >= history.greatest());
    Ok(())
}

#[test]
fn tcp_gives_a_line_and_closes() -> TestResult {
    let redis = Redis::start()?;
    let serving = Place::new()?.serve(&[
        "--engine",
        "redis",
        "--dsn",
        &redis.dsn(),
        "--protocol",
        "tcp",
    ])?;
    let read = |port: u16| {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let mut line = String::new();
        connection
            .read_to_string(&mut line)
            .expect("a line, then the end");
        let integer = line.strip_suffix('\n').expect("a newline");
        integer.parse::<i64>().expect("an integer")
    };
    assert_eq!(read(serving.port()), 2);
    assert_eq!(read(serving.port()), 4);
    let port = serving.port();
    let threads: Vec<_> = (0..8)
        .map(|process| {
            std::thread::spawn(move || {
                let mut records = Vec::new();
                for _ in 0..50 {
                    let begin = clock::now();
                    let span = Span::one(read(port));
                    records.push(Record {
                        process,
                        begin,
                        end: clock::now(),
                        span,
                    });
                }
                records
            })
        })
        .collect();
    let records = threads
        .into_iter()
        .flat_map(|t| t.join().expect("no panic"));
    let history = History::from_iter(records);
    history.assert_clean();
    assert_eq!(history.integers(), 400);
    let (status, log) = serving.stop()?;
    assert_eq!(status.code(), Some(0), "{log}");
    Ok(())
}

#[test]
fn a_backend_that_is_away_is_told_and_comes_back() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=1s", redis.dsn());
    redis.kill();
    // A server may be started before its backend.
    let serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn])?;
    for path in ["/", "/last", "/healthz"] {
        let answer = serving.get(path)?;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(serving.get("/ping")?.body, "PONG", "no backend is asked");
    redis.start_again()?;
    wait::until_or_error("it is healthy", SOON, || {
        match serving.get("/healthz")?.status {
            200 => Ok(Ok(())),
            status => Ok(Err(status)),
        }
    })?;
    assert_eq!(serving.get("/")?.integer(), 2);
    Ok(())
}

/// While the backend is paused, requests beyond the queue limit are refused at once. When it resumes, the
/// server recovers.
#[test]
fn too_many_requests_are_turned_away_and_it_recovers() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=30s", redis.dsn());
    let serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn, "--queue", "50"])?;
    assert_eq!(serving.get("/")?.integer(), 2);
    redis.pause();
    let url = serving.url("/");
    let answers: TestResult<Vec<_>> = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let url = url.clone();
            clients.spawn(async move { Client::default().send("GET", &url, &[], "").await });
        }
        let mut answers = Vec::new();
        while let Some(answer) = clients.join_next().await {
            answers.push(answer.expect("no panic")?);
            // All requests beyond the queue limit were refused; the others wait for the backend.
            if answers.len() == 140 {
                redis.resume();
            }
        }
        Ok(answers)
    });
    let answers = answers?;
    let away: Vec<_> = answers.iter().filter(|a| a.status == 503).collect();
    assert!((140..200).contains(&away.len()), "{}", away.len());
    assert!(away.iter().all(|a| !a.header("retry-after").is_empty()));
    let minted = answers.iter().filter(|a| a.status == 200);
    let history = minted
        .map(|a| Record::untimed(0, Span::one(a.integer())))
        .chain([Record::untimed(0, Span::one(serving.get("/")?.integer()))]);
    let history = History::from_iter(history);
    history.assert_clean();
    assert!(history.integers() > 40);
    Ok(())
}

#[test]
fn a_server_sleeps_while_nobody_asks() -> TestResult {
    let serving = memory(&["--threads", "1", "--busy-poll", "1000"])?;
    for n in 1..=20 {
        assert_eq!(serving.get("/")?.integer(), 2 * n);
    }
    let (before, time) = (serving.processor_time()?, Duration::from_secs(1));
    std::thread::sleep(time);
    let spent = serving.processor_time()? - before;
    // Busy polling may take a thousandth of this time; without an end it would take all of it.
    assert!(spent < time / 4, "{spent:?} of {time:?}");
    Ok(())
}

/// On SIGTERM the server accepts no new connections, finishes requests in flight, and exits with 0.
#[test]
fn sigterm_finishes_what_is_in_flight() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    let dsn = format!("redis://127.0.0.1:{}?timeout=30s", proxy.port());
    let mut serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn])?;
    assert_eq!(serving.get("/")?.integer(), 2);
    // An idle connection must not delay the shutdown.
    let idle = TcpStream::connect(("127.0.0.1", serving.port())).expect("connected");
    proxy.set(Fault::StallReplies)?;
    let url = serving.url("/");
    let in_flight = std::thread::spawn(move || request("GET", &url, &[], ""));
    wait::until_or_error("the mint reaches Redis", SOON, || {
        match redis.query::<i64>(&["GET", "integers"])? {
            4 => Ok(Ok(())),
            mark => Ok(Err(mark)),
        }
    })?;
    serving.signal(Signal::TERM);
    wait::until_true("new connections are refused", SOON, || {
        TcpStream::connect(("127.0.0.1", serving.port())).is_err()
    })?;
    assert_eq!(serving.ended(), None, "a request is in flight");
    proxy.set(Fault::None)?;
    let answer = in_flight.join().expect("no panic")?;
    assert_eq!(answer.integer(), 4);
    let (status, log) = serving.end()?;
    assert_eq!(status.code(), Some(0), "{log}");
    drop(idle);
    Ok(())
}

#[test]
fn logs_are_lines_or_json_and_say_nothing_of_requests_unless_told_to() -> TestResult {
    for (arguments, logged) in [(&[][..], false), (&["--log-requests"][..], true)] {
        let serving = memory(arguments)?;
        serving.get("/")?;
        serving.get("/last?secret=1")?;
        serving.get("/nowhere")?;
        let (_, log) = serving.stop()?;
        assert_eq!(log.contains("/nowhere"), logged, "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
    let serving = memory(&["--log-format", "json", "--log-requests"])?;
    serving.get("/")?;
    let (_, log) = serving.stop()?;
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(entry["level"].is_string(), "{line}");
    }
    assert!(log.lines().count() >= 3, "{log}");
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

#[test]
fn a_wrong_start_is_told_at_once() -> TestResult {
    let place = Place::new()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("bound").port().to_string();
    let on_taken = [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        &taken,
        "--engine",
        "memory",
    ];
    let outcome = place.run(&on_taken)?;
    outcome.assert_failed(8, &["in use", "--port"]);
    drop(listener);
    let outcome = place.run(&["serve", "--port", "0", "--engine", "redis"])?;
    outcome.assert_failed(2, &["redis://"]);
    let outcome = place.run(&["serve", "--port", "0", "--key", "a\nb"])?;
    outcome.assert_failed(2, &["key"]);
    let outcome = place.run(&[
        "serve",
        "--host",
        "no-such-host.invalid",
        "--engine",
        "memory",
    ])?;
    outcome.assert_failed(8, &["no-such-host.invalid"]);
    let outcome = place.run(&["serve", "--port", "99999"])?;
    outcome.assert_failed(2, &["99999"]);
    Ok(())
}

/// Ignoring an option such as a token could leave the server unprotected.
#[test]
fn options_without_effect_are_refused_by_name() -> TestResult {
    let place = Place::new()?;
    let file = place.file("composed.wasm");
    let file = file.to_str().expect("UTF-8");
    let composed = place.run(&["compose", "--engine", "memory", "-o", file])?;
    assert_eq!(composed.code, Some(0), "{composed:?}");
    let memory = ["serve", "--port", "0", "--engine", "memory"];
    let tcp = [&memory[..], &["--protocol", "tcp"]].concat();
    let endpoint = ["serve", "--port", "0", "--component", file];
    let cases: [(&[&str], &[&str]); 12] = [
        (&tcp, &["--mint-token", "t"]),
        (&tcp, &["--admin-token", "t"]),
        (&tcp, &["--keys", "a,b"]),
        (&tcp, &["--cors-origin", "*"]),
        (&tcp, &["--config", "a=b"]),
        (&memory, &["--max-requests", "5"]),
        (&memory, &["--request-timeout", "5s"]),
        (&memory, &["--config", "a=b"]),
        (&memory, &["--continuous"]),
        (&endpoint, &["--calls", "2"]),
        (&endpoint, &["--set-last-int", "5"]),
        (&endpoint, &["--count", "5"]),
    ];
    for (line, option) in cases {
        let outcome = place.run(&[line, option].concat())?;
        outcome.assert_failed(2, &[option[0], "no effect"]);
    }
    // The error lists all options without effect, including those from the environment.
    let mut command = place.command(&[&tcp[..], &["--keys", "a"]].concat())?;
    command.env("ARTISANAL_MINT_TOKEN", TOKEN);
    let outcome = testbed::cli::run(command)?;
    outcome.assert_failed(
        2,
        &[
            "--keys",
            "--mint-token (from the environment variable ARTISANAL_MINT_TOKEN)",
        ],
    );
    assert!(!outcome.stderr.contains(TOKEN), "{}", outcome.stderr);
    outcome.assert_failed(2, &["over TCP"]);
    // A component that reads no settings cannot enforce a token.
    let noop = target::component("noop")?;
    let noop = noop.to_str().expect("UTF-8");
    let line = [
        "serve",
        "--port",
        "0",
        "--component",
        noop,
        "--mint-token",
        "t",
    ];
    place
        .run(&line)?
        .assert_failed(2, &["--mint-token", "reads no settings"]);
    // Options with an effect are accepted.
    let mut command =
        place.command(&[&tcp[..], &["--host", "127.0.0.1", "--log-requests"]].concat())?;
    command
        .env("ARTISANAL_LAST_INT", "40")
        .env("ARTISANAL_CONTINUOUS", "false");
    let serving = Serving::start(command)?;
    let mut line = String::new();
    TcpStream::connect(("127.0.0.1", serving.port()))
        .and_then(|mut stream| stream.read_to_string(&mut line))
        .expect("an integer");
    assert_eq!(line, "42\n");
    Ok(())
}
