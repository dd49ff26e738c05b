//! The Redis protocol of `int-host serve`, with a client of Redis and with bytes that no client sends.

use redis::{Client, Commands, Connection, RedisError};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::history::{History, Record, Span};
use testbed::port;
use testbed::redis::Redis;

const TOKEN: &str = "a-mint-token-of-some-length";

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(30);

/// A server that speaks the Redis protocol beside HTTP.
struct Server {
    serving: Serving,
    port: u16,
}

impl Server {
    fn start(arguments: &[&str]) -> TestResult<Self> {
        let port = port::free()?;
        let listen = format!("resp://127.0.0.1:{port}");
        let mut all = vec!["--listen", &listen];
        all.extend(arguments);
        Ok(Self {
            serving: Place::new()?.serve(&all)?,
            port,
        })
    }

    fn memory(arguments: &[&str]) -> TestResult<Self> {
        let mut all = vec!["--engine", "memory"];
        all.extend(arguments);
        Self::start(&all)
    }

    fn client(&self, parameters: &str) -> Result<Connection, RedisError> {
        Client::open(format!("redis://127.0.0.1:{}/{parameters}", self.port))?.get_connection()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_write_timeout(Some(SOON)).expect("a timeout");
        stream
    }

    /// Sends bytes and returns all replies until the server closes the connection, or until `replies` lines
    /// have come.
    fn exchange(&self, bytes: &[u8], replies: usize) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("sent");
        let mut read = String::new();
        let mut byte = [0];
        while read.matches("\r\n").count() < replies {
            match stream.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => read.push(char::from(byte[0])),
                Err(error) => panic!("{error} after {read:?}"),
            }
        }
        read
    }
}

fn fails(reply: Result<impl std::fmt::Debug, RedisError>, code: &str, says: &str) {
    let error = reply.expect_err(says);
    let text = error.to_string();
    assert!(
        error.code().unwrap_or("ERR").contains(code) && text.contains(says),
        "{text}"
    );
}

#[test]
fn incr_mints() -> TestResult {
    for version in ["", "?protocol=resp3"] {
        let server = Server::memory(&["--keys", "orders-*,bills"])?;
        let mut client = server.client(version).expect("connected");
        assert_eq!(client.get("integers"), Ok(None::<i64>));
        assert_eq!(client.incr("integers", 1), Ok(2));
        assert_eq!(server.serving.get("/")?.body, "4");
        // Five integers: 6, 8, 10, 12 and 14.
        assert_eq!(client.incr("integers", 5), Ok(14));
        assert_eq!(client.get("integers"), Ok(Some(14)));
        assert_eq!(client.incr("bills", 1), Ok(2));
        assert_eq!(client.incr("orders-2026", 1), Ok(2));
        assert_eq!(
            client.mget(&["integers", "bills", "orders-1"]),
            Ok(vec![Some(14), Some(2), None])
        );
        let keys = ["integers", "bills", "orders-1", "nothing"];
        assert_eq!(client.exists(&keys), Ok(2));
        let says = "does not exist";
        fails(client.incr::<_, _, i64>("nothing", 1), "ERR", says);
        fails(client.get::<_, Option<i64>>("nothing"), "ERR", says);
        fails(client.incr::<_, _, i64>(b"\xff", 1), "ERR", says);
    }
    Ok(())
}

/// With an increment of 1, INCRBY returns what Redis would.
#[test]
fn incrby_is_as_in_redis_with_increment_one() -> TestResult {
    let redis = Redis::start()?;
    let arguments = [
        "--engine",
        "redis",
        "--dsn",
        &redis.dsn(),
        "--increment",
        "1",
    ];
    let server = Server::start(&arguments)?;
    let mut client = server.client("").expect("connected");
    assert_eq!(client.incr("integers", 10), Ok(10));
    assert_eq!(redis.query::<i64>(&["INCRBY", "integers", "5"])?, 15);
    assert_eq!(client.incr("integers", 1), Ok(16));
    Ok(())
}

