//! The Redis protocol of `int-host serve`, with a client of Redis and with bytes that no client sends.

mod hostile;
mod pipelines;

use redis::{Client, Commands, Connection, RedisError};
use std::io::{Read, Write};
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

    fn redis(dsn: &str, arguments: &[&str]) -> TestResult<Self> {
        let mut all = vec!["--engine", "redis", "--dsn", dsn];
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
    let server = Server::redis(&redis.dsn(), &["--increment", "1"])?;
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

#[test]
fn no_two_clients_get_the_same() -> TestResult {
    let redis = Redis::start()?;
    let server = Server::redis(&redis.dsn(), &["--increment", "1"])?;
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
fn a_backend_that_is_away_is_worth_a_retry() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=300ms", redis.dsn());
    let server = Server::redis(&dsn, &[])?;
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
