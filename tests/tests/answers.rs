//! Responses of the server: their memory, clients that half-close, and errors in responses and in the log.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::Answer;
use testbed::mariadb::PASSWORD;
use testbed::redis::{Options, Redis};
use testbed::{target, wait};
use tokio::net::TcpSocket;

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(60);

/// A request whose response has up to 2 MB.
const LONG: &str = "/?count=100000";

/// A connection on which tests send arbitrary bytes.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_read_timeout(Some(SOON)).expect("set");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    /// Closes the sending side of the connection.
    fn end(&self) {
        self.0
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("shut down");
    }

    /// Reads a response and returns its status and the length of its body.
    fn answer(&mut self) -> (u16, u64) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("a line"), 0, "no answer");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let first = line.split(' ').nth(1).and_then(|text| text.parse().ok());
            status = status.or(first);
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
        }
        let body = self.0.by_ref().take(length);
        let read = std::io::copy(&mut { body }, &mut std::io::sink());
        assert_eq!(read.expect("a body"), length, "the whole body");
        (status.expect("a status"), length)
    }

    /// Reads until the server closes the connection.
    fn rest(mut self) -> String {
        let mut text = String::new();
        self.0
            .read_to_string(&mut text)
            .expect("text, then the end");
        text
    }
}

/// The memory of a server in KiB after each of this many connections got a response, and after they were
/// closed.
fn memory_after(serving: &Serving, path: &str, connections: usize) -> TestResult<(u64, u64)> {
    let mut all: Vec<_> = (0..connections)
        .map(|_| Raw::connect(serving.port()))
        .collect();
    // All requests are sent first, so that the server has to buffer responses that are not being read yet.
    for connection in &mut all {
        connection.get(path);
    }
    for connection in &mut all {
        let (status, length) = connection.answer();
        assert_eq!(status, 200);
        assert_eq!(length > 100_000, path == LONG, "{length}");
    }
    let open = serving.memory()?.now;
    drop(all);
    // The server notices the closed connections a moment later. Memory that it holds after that is not
    // released later.
    serving.get("/ping")?;
    std::thread::sleep(Duration::from_millis(200));
    Ok((open, serving.memory()?.now))
}

#[test]
fn connections_do_not_keep_the_memory_of_long_answers() -> TestResult {
    const CONNECTIONS: usize = 300;
    let memory = ["--engine", "memory"];
    let (plain, _) = memory_after(&Place::new()?.serve(&memory)?, "/", CONNECTIONS)?;
    let (long, closed) = memory_after(&Place::new()?.serve(&memory)?, LONG, CONNECTIONS)?;
    assert!(
        long <= 2 * plain,
        "{long} KiB, and {plain} for short answers"
    );
    assert!(closed <= 2 * plain, "{closed} KiB remain, of {long}");
    Ok(())
}

/// Freed memory is returned to the system after many connections were closed.
#[test]
fn the_memory_of_closed_connections_goes_back() -> TestResult {
    const CONNECTIONS: usize = 2000;
    let serving = Place::new()?.serve(&["--engine", "memory"])?;
    let idle = serving.memory()?.now;
    let (open, _) = memory_after(&serving, "/", CONNECTIONS)?;
    wait::until("half of their memory goes back", SOON, || {
        let closed = serving.memory().map_err(|error| error.to_string())?.now;
        if closed < idle + (open - idle) / 2 {
            Ok(())
        } else {
            Err(format!("{closed} KiB of {open}, and {idle} before"))
        }
    })?;
    Ok(())
}

#[test]
fn composed_endpoints_do_not_either() -> TestResult {
    const CONNECTIONS: usize = 100;
    let place = Place::new()?;
    let file = compose(&place, &["--engine", "memory"])?;
    let line = ["--component", &file];
    let (plain, _) = memory_after(&place.serve(&line)?, "/", CONNECTIONS)?;
    let (long, closed) = memory_after(&place.serve(&line)?, LONG, CONNECTIONS)?;
    assert!(
        long <= 2 * plain,
        "{long} KiB, and {plain} for short answers"
    );
    assert!(closed <= 2 * plain, "{closed} KiB remain, of {long}");
    Ok(())
}

