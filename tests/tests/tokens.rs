//! `int-host serve --tokens`: what the holders of named tokens may do, over HTTP and the Redis protocol.

use redis::{Commands, Connection, RedisError};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::Answer;
use testbed::{port, wait};

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(30);

/// A server with a file of tokens.
struct Server {
    serving: Serving,
    place: Place,
    resp: u16,
}

/// Makes a token: the token itself, and its entry.
fn token(place: &Place, arguments: &[&str]) -> TestResult<(String, String)> {
    let made = place.run(&[&["token", "new"], arguments].concat())?;
    assert_eq!(made.code, Some(0), "{made:?}");
    let token = made.stderr.lines().last().expect("the token").to_owned();
    assert_eq!((token.len(), &token[..4]), (68, "int_"), "{made:?}");
    assert!(
        !made.stdout.contains(&token),
        "only its hash is in the file"
    );
    Ok((token, made.stdout))
}

fn file(place: &Place) -> PathBuf {
    place.file("tokens.toml")
}

impl Server {
    /// A server with a token for each of these sets of options.
    fn start<const N: usize>(tokens: [&[&str]; N]) -> TestResult<(Self, [String; N])> {
        let place = Place::new()?;
        let (mut given, mut entries) = (Vec::new(), String::new());
        for options in tokens {
            let (token, entry) = token(&place, options)?;
            given.push(token);
            entries.push_str(&entry);
        }
        std::fs::write(file(&place), entries).expect("written");
        let resp = port::free()?;
        let listen = format!("resp://127.0.0.1:{resp}");
        let metrics = port::free()?.to_string();
        let file = file(&place);
        let serving = place.serve(&[
            "--engine",
            "memory",
            "--keys",
            "orders-*,bills,secret-*",
            "--listen",
            &listen,
            "--metrics",
            &metrics,
            "--tokens",
            file.to_str().expect("Unicode"),
        ])?;
        let server = Self {
            serving,
            place,
            resp,
        };
        Ok((server, given.try_into().expect("as many tokens")))
    }

    fn ask(&self, token: &str, method: &str, path: &str) -> TestResult<Answer> {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = if method == "PUT" {
            "{\"last\": 100}"
        } else {
            ""
        };
        Ok(self.serving.request(method, path, &headers, body)?)
    }

    fn status(&self, token: &str, method: &str, path: &str) -> TestResult<u16> {
        Ok(self.ask(token, method, path)?.status)
    }

    fn redis(&self, user: &str, token: &str) -> Result<Connection, RedisError> {
        redis::Client::open(format!("redis://{user}:{token}@127.0.0.1:{}", self.resp))?
            .get_connection()
    }
}