#[test]
fn what_does_not_mint_is_told() -> TestResult {
    let server = Server::memory(&[])?;
    let mut client = server.client("").expect("connected");
    for (words, code, says) in [
        (
            &["SET", "integers", "5"][..],
            "ERR",
            "unknown command 'SET', with args beginning with: 'integers' '5' ",
        ),
        (&["INCRBY", "integers", "0"], "ERR", "1 to 100000"),
        (&["INCRBY", "integers", "-1"], "ERR", "1 to 100000"),
        (&["INCRBY", "integers", "100001"], "ERR", "1 to 100000"),
        (
            &["INCRBY", "integers", "1.5"],
            "ERR",
            "not an integer or out of range",
        ),
        (
            &["INCRBY", "integers", "9223372036854775808"],
            "ERR",
            "not an integer or out of range",
        ),
        (
            &["INCR"],
            "ERR",
            "wrong number of arguments for 'incr' command",
        ),
        (
            &["GET", "a", "b"],
            "ERR",
            "wrong number of arguments for 'get' command",
        ),
        (&["AUTH", "x"], "ERR", "without any password configured"),
        (&["SELECT", "1"], "ERR", "DB index is out of range"),
        (&["SELECT", "x"], "ERR", "invalid DB index"),
        (&["HELLO", "4"], "NOPROTO", "unsupported protocol version"),
        (&["CLIENT", "KILL"], "ERR", "unknown subcommand"),
    ] {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        fails(command.query::<i64>(&mut client), code, says);
    }
    assert_eq!(
        client.get("integers"),
        Ok(None::<i64>),
        "nothing was minted"
    );
    let ok = |words: &[&str]| -> redis::RedisResult<String> {
        redis::cmd(words[0])
            .arg(&words[1..])
            .query(&mut server.client("")?)
    };
    assert_eq!(ok(&["PING"]), Ok("PONG".to_owned()));
    assert_eq!(ok(&["ECHO", "a\r\nb"]), Ok("a\r\nb".to_owned()));
    assert_eq!(ok(&["SELECT", "0"]), Ok("OK".to_owned()));
    assert_eq!(ok(&["CLIENT", "SETNAME", "me"]), Ok("OK".to_owned()));
    assert!(ok(&["INFO"]).expect("text").contains("int_host_version:"));
    Ok(())
}

#[test]
fn the_mint_token_is_the_password() -> TestResult {
    let server = Server::memory(&["--mint-token", TOKEN])?;
    let set = |words: &str| server.exchange(format!("{words}\r\nQUIT\r\n").as_bytes(), 9);
    let refused = "-NOAUTH Authentication required.\r\n+OK\r\n";
    for words in [
        "INCR integers",
        "INCRBY integers 2",
        "GET integers",
        "PING",
        "INFO",
    ] {
        assert_eq!(set(words), refused, "{words}");
    }
    assert!(set("AUTH wrong").starts_with("-WRONGPASS"));
    assert!(set("AUTH wrong\r\nINCR integers").contains("-NOAUTH"));
    assert!(set("HELLO 3").starts_with("-NOAUTH"));
    assert!(set("HELLO 3 AUTH default wrong").starts_with("-WRONGPASS"));
    assert_eq!(
        set(&format!("AUTH {TOKEN}\r\nINCR integers")),
        "+OK\r\n:2\r\n+OK\r\n"
    );
    assert_eq!(
        set(&format!("AUTH someone {TOKEN}\r\nINCR integers")),
        "+OK\r\n:4\r\n+OK\r\n"
    );
    let greeted = set(&format!(
        "HELLO 3 AUTH default {TOKEN} SETNAME me\r\nCLIENT GETNAME\r\nINCR integers"
    ));
    assert!(greeted.starts_with("%6\r\n"), "{greeted}");
    let url = format!("redis://:{TOKEN}@127.0.0.1:{}/?protocol=resp3", server.port);
    let mut client = Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("connected");
    assert_eq!(client.incr("integers", 1), Ok(8));
    let (_, log) = server.serving.stop()?;
    assert!(!log.contains(TOKEN), "{log}");
    Ok(())
}