fn compose(place: &Place, what: &[&str]) -> TestResult<String> {
    let file = place.file("composed.wasm");
    let file = file.to_str().expect("UTF-8").to_owned();
    let outcome = place.run(&[&["compose", "-o", &file][..], what].concat())?;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    Ok(file)
}

/// Clients that request long responses and do not read them use up the memory for responses but no more.
/// Further requests for long responses are refused before anything is minted.
#[test]
fn slow_readers_are_bounded() -> TestResult {
    let place = Place::new()?;
    let file = compose(&place, &["--engine", "memory"])?;
    for server in [["--engine", "memory"], ["--component", &file]] {
        // Enough for three pieces of 16 KiB.
        let serving = place.serve(&[&server[..], &["--answer-memory", "50000"]].concat())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut readers = Vec::new();
        // The first bytes go into the system's socket buffers; once these are full, the server's memory stays
        // in use, and the refused request has minted no integer. Readers that are refused themselves hold no
        // memory, so readers are added until no memory is left.
        let busy = wait::until_or_error("there is no memory left", SOON, || {
            readers.push(runtime.block_on(slow(serving.port())));
            let last = serving.get("/last")?.body;
            let answer = serving.get(LONG)?;
            let next = serving.get("/")?.integer();
            if answer.status == 503 && last.parse() == Ok(next - 2) {
                Ok(Ok(answer))
            } else {
                Ok(Err(answer.status))
            }
        })?;
        assert_eq!(busy.json()["code"], "busy");
        assert_eq!(busy.header("retry-after"), "1");
        drop(readers);
        wait::until_or_error("the memory is given back", SOON, || {
            match serving.get(LONG)?.status {
                200 => Ok(Ok(())),
                status => Ok(Err(status)),
            }
        })?;
    }
    Ok(())
}

/// A client that requests more than fits into the system's socket buffers, and reads nothing.
async fn slow(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let address = ([127, 0, 0, 1], port).into();
    let stream = socket.connect(address).await.expect("connected");
    let mut stream = stream.into_std().expect("a socket");
    stream.set_nonblocking(false).expect("set");
    let request = format!("GET {LONG} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream
        .write_all(request.repeat(20).as_bytes())
        .expect("sent");
    stream
}

/// A client may half-close the connection when it has sent its requests, and still gets the responses.
#[test]
fn whoever_only_stops_sending_gets_its_answer() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=30s", redis.dsn());
    let place = Place::new()?;
    let file = compose(&place, &["--engine", "redis"])?;
    let mut next = 2;
    for server in [["--engine", "redis"], ["--component", &file]] {
        let serving = place.serve(&[&server[..], &["--dsn", &dsn]].concat())?;
        for request in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            redis.pause();
            let mut client = Raw::connect(serving.port());
            client.send(request);
            client.end();
            // Long enough for the server to see the half-close before the backend answers.
            std::thread::sleep(Duration::from_millis(200));
            redis.resume();
            let answers = client.rest();
            for _ in 0..request.matches("HTTP/1.").count() {
                assert!(answers.contains(&format!("\r\n\r\n{next}")), "{answers:?}");
                next += 2;
            }
        }
    }
    let tcp = ["--engine", "redis", "--dsn", &dsn, "--protocol", "tcp"];
    let serving = place.serve(&tcp)?;
    redis.pause();
    let mut client = Raw::connect(serving.port());
    client.send("whatever this may be\n");
    client.end();
    std::thread::sleep(Duration::from_millis(200));
    redis.resume();
    assert_eq!(client.rest(), format!("{next}\n"));
    Ok(())
}