fn fails(reply: Result<i64, RedisError>, says: &str) {
    let error = reply.expect_err(says).to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_token_opens_its_sequences_and_rights() -> TestResult {
    let (server, [orders, reader, admin]) = Server::start([
        &[
            "--name",
            "orders",
            "--keys",
            "orders-*,integers",
            "--rights",
            "mint,read",
        ],
        &["--name", "reader", "--rights", "read"],
        &["--name", "admin", "--rights", "raise"],
    ])?;
    let status = |token: &str, method, path| server.status(token, method, path);
    // What needs no token.
    for path in ["/ping", "/healthz", "/openapi.json"] {
        assert_eq!(server.serving.get(path)?.status, 200, "{path}");
    }
    for path in [
        "/",
        "/?count=2",
        "/last",
        "/v1/sequences",
        "/v1/sequences/bills",
    ] {
        assert_eq!(server.serving.get(path)?.status, 401, "{path}");
        assert_eq!(status("int_0", "GET", path)?, 401, "{path}");
    }
    assert_eq!(server.ask(&orders, "GET", "/")?.body, "2");
    assert_eq!(server.ask(&orders, "GET", "/?count=2")?.body, "4\n6\n");
    assert_eq!(server.ask(&reader, "GET", "/last")?.body, "6");
    let next = "/v1/sequences/orders-1/next";
    assert_eq!(status(&orders, "POST", next)?, 200);
    for (token, method, path) in [
        (&reader, "GET", "/"),
        (&reader, "GET", "/?count=2"),
        (&reader, "POST", next),
        (&reader, "PUT", "/v1/sequences/bills"),
        (&orders, "POST", "/v1/sequences/bills/next"),
        (&orders, "GET", "/v1/sequences/bills"),
        (&orders, "GET", "/v1/sequences/nothing"),
        (&orders, "PUT", "/v1/sequences/orders-1"),
        (&admin, "GET", "/last"),
        (&admin, "GET", "/v1/sequences"),
    ] {
        let answer = server.ask(token, method, path)?;
        assert_eq!(answer.status, 403, "{method} {path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], "forbidden");
    }
    assert_eq!(status(&reader, "GET", "/v1/sequences/nothing")?, 404);
    assert_eq!(status(&admin, "PUT", "/v1/sequences/bills")?, 200);
    assert_eq!(status(&reader, "GET", "/v1/sequences/bills")?, 200);
    let log = server.serving.log();
    let line = log
        .lines()
        .find(|line| line.contains("a sequence was raised"));
    assert!(line.expect("logged").contains("token=\"admin\""), "{log}");
    for token in [&orders, &reader, &admin] {
        assert!(!log.contains(token.as_str()));
    }
    // The list has what the token may read.
    assert_eq!(
        server.ask(&orders, "GET", "/v1/sequences")?.json(),
        json!({"keys": ["integers", "orders-1"], "next": null, "patterns": ["orders-*"]})
    );
    assert_eq!(
        server.ask(&reader, "GET", "/v1/sequences?limit=2")?.json(),
        json!({"keys": ["bills", "integers"], "next": "integers", "patterns": ["orders-*", "secret-*"]})
    );
    Ok(())
}

#[test]
fn the_redis_protocol_knows_tokens() -> TestResult {
    let (server, [orders, reader]) = Server::start([
        &["--name", "orders", "--keys", "orders-*", "--rights", "mint"],
        &["--name", "reader", "--rights", "read"],
    ])?;
    for user in ["", "default", "orders"] {
        let mut client = server.redis(user, &orders).expect("authenticated");
        assert!(client.incr::<_, _, i64>("orders-1", 1).is_ok());
        fails(client.incr("bills", 1), "not for this sequence");
        fails(client.get("orders-1"), "does not allow to read");
        fails(client.exists("orders-1"), "does not allow to read");
    }
    let mut client = server.redis("", &reader).expect("authenticated");
    assert_eq!(client.get("orders-1"), Ok(Some(6)));
    fails(client.incr("orders-1", 1), "does not allow to mint");
    assert!(
        server.redis("reader", &orders).is_err(),
        "another one's name"
    );
    assert!(server.redis("", "int_0").is_err());
    // In a pipeline, what is refused stands between what is not.
    let mut stream = TcpStream::connect(("127.0.0.1", server.resp)).expect("it listens");
    let commands =
        format!("AUTH {orders}\r\nINCR orders-1\r\nINCR bills\r\nINCR orders-1\r\nQUIT\r\n");
    stream.write_all(commands.as_bytes()).expect("sent");
    let mut replies = String::new();
    stream.read_to_string(&mut replies).expect("replies");
    let expected = "+OK\r\n:8\r\n-NOPERM this token is not for this sequence\r\n:10\r\n+OK\r\n";
    assert_eq!(replies, expected);
    Ok(())
}

#[test]
fn beyond_a_limit_nothing_is_minted() -> TestResult {
    let (server, [requests, integers, free]) = Server::start([
        &["--name", "few-requests", "--requests-per-second", "1"],
        &["--name", "few-integers", "--integers-per-second", "1"],
        &["--name", "free"],
    ])?;
    // The second request of a second is refused, or the clock went on; a few tries at once are refused for sure.
    let refused = |token: &str, path: &str| -> TestResult<Answer> {
        for _ in 0..100 {
            let answer = server.ask(token, "GET", path)?;
            if answer.status != 200 {
                return Ok(answer);
            }
        }
        panic!("{path} was never refused");
    };
    for (token, path) in [
        (&requests, "/last"),
        (&requests, "/"),
        (&integers, "/?count=500"),
    ] {
        server.ask(&free, "GET", "/")?;
        let answer = refused(token, path)?;
        assert_eq!(answer.status, 429, "{}", answer.body);
        assert_eq!(answer.json()["code"], "limited");
        let wait: u32 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=501).contains(&wait), "{wait}");
    }
    // A refused request mints nothing.
    let last = server.ask(&free, "GET", "/last")?.integer();
    assert_eq!(server.ask(&integers, "GET", "/?count=500")?.status, 429);
    let mut client = server.redis("", &integers).expect("authenticated");
    fails(
        client.incr("integers", 5),
        "used up its integers per second",
    );
    assert_eq!(server.ask(&free, "GET", "/last")?.integer(), last);
    // To read takes no integers.
    assert_eq!(server.status(&integers, "GET", "/last")?, 200);
    let log = server.serving.log();
    let (_, rest) = log.split_once("metrics on ").expect("an address");
    let url = rest.lines().next().expect("a line");
    let metrics = testbed::http::get(url)?.body;
    let counted = "artisanal_requests_limited_total{limit=\"requests\",token=\"few-requests\"} ";
    assert!(metrics.contains(counted), "{metrics}");
    let counted = "artisanal_requests_limited_total{limit=\"integers\",token=\"few-integers\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
    Ok(())
}