/// Sixteen INCR of one connection are one call of the engine.
#[test]
fn a_pipeline_is_one_call() -> TestResult {
    let metrics = port::free()?;
    let address = format!("127.0.0.1:{metrics}");
    let server = Server::memory(&["--metrics", &address, "--keys", "other"])?;
    let pipeline = "*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n".repeat(16);
    let replies = server.exchange(pipeline.as_bytes(), 16);
    let expected: String = (1..=16).map(|n| format!(":{}\r\n", 2 * n)).collect();
    assert_eq!(replies, expected);
    let calls = || -> TestResult<String> {
        let text = testbed::http::get(&format!("http://{address}/metrics"))?.body;
        let name = r#"engine_call_duration_seconds_count{engine="memory",key="integers",operation="next"} "#;
        let (_, rest) = text.split_once(name).expect("counted");
        Ok(rest.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(calls()?, "1");
    // Replies keep their order when the mints in between are of other sequences, or fail.
    let mixed = "INCR integers\r\nINCRBY integers 3\r\nINCR other\r\nGET integers\r\nINCR nothing\r\nINCR integers\r\n";
    let replies = server.exchange(mixed.as_bytes(), 7);
    let lines: Vec<_> = replies.lines().collect();
    assert_eq!(lines[..5], [":34", ":40", ":2", "$2", "40"]);
    assert!(
        lines[5].starts_with("-ERR this sequence does not exist"),
        "{replies}"
    );
    assert_eq!(lines[6], ":42");
    assert_eq!(calls()?, "3");
    Ok(())
}

/// Requests that follow each other byte by byte are not read again, but each of them mints, and nothing else does.
#[test]
fn equal_requests_mint_once_each() -> TestResult {
    let server = Server::memory(&["--increment", "1", "--keys", "other"])?;
    let incr = "*2\r\n$4\r\nINCR\r\n$8\r\nintegers\r\n";
    let large = "*3\r\n$6\r\nINCRBY\r\n$8\r\nintegers\r\n$5\r\n60000\r\n";
    let failing = "*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n";
    let cases = [
        (incr.repeat(3), 3, ":1\r\n:2\r\n:3\r\n"),
        // The third one does not fit into the call of the first, nor does the fourth into that of the second.
        (large.repeat(3), 3, ":60003\r\n:120003\r\n:180003\r\n"),
        (
            format!("{incr}*0\r\n*0\r\n{incr}\r\n\r\nPING\r\n"),
            3,
            ":180004\r\n:180005\r\n+PONG\r\n",
        ),
        ("PING\r\n".repeat(2), 2, "+PONG\r\n+PONG\r\n"),
        (
            "INCR other\r\n".repeat(2) + "INCR other2\r\n",
            2,
            ":1\r\n:2\r\n",
        ),
    ];
    for (requests, replies, expected) in cases {
        let read = server.exchange(requests.as_bytes(), replies);
        assert_eq!(read, expected, "{requests}");
    }
    let read = server.exchange(failing.repeat(2).as_bytes(), 2);
    let refused = "-ERR this sequence does not exist";
    assert_eq!(read.matches(refused).count(), 2, "{read}");
    // A request that is cut off mints when its rest arrives.
    let mut stream = server.connect();
    let (begin, rest) = incr.split_at(20);
    let mut read = [0; 18];
    for (requests, expected) in [
        (format!("{incr}{begin}"), ":180006\r\n"),
        (format!("{rest}{incr}"), ":180007\r\n:180008\r\n"),
    ] {
        stream.write_all(requests.as_bytes()).expect("sent");
        let replies = &mut read[..expected.len()];
        stream.read_exact(replies).expect("replies");
        assert_eq!(String::from_utf8_lossy(replies), expected);
    }
    Ok(())
}

/// Counts that do not fit into one call are made by several.
#[test]
fn a_pipeline_is_as_many_calls_as_it_needs() -> TestResult {
    let server = Server::memory(&["--increment", "1"])?;
    let mut client = server.client("").expect("connected");
    let mut pipeline = redis::pipe();
    for count in [60_000, 60_000, 100_000, 1, 99_999] {
        pipeline.incr("integers", count);
    }
    let replies: Vec<i64> = pipeline.query(&mut client).expect("minted");
    assert_eq!(replies, [60_000, 120_000, 220_000, 220_001, 320_000]);
    Ok(())
}

#[test]
fn no_two_clients_get_the_same() -> TestResult {
    let redis = Redis::start()?;
    let arguments = [
        "--engine",
        "redis",
        "--dsn",
        &redis.dsn(),
        "--increment",
        "1",
    ];
    let server = Server::start(&arguments)?;
    let mut threads = Vec::new();
    for process in 0..6 {
        let mut client = server.client("").expect("connected");
        threads.push(std::thread::spawn(move || {
            let mut records = Vec::new();
            for round in 0..60 {
                let counts: Vec<i64> = (0..16).map(|n| 1 + (n * round) % 7).collect();
                let mut pipeline = redis::pipe();
                for count in &counts {
                    pipeline.incr("integers", *count);
                }
                let replies: Vec<i64> = pipeline.query(&mut client).expect("minted");
                for (count, last) in counts.into_iter().zip(replies) {
                    let span = Span {
                        first: last - count + 1,
                        step: 1,
                        count: u32::try_from(count).expect("small"),
                    };
                    records.push(Record::untimed(process, span));
                }
            }
            records
        }));
    }
    let mut history = History::default();
    for _ in 0..200 {
        let integer = server.serving.get("/")?.integer();
        history.push(Record::untimed(6, Span::one(integer)));
    }
    for thread in threads {
        for record in thread.join().expect("it ended") {
            history.push(record);
        }
    }
    history.assert_clean();
    Ok(())
}

#[test]
fn bytes_that_are_no_request_are_refused_and_the_connection_is_closed() -> TestResult {
    let server = Server::memory(&[])?;
    let long = format!("*1\r\n${}\r\n", 1 << 30);
    let line = "x".repeat(20 << 10);
    let arguments = format!(
        "*1000\r\n{}",
        format!("$1000\r\n{}\r\n", "x".repeat(1000)).repeat(1000)
    );
    for (bytes, says) in [
        ("*1\r\n*1\r\n*1\r\n", "expected '$'"),
        ("*100000000\r\n", "invalid multibulk length"),
        ("*1\r\n$-5\r\n", "invalid bulk length"),
        (&*long, "invalid bulk length"),
        (&*line, "too big inline request"),
        (&*arguments, "too big request"),
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("not reset");
        assert!(
            reply.starts_with("-ERR Protocol error: ") && reply.contains(says),
            "{reply}"
        );
    }
    // What came before is answered.
    let replies = server.exchange(b"INCR integers\r\n*1\r\nx", 9);
    assert_eq!(replies, ":2\r\n-ERR Protocol error: expected '$'\r\n");
    Ok(())
}

/// A page in a browser can have such requests sent.
#[test]
fn the_body_of_an_http_request_is_not_run() -> TestResult {
    let server = Server::memory(&[])?;
    for (head, says) in [
        ("POST / HTTP/1.1\r\n", "ERR unknown command 'POST'"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "ERR unknown command 'host:'",
        ),
    ] {
        let replies = server.exchange(format!("{head}\r\nINCR integers\r\n").as_bytes(), 9);
        let last = replies.lines().last().unwrap_or_default();
        assert!(last.contains(says), "{replies}");
    }
    assert_eq!(server.exchange(b"INCR integers\r\n", 1), ":2\r\n");
    Ok(())
}

/// Clients that send half of a command, or read no replies, keep nobody else from minting.
#[test]
fn slow_clients_hold_nobody_up() -> TestResult {
    let server = Server::memory(&[])?;
    let half: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = server.connect();
            stream
                .write_all(b"*2\r\n$4\r\nINCR\r\n$8\r\ninte")
                .expect("sent");
            stream
        })
        .collect();
    // This one reads nothing. Its replies fill the buffers of the system, and then the server stops reading.
    let mut deaf = server.connect();
    deaf.set_nonblocking(true).expect("a socket");
    let echo = format!("*2\r\n$4\r\nECHO\r\n$16000\r\n{}\r\n", "x".repeat(16_000));
    let mut sent = 0;
    let begun = std::time::Instant::now();
    while sent < 64 << 20 && begun.elapsed() < Duration::from_secs(2) {
        match deaf.write(echo.as_bytes()) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        // Whole requests, whatever fits.
        if sent % echo.len() != 0 {
            deaf.set_nonblocking(false).expect("a socket");
            let rest = echo.len() - sent % echo.len();
            deaf.set_write_timeout(Some(Duration::from_millis(500)))
                .expect("a timeout");
            if deaf
                .write_all(&echo.as_bytes()[echo.len() - rest..])
                .is_err()
            {
                break;
            }
            sent += rest;
            deaf.set_nonblocking(true).expect("a socket");
        }
    }
    assert!(sent < 64 << 20, "the server took {sent} bytes");
    assert_eq!(
        server
            .client("")
            .and_then(|mut client| client.incr("integers", 1)),
        Ok(2)
    );
    let memory = server.serving.memory()?.now;
    assert!(memory < 200 << 20, "{memory} bytes");
    // The rest of the command makes it whole.
    for (n, mut stream) in half.into_iter().enumerate().take(10) {
        stream.write_all(b"gers\r\n").expect("sent");
        let mut reply = [0; 5];
        let length = stream.read(&mut reply).expect("a reply");
        let expected = format!(":{}\r\n", 4 + 2 * n);
        assert_eq!(&reply[..length], &expected.as_bytes()[..length]);
    }
    drop(deaf);
    Ok(())
}

