//! Clients that send a request and disconnect: any number of them costs the backend almost nothing, and
//! clients that stay are served as usual. A claim that has begun runs to its end, on the connections that are there.

use int_host::{Builtin, Config, Error, Host, Sequence};
use std::pin::pin;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use testbed::TestResult;
use testbed::backend;
use testbed::cli::{Place, Serving};
use testbed::http::{Answer, get};
use testbed::mariadb::{self, MariaDb};
use testbed::proxy::{Fault, Proxy};
use testbed::redis::Redis;
use testbed::rqlite::Rqlite;
use testbed::runtime::run;
use testbed::server::Server;
use testbed::wait;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The number of abandoned requests.
const REQUESTS: usize = 4_000;

/// How many of them are open at a time.
const AT_A_TIME: usize = 32;

/// How long their clients stay connected: long enough for the server to read the request.
const STAY: Duration = Duration::from_millis(2);

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(60);

/// The maximum number of backend calls for all of them: the calls that were in flight at the start, some that
/// were cancelled because those took too long, and the calls after them.
const CALLS: u64 = 30;

/// Sends requests to these paths in rotation, and resets each connection before there is a response.
fn come_and_go(port: u16, paths: &'static [&'static str]) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        let mut clients = JoinSet::new();
        for path in paths.iter().cycle().take(REQUESTS) {
            let place = Arc::clone(&places).acquire_owned().await;
            clients.spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
                let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                tokio::time::sleep(STAY).await;
                stream.set_zero_linger()?;
                drop(place);
                std::io::Result::Ok(())
            });
        }
        for client in clients.join_all().await {
            client.expect("connected");
        }
    });
}

/// Sends a request from a client that waits for the response.
fn stay(serving: &Serving, path: &str) -> JoinHandle<testbed::Result<Answer>> {
    let url = serving.url(path);
    spawn(move || get(&url))
}

/// Checks how many calls, as counted by `calls`, abandoned requests to `paths` cost a backend that is paused
/// in the meantime. Clients that stay are served once the backend resumes.
fn check(
    serving: &Serving,
    backend: &Server,
    paths: &'static [&'static str],
    calls: impl Fn() -> TestResult<u64>,
) -> TestResult {
    wait::until_or_error("it mints", LIMIT, || match serving.get("/")?.status {
        200 => Ok(Ok(())),
        status => Ok(Err(status)),
    })?;
    let before = calls()?;
    backend.pause();
    come_and_go(serving.port(), paths);
    let staying = [stay(serving, "/"), stay(serving, "/last")];
    std::thread::sleep(STAY * 10);
    backend.resume();
    for client in staying {
        let answer = client.join().expect("no panic")?;
        // A request that waits for too long gets 503.
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    let minted = wait::until_or_error("it mints", LIMIT, || {
        let answer = serving.get("/")?;
        Ok(answer.body.parse::<i64>().map_err(|_| answer.body))
    })?;
    assert!(serving.get("/last")?.integer() >= minted);
    let calls = calls()? - before;
    assert!(calls <= CALLS, "{calls} calls");
    Ok(())
}

#[test]
fn redis_is_not_asked_for_those_who_went_away() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=60s", redis.dsn());
    let serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn])?;
    let paths = &["/last", "/", "/healthz", "/v1/sequences/integers"];
    check(&serving, &redis, paths, || {
        let stats: String = redis.query(&["INFO", "commandstats"])?;
        let commands = stats
            .lines()
            .filter(|line| line.contains("_get") || line.contains("_incr"));
        let calls = commands.filter_map(|line| {
            let (_, calls) = line.split_once("calls=")?;
            calls.split(',').next()?.parse::<u64>().ok()
        });
        Ok(calls.sum())
    })
}

#[test]
fn rqlite_is_not_asked_for_those_who_went_away() -> TestResult {
    let rqlite = Rqlite::start()?;
    let dsn = format!("{}?timeout=60s", rqlite.dsn());
    let serving = Place::new()?.serve(&["--engine", "rqlite", "--dsn", &dsn])?;
    let stats = format!("http://127.0.0.1:{}/debug/vars", rqlite.ports()[0]);
    check(&serving, rqlite.node(0), &["/last", "/"], || {
        let stats = get(&stats)?.json();
        let counts = ["queries", "executions"].map(|name| stats["http"][name].as_u64());
        Ok(counts.iter().map(|count| count.expect("a count")).sum())
    })
}

/// Polls a claim until the backend has got its request, then drops it.
async fn begin_and_abandon(sequence: &Sequence, first: i64, proxy: &Proxy) {
    let before = proxy.round_trips();
    let mut claim = pin!(sequence.claim(first, first));
    let sent = async {
        while proxy.round_trips() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        claimed = &mut claim => panic!("the reply is held back, but {claimed:?}"),
        () = sent => {}
        () = tokio::time::sleep(LIMIT) => panic!("the claim was not sent"),
    }
}

/// Abandons claims of a backend behind this proxy, one that has begun and many that wait for it.
async fn abandon_claims(host: &Host, engine: Builtin, dsn: String, proxy: &Proxy) -> TestResult {
    let config = Config {
        dsn,
        increment: Some(1),
        offset: Some(0),
        ..Config::default()
    };
    let sequence = host.open(engine, config).await?;
    sequence.claim(1, 1).await?;
    let connections = proxy.accepted();
    for round in 1..=5 {
        let first = 10 * round;
        proxy.set(Fault::StallReplies)?;
        begin_and_abandon(&sequence, first, proxy).await;
        let begun = proxy.round_trips();
        for waiting in 1..=5 {
            let claim = sequence.claim(first + waiting, first + waiting);
            let polled = tokio::time::timeout(Duration::ZERO, claim).await;
            assert!(polled.is_err(), "{polled:?}");
        }
        assert_eq!(proxy.round_trips(), begun, "one call at a time");
        proxy.set(Fault::None)?;
        // The claim that had begun was made, and none of those that waited for it.
        let taken = sequence.claim(first, first + 5).await;
        assert_eq!(taken, Err(Error::TooSmall(first)));
        sequence.claim(first + 1, first + 5).await?;
    }
    assert_eq!(proxy.accepted(), connections, "connections");
    Ok(())
}

#[test]
fn a_claim_that_has_begun_keeps_its_connection_to_redis() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    let dsn = format!("redis://127.0.0.1:{}?timeout=60s", proxy.port());
    let host = backend::host(None)?;
    run(abandon_claims(&host, Builtin::Redis, dsn, &proxy))
}

#[test]
fn a_claim_that_has_begun_keeps_its_connection_to_mariadb() -> TestResult {
    let mariadb = MariaDb::start()?;
    let proxy = Proxy::to(mariadb.port())?;
    let dsn = mariadb.dsn_of(mariadb::USER, mariadb::PASSWORD, proxy.port());
    let dsn = format!("{dsn}?timeout=60s");
    let host = backend::host(None)?;
    run(abandon_claims(&host, Builtin::Mysql, dsn, &proxy))
}