/// A pipeline of equal requests is no way around a limit.
#[test]
fn each_request_of_a_pipeline_counts() -> TestResult {
    let (server, [few]) = Server::start([&["--name", "few", "--requests-per-second", "5"]])?;
    let mut stream = TcpStream::connect(("127.0.0.1", server.resp)).expect("it listens");
    let requests = format!("AUTH {few}\r\n{}QUIT\r\n", "INCR bills\r\n".repeat(200));
    stream.write_all(requests.as_bytes()).expect("sent");
    let mut replies = String::new();
    stream.read_to_string(&mut replies).expect("replies");
    let refused = replies.matches("-TRYAGAIN").count();
    let minted = replies.matches("\r\n:").count();
    assert_eq!(minted + refused, 200, "{replies}");
    assert!((5..100).contains(&minted), "{replies}");
    Ok(())
}

#[test]
fn a_changed_file_is_used_by_open_connections_too() -> TestResult {
    let (server, [one, two]) = Server::start([&["--name", "one"], &["--name", "two"]])?;
    let mut clients = [&one, &two].map(|token| server.redis("", token).expect("authenticated"));
    for client in &mut clients {
        assert!(client.incr::<_, _, i64>("bills", 1).is_ok());
    }
    let path = file(&server.place);
    let all = std::fs::read_to_string(&path).expect("read");
    // A bad file changes nothing.
    std::fs::write(&path, all.replace("mint", "everything")).expect("written");
    wait::until_true("it is logged", SOON, || {
        server
            .serving
            .log()
            .contains("cannot be used, so those that were read before stay in use")
    })?;
    assert_eq!(server.status(&one, "GET", "/")?, 200);
    // Without the first token, and with less for the second one.
    let (_, second) = all.split_once("\n[[token]]").expect("two entries");
    let new = format!("[[token]]{}", second.replace("\"mint\", ", ""));
    std::fs::write(&path, new).expect("written");
    let refused = || match server.status(&one, "GET", "/")? {
        401 => Ok(Ok(())),
        other => Ok(Err(other)),
    };
    wait::until_or_error("the first token is refused", SOON, || {
        refused().map_err(|error: testbed::Failure| panic!("{error:?}"))
    })?;
    let [first, second] = &mut clients;
    fails(first.incr("bills", 1), "Authentication required");
    fails(second.incr("bills", 1), "does not allow to mint");
    assert_eq!(second.get("bills"), Ok(Some(4)));
    assert_eq!(server.status(&two, "GET", "/")?, 403);
    Ok(())
}

#[test]
fn what_cannot_be_honoured_is_refused_at_the_start() -> TestResult {
    let place = Place::new()?;
    let (_, entry) = token(&place, &["--name", "a"])?;
    std::fs::write(file(&place), &entry).expect("written");
    let path = file(&place);
    let path = path.to_str().expect("Unicode");
    let base = ["serve", "--engine", "memory", "--port", "0", "--tokens"];
    let fails = |options: &[&str], code: i32, says: &[&str]| -> TestResult {
        place
            .run(&[&base, options].concat())?
            .assert_failed(code, says);
        Ok(())
    };
    fails(&[path, "--mint-token", "t"], 2, &["--mint-token"])?;
    fails(&[path, "--admin-token", "t"], 2, &["--admin-token"])?;
    fails(&[path, "--protocol", "tcp"], 2, &["--tokens"])?;
    fails(
        &[path, "--listen", "tcp://localhost:0"],
        2,
        &["tcp://", "--tokens"],
    )?;
    fails(&["missing.toml"], 8, &["missing.toml"])?;
    std::fs::write(file(&place), entry.replace("sha256:", "sha1:")).expect("written");
    fails(&[path], 2, &["token `a`", "sha256:"])?;
    place
        .run(&["token", "new", "--name", "a b"])?
        .assert_failed(2, &["a name is"]);
    place
        .run(&["token", "new", "--name", "a", "--rights", "all"])?
        .assert_failed(2, &["`mint`, `read` or `raise`"]);
    Ok(())
}
