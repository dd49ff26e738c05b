//! More clients than can be served, and a backend that does not answer for a while: memory stays bounded,
//! requests beyond the queue limit are refused at once, and everything recovers with the backend.

use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving, within_shell};
use testbed::history::{History, Record, Span};
use testbed::load::{Load, Protocol, Seen};
use testbed::redis::Redis;
use testbed::rqlite::Rqlite;
use testbed::server::Server;
use testbed::suite::Suite;
use testbed::{open_files, wait};
use tokio::task::LocalSet;

/// How long the backend is paused.
const STALL: Duration = Duration::from_secs(5);

/// How much memory a stall may take on top of what the same clients take otherwise: memory for waiting requests
/// but none for refused ones.
const STALL_KIB: u64 = 64 << 10;

/// The time limit of every wait, far above the usual duration, since tests compete for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    // One test at a time, since each uses up the limits of a process.
    let mut suite = Suite::new().threads(1);
    suite.test("http", || {
        let redis = Redis::start()?;
        let dsn = redis.dsn();
        Overload {
            clients: 10_000,
            waiting: 2 * 4096,
            ..Overload::http(&["--engine", "redis", "--dsn", &dsn])
        }
        .check(&redis)
    });
    suite.test("http_rqlite", || {
        let rqlite = Rqlite::start()?;
        let dsn = rqlite.dsn();
        Overload::http(&["--engine", "rqlite", "--dsn", &dsn, "--queue", "200"])
            .check(rqlite.node(0))
    });
    suite.test("tcp", || {
        let redis = Redis::start()?;
        let dsn = redis.dsn();
        let line = ["--protocol", "tcp", "--engine", "redis", "--dsn", &dsn];
        let line = [&line[..], &["--queue", "200"]].concat();
        Overload {
            protocol: Protocol::Tcp,
            ..Overload::http(&line)
        }
        .check(&redis)
    });
    suite.test("composed", || {
        let redis = Redis::start()?;
        let dsn = redis.dsn();
        let place = Place::new()?;
        let file = place.file("composed.wasm");
        let file = file.to_str().expect("UTF-8");
        let outcome = place.run(&["compose", "--engine", "redis", "-o", file])?;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        // The limit covers all requests in flight, however many of them wait in the component.
        let line = ["--component", file, "--dsn", &dsn, "--max-requests", "400"];
        Overload {
            waiting: 400,
            ..Overload::http(&line)
        }
        .check(&redis)
    });
    suite.test("few_open_files", few_open_files);
    suite.run()
}

/// The parameters of one overload test.
struct Overload<'a> {
    protocol: Protocol,
    arguments: Vec<&'a str>,
    clients: usize,
    /// The maximum number of clients that wait for the backend: in the call in flight, and for the next one.
    waiting: usize,
}

impl<'a> Overload<'a> {
    /// A thousand HTTP clients of a server with a queue limit of two hundred.
    fn http(arguments: &[&'a str]) -> Self {
        Self {
            protocol: Protocol::Http,
            arguments: arguments.to_vec(),
            clients: 1000,
            waiting: 2 * 200,
        }
    }

    fn check(&self, backend: &Server) -> TestResult {
        // Each client is an open file; the rest is for other files.
        open_files::allow(self.clients as u64 + 500)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        // Many systems start programs with a low soft limit, which the server must raise.
        let serving = serve("ulimit -Sn 256", &self.arguments)?;
        let stalled = LocalSet::new().block_on(&runtime, self.stall(serving, backend))?;
        let history = stalled
            .into_iter()
            .map(|integer| Record::untimed(0, Span::one(integer)));
        let history = History::from_iter(history);
        history.assert_clean();
        assert!(history.integers() >= 2 * self.clients as u64);
        Ok(())
    }

    /// The maximum memory of the server in KiB: mostly the buffers of the connections, 16 KiB each, and the
    /// allocator's overhead for them.
    fn memory(&self) -> u64 {
        (96 << 10) + 40 * self.clients as u64
    }

    async fn stall(&self, serving: Serving, backend: &Server) -> TestResult<Vec<i64>> {
        let all = self.clients;
        let load = Load::start(self.protocol, serving.port(), all);
        load.until("all are served", LIMIT, |seen| seen.minted == all)
            .await?;
        let warm = serving.memory()?;
        backend.pause();
        load.mark();
        tokio::time::sleep(STALL).await;
        let turned_away = |seen: Seen| seen.busy >= all - self.waiting;
        load.until("excess clients are refused", LIMIT, turned_away)
            .await?;
        backend.resume();
        load.mark();
        load.until("all are served again", LIMIT, |seen| seen.minted == all)
            .await?;
        let memory = serving.memory()?;
        assert!(memory.most < self.memory(), "{memory:?}");
        // The kernel counts in batches, so that a later reading can be a little lower.
        let stall = memory.most.saturating_sub(warm.most);
        assert!(stall < STALL_KIB, "the stall took {stall} KiB: {memory:?}");
        // From here on the server closes connections.
        load.expect_the_end();
        serving.signal(Signal::TERM);
        let integers = load.end(LIMIT).await?;
        let (status, log) = serving.end()?;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.len() < 16 << 10, "it logs each of them: {log}");
        Ok(integers)
    }
}

/// Starts a server in a shell that first sets the limit on open files.
fn serve(ulimit: &str, arguments: &[&str]) -> TestResult<Serving> {
    let place = Place::new()?;
    let mut line = vec!["serve", "--port", "0", "--host", "127.0.0.1"];
    line.extend(arguments);
    let script = format!("{ulimit} && exec \"$@\"");
    Ok(Serving::start(within_shell(
        &script,
        &place.command(&line)?,
    ))?)
}

/// More connections than open files are allowed: further connections wait, and the server keeps files in
/// reserve for its own connections to the backend.
fn few_open_files() -> TestResult {
    let redis = Redis::start()?;
    let dsn = redis.dsn();
    let mut serving = serve("ulimit -n 256", &["--engine", "redis", "--dsn", &dsn])?;
    let mut clients: Vec<_> = (0..300).map(|_| Keep::connect(serving.port())).collect();
    let mut integers = vec![clients[0].mint()?];
    wait::until_true("the connection limit is reached", LIMIT, || {
        let log = serving.log();
        log.contains("are in use; others wait") || log.contains("cannot accept")
    })?;
    let waiting = clients.pop().expect("a client");
    redis.query::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    integers.push(clients[0].mint()?);
    redis.kill();
    redis.start_again()?;
    integers.push(clients[0].mint()?);
    assert_eq!(serving.ended(), None);
    drop(clients);
    let mut waiting = waiting;
    integers.push(waiting.mint()?);
    assert!(integers.is_sorted_by(|a, b| a < b), "{integers:?}");
    let (status, log) = serving.stop()?;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.len() < 16 << 10, "{log}");
    Ok(())
}

/// A keep-alive connection.
struct Keep(BufReader<TcpStream>);

impl Keep {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        Self(BufReader::new(stream))
    }

    /// Requests an integer, with retries until the server returns one.
    fn mint(&mut self) -> TestResult<i64> {
        let minted = wait::until("it mints", LIMIT, || {
            self.0
                .get_mut()
                .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("sent");
            let mut length = 0;
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let begin = head.len();
                assert_ne!(self.0.read_line(&mut head).expect("a line"), 0, "{head}");
                if let Some(value) = head[begin..].strip_prefix("content-length: ") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("a body");
            let body = String::from_utf8_lossy(&body);
            body.parse().map_err(|_| format!("{head}{body}"))
        })?;
        Ok(minted)
    }
}