#[test]
fn a_backend_that_is_away_is_worth_a_retry() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=300ms", redis.dsn());
    let server = Server::start(&["--engine", "redis", "--dsn", &dsn])?;
    redis.kill();
    let mut client = server.client("").expect("connected");
    let error = client
        .incr::<_, _, i64>("integers", 1)
        .expect_err("no backend");
    let text = error.to_string();
    assert!(text.contains("unavailable"), "{text}");
    assert!(!text.contains("127.0.0.1"), "a backend's address: {text}");
    redis.start_again()?;
    testbed::wait::until_or_error("it mints", SOON, || {
        Ok::<_, testbed::Error>(
            client
                .incr::<_, _, i64>("integers", 1)
                .map_err(|e| e.to_string()),
        )
    })?;
    let (_, log) = server.serving.stop()?;
    assert!(log.contains("code=\"unavailable\""), "{log}");
    Ok(())
}

#[test]
fn protocols_that_cannot_keep_a_promise_are_refused() -> TestResult {
    for (arguments, says) in [
        (
            &["--listen", "tcp://127.0.0.1:0", "--mint-token", TOKEN][..],
            "tcp://",
        ),
        (
            &["--protocol", "resp", "--admin-token", TOKEN],
            "--admin-token",
        ),
        (
            &["--protocol", "resp", "--cors-origin", "*"],
            "--cors-origin",
        ),
        (&["--listen", "redis://127.0.0.1:0"], "resp://HOST:PORT"),
    ] {
        let mut all = vec!["serve", "--engine", "memory", "--port", "0"];
        all.extend(arguments);
        Place::new()?.run(&all)?.assert_failed(2, &[says]);
    }
    let serving = Place::new()?.serve(&["--engine", "memory", "--protocol", "resp"])?;
    let url = format!("redis://127.0.0.1:{}", serving.port());
    let mut client = Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("connected");
    assert_eq!(client.incr("integers", 1), Ok(2));
    Ok(())
}