/// The log contains the reason of an error, the response only what the client can do; both contain the request
/// ID.
#[test]
fn strangers_learn_nothing_of_the_backend() -> TestResult {
    let locked = Redis::with(Options {
        password: Some("something-else".into()),
        ..Options::default()
    })?;
    let place = Place::new()?;
    let away = testbed::port::free()?;
    let misbehaving = target::component("misbehaving")?;
    let misbehaving = misbehaving.to_str().expect("UTF-8");
    let composed = compose(&place, &["--engine", "redis"])?;
    let redis = |port: u16| format!("redis://teller:{PASSWORD}@127.0.0.1:{port}/7?timeout=1s");
    let (away, locked) = (redis(away), redis(locked.port()));
    let broken = "misbehaving:///traps";
    for (server, dsn, code, status) in [
        (["--engine", "redis"], &*away, "unavailable", 503),
        (["--engine", "redis"], &*locked, "denied", 502),
        (["--component", misbehaving], broken, "broken", 502),
        (["--component", &composed], &*away, "unavailable", 503),
        (["--component", &composed], &*locked, "denied", 502),
    ] {
        let serving = place.serve(&[&server[..], &["--dsn", dsn]].concat())?;
        let sent = serving.request("GET", "/", &[("x-request-id", "mine-4711")], "")?;
        let fresh = serving.request("GET", "/?count=2", &[], "")?;
        for answer in [&sent, &fresh] {
            assert_eq!(answer.status, status, "{dsn}: {}", answer.body);
            assert_eq!(answer.json()["code"], code, "{dsn}: {}", answer.body);
            tells_nothing(answer);
            let id = answer.header("x-request-id");
            let reason = reason(&serving, id, code)?;
            if code == "unavailable" {
                assert!(reason.contains("127.0.0.1"), "{reason}");
            }
            assert!(!reason.contains(PASSWORD), "{reason}");
        }
        assert_eq!(sent.header("x-request-id"), "mine-4711");
        assert_eq!(fresh.header("x-request-id").len(), 16);
    }
    Ok(())
}

fn tells_nothing(answer: &Answer) {
    for secret in ["127.0.0.1", "teller", PASSWORD, "something-else", "redis"] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
}

/// The log line with the reason why this request failed.
fn reason(serving: &Serving, id: &str, code: &str) -> TestResult<String> {
    let found = wait::until("it is logged", SOON, || {
        let log = serving.log();
        let mut lines = log.lines();
        let found = lines.find(|line| line.contains(id) && line.contains(code));
        found.map(str::to_owned).ok_or(log)
    })?;
    Ok(found)
}

#[test]
fn bad_requests_are_logged_like_others() -> TestResult {
    let serving = Place::new()?.serve(&["--engine", "memory", "--log-requests"])?;
    let mut client = Raw::connect(serving.port());
    client.send("PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{");
    client.end();
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut client = Raw::connect(serving.port());
    client.send("no request at all\r\n\r\n");
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let named = [("x-request-id", "mine-4711")];
    serving.request("GET", "/ping", &named, "")?;
    serving.request("GET", "/nowhere", &[], "")?;
    let (_, log) = serving.stop()?;
    let requests: Vec<_> = log
        .lines()
        .filter(|line| line.contains("int_host::requests"))
        .collect();
    assert_eq!(requests.len(), 4, "{log}");
    assert!(requests[0].contains("status=400"), "{log}");
    assert!(
        requests[0].contains("method=PUT") && requests[0].contains("request_id="),
        "{log}"
    );
    assert!(requests[1].contains("status=400"), "{log}");
    assert!(
        requests[2].contains("status=200") && requests[2].contains("mine-4711"),
        "{log}"
    );
    assert!(
        requests[3].contains("status=404") && requests[3].contains("request_id="),
        "{log}"
    );
    Ok(())
}

/// The body has exactly the length in Content-Length, and nothing follows it. A connection that the server has
/// closed may end with a reset.
#[test]
fn an_answer_is_never_longer_than_it_says() -> TestResult {
    let serving = Place::new()?.serve(&["--engine", "memory", "--set-last-int", "99980"])?;
    // The integers grow from five digits to six, and the body is sent in several pieces.
    let mut client = Raw::connect(serving.port());
    client.send("GET /?count=50000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (head, body) = {
        let text = client.rest();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    };
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    let expected: String = (0..50_000)
        .map(|n| format!("{}\n", 99_982 + 2 * n))
        .collect();
    assert_eq!(body, expected);
    let mut client = Raw::connect(serving.port());
    client.send("GET /?count=50000 HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().0, 200);
    let end = client.0.read(&mut [0]).map_err(|e| e.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)));
    Ok(())
}
