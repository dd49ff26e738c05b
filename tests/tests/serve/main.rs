//! `int-host serve`, with real clients over HTTP and TCP.

mod answers;
mod rights;
mod start;

use rustix::process::Signal;
use serde_json::json;
use std::io::{Read, Write};
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
