//! The host stops or refuses a component that misbehaves, with an error that says so, and no other component
//! is affected.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use int_host::compose::{Target, compose};
use int_host::endpoint::{Endpoint, EndpointOptions};
use int_host::{Builtin, Config, Error, Host, INTD, Options, Sequence, Source};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};
use testbed::TestResult;
use testbed::backend;
use testbed::contract::kind;
use testbed::runtime::run;
use testbed::scratch::Scratch;
use testbed::target;

/// The component in `tests/components/misbehaving`.
fn component() -> Source {
    Source::File(target::component("misbehaving").expect("it is built"))
}

/// Options with short limits, so that tests do not have to wait for long.
fn options() -> Options {
    let mut options = Options::default();
    options.cache = Some(backend::cache());
    options.memory = 16 << 20;
    options.compute = Duration::from_millis(300);
    options.call_timeout = Duration::from_secs(3);
    options
}

async fn open_with(options: Options, dsn: &str) -> Result<Sequence, Error> {
    let config = Config {
        dsn: dsn.to_owned(),
        ..Config::default()
    };
    Host::new(options)?.open(component(), config).await
}

/// Opens a sequence of the component on a new host, which must succeed.
async fn open(habit: &str) -> Sequence {
    let dsn = format!("misbehaving:///{habit}");
    open_with(options(), &dsn)
        .await
        .unwrap_or_else(|e| panic!("{dsn}: {e}"))
}

/// The error of a mint, which must fail.
async fn failure(sequence: &Sequence) -> Error {
    sequence.next(1).await.expect_err("it misbehaves")
}

fn assert_broken(error: &Error, says: &str) {
    assert_eq!(kind(error), "broken", "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn one_that_behaves_mints() {
    run(async {
        let sequence = open("behaves").await;
        let minted = sequence.next(3).await.expect("minted");
        assert_eq!(minted.iter().collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(sequence.next(1).await.expect("minted").first(), 8);
        assert_eq!(sequence.last().await, Ok(Some(8)));
    });
}

/// The current resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[test]
fn memory_has_a_limit() {
    run(async {
        let hog = open("hog").await;
        let before = resident();
        for _ in 0..3 {
            assert_broken(&failure(&hog).await, "trapped");
        }
        let grown = resident().saturating_sub(before);
        // The limit leaves room for the tests that run concurrently in this process.
        assert!(grown < 400 << 20, "{grown} bytes more than before");
    });
}

#[test]
fn computing_has_a_limit_and_disturbs_nobody() {
    // Everything runs on one thread, so the instance that computes must yield to the others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let spins = open("spins").await;
        let behaves = open("behaves").await;
        let spinning = tokio::spawn(async move { failure(&spins).await });
        let minting = tokio::spawn(async move {
            let mut minted = 0;
            while !spinning.is_finished() {
                behaves.next(1).await.expect("minted");
                minted += 1;
            }
            (minted, spinning.await.expect("no panic"))
        });
        let (minted, error) = minting.await.expect("no panic");
        assert_broken(&error, "computed for longer than its limit");
        assert!(minted > 1, "{minted} mints beside the one that computed");
    });
    run(async {
        let opened = open_with(options(), "misbehaving:///spins?in=open").await;
        let error = opened.err().expect("it never opens");
        assert_broken(&error, "computed for longer than its limit");
    });
}

/// The limit applies to an instance that gets only a quarter of the thread's time.
#[test]
fn computing_in_turn_has_a_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut options = options();
        options.call_timeout = Duration::from_secs(30);
        let host = Host::new(options).expect("a host");
        let mut spinning = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let config = Config {
                dsn: "misbehaving:///spins".to_owned(),
                ..Config::default()
            };
            let sequence = host.open(component(), config).await.expect("open");
            spinning.spawn(async move { failure(&sequence).await });
        }
        for error in spinning.join_all().await {
            assert_broken(&error, "computed for longer than its limit");
        }
    });
}

#[test]
fn waiting_has_a_limit() {
    run(async {
        let error = failure(&open("waits").await).await;
        assert_broken(&error, "did not answer within 3 s");
        let opened = open_with(options(), "misbehaving:///waits?in=open").await;
        assert_broken(&opened.err().expect("it never opens"), "did not answer");
    });
}

#[test]
fn callers_beyond_the_queue_are_turned_away_at_once() {
    run(async {
        let mut options = options();
        options.queue = 10;
        let sequence = open_with(options, "misbehaving:///waits")
            .await
            .expect("open");
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let sequence = sequence.clone();
            callers.spawn(async move { failure(&sequence).await });
        }
        let errors = callers.join_all().await;
        let busy = errors.iter().filter(|e| **e == Error::Busy).count();
        // Either one call was in flight and ten waited; or the first one was among the ten that waited; or,
        // if all arrived together, one was in flight with a batch of ten, and ten more waited.
        assert!((79..=90).contains(&busy), "{busy} of 100 were turned away");
        assert!(errors.iter().all(|e| matches!(kind(e), "busy" | "broken")));
    });
}

/// Opens more keys than there are instances, and returns two sequences that share one: `bad` and `good`.
async fn open_two(options: Options, habit: &str) -> [Sequence; 2] {
    let others = (1..Sequence::INSTANCES).map(|n| format!("k{n}"));
    let keys = ["bad".to_owned()].into_iter().chain(others);
    let config = Config {
        dsn: format!("misbehaving:///{habit}"),
        ..Config::default()
    };
    let host = Host::new(options).expect("a host");
    let keys = keys.chain(["good".to_owned()]);
    let opened = host.open_keys(component(), config, keys).await;
    let mut opened = opened.unwrap_or_else(|e| panic!("{habit}: {e}"));
    [opened.swap_remove(0), opened.swap_remove(0)]
}

#[test]
fn a_key_that_fails_does_not_fail_others_of_its_instance() {
    run(async {
        let [bad, good] = open_two(options(), "one-fails").await;
        for first in [2, 4] {
            let (failed, minted) = tokio::join!(biased; bad.next(1), good.next(1));
            let error = failed.expect_err("it cannot be served");
            assert_eq!(kind(&error), "unavailable", "{error}");
            assert!(error.to_string().contains("cannot be served"), "{error}");
            assert_eq!(minted.expect("it waited, and was served").first(), first);
        }
    });
}

#[test]
fn waiting_for_others_of_the_instance_has_a_limit() {
    run(async {
        let mut options = options();
        options.wait = Duration::from_millis(200);
        let [bad, good] = open_two(options, "one-waits").await;
        let (failed, waited) = tokio::join!(biased; bad.next(1), good.next(1));
        assert_broken(&failed.expect_err("it waits"), "did not answer within 3 s");
        let error = waited.expect_err("it does not wait for that");
        assert_eq!(kind(&error), "unavailable", "{error}");
        assert!(error.to_string().contains("longer than 200ms"), "{error}");
        assert_eq!(good.next(1).await.expect("its turn").first(), 2);
    });
}

/// Sends a request to the endpoint that is composed with the component, and returns the status.
async fn call(endpoint: &Endpoint, path: &str) -> Result<u16, Error> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::builder().uri(format!("http://x{path}"));
    let request = request.body(body).expect("a request");
    Ok(endpoint.call(request).await?.status().as_u16())
}

#[test]
fn requests_that_went_away_count_until_the_component_is_done_with_them() -> TestResult {
    const REQUESTS: usize = 10;
    let Source::File(file) = component() else {
        panic!("it is a file");
    };
    let engine = std::fs::read(file).expect("a component");
    let scratch = Scratch::new("composed")?;
    let file = scratch.join("composed.wasm");
    let composed = compose(&engine, Target::Spin).expect("composed");
    std::fs::write(&file, composed).expect("written");
    run(async {
        let mut settings = EndpointOptions::default();
        let dsn = "misbehaving:///waits".to_owned();
        settings.settings = BTreeMap::from([("dsn".to_owned(), dsn)]);
        settings.requests = REQUESTS;
        settings.request_timeout = Duration::from_secs(5);
        let host = Host::new(options()).expect("a host");
        let endpoint = host.endpoint(&Source::File(file), settings);
        let endpoint = endpoint.expect("an endpoint");
        let mut left = 0;
        loop {
            let mut request = Box::pin(call(&endpoint, "/"));
            let answer = tokio::time::timeout(Duration::ZERO, &mut request).await;
            if answer.is_ok() {
                assert_eq!(answer, Ok(Err(Error::Busy)));
                break;
            }
            // Requests start in order of arrival, so after this one the abandoned one has started too.
            match call(&endpoint, "/ping").await {
                Ok(status) => assert_eq!(status, 200),
                Err(error) => {
                    assert_eq!(error, Error::Busy);
                    break;
                }
            }
            left += 1;
            assert!(left <= REQUESTS, "{left} requests are in flight");
        }
        assert!(left >= REQUESTS - 1, "{left}");
        // Abandoned requests do not count forever.
        let end = Instant::now() + Duration::from_secs(60);
        while call(&endpoint, "/ping").await == Err(Error::Busy) {
            assert!(Instant::now() < end, "it is still busy");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(call(&endpoint, "/ping").await, Ok(200));
    });
    Ok(())
}

#[test]
fn a_trap_is_an_error_and_the_next_call_starts_anew() {
    run(async {
        let sequence = open("traps").await;
        for _ in 0..3 {
            assert_broken(&failure(&sequence).await, "trapped");
            // The next call runs in a new instance with empty memory.
            assert_eq!(sequence.last().await, Ok(None));
        }
        let opened = open_with(options(), "misbehaving:///traps?in=open").await;
        assert_broken(&opened.err().expect("it does not open"), "trapped");
    });
}

#[test]
fn spans_that_cannot_be_are_not_handed_out() {
    run(async {
        for habit in [
            "too-few",
            "too-many",
            "negative",
            "overflows",
            "off-lattice",
            "stepless",
        ] {
            let sequence = open(habit).await;
            for count in [3, 100] {
                let minted = sequence.next(count).await;
                let error = minted.expect_err(habit);
                assert_eq!(kind(&error), "broken", "{habit}: {error}");
            }
        }
        let opened = open_with(options(), "misbehaving:///lattice").await;
        assert_broken(&opened.err().expect("impossible"), "lattice");
    });
}

/// Each of these habits returns a valid span first.
#[test]
fn integers_that_were_handed_out_are_not_handed_out_again() {
    run(async {
        for habit in ["repeats", "overlaps", "backwards"] {
            let sequence = open(habit).await;
            let first = sequence.next(5).await.expect(habit);
            let second = sequence.next(5).await;
            let error = second.expect_err(&format!("{habit}: after {first:?}"));
            assert_eq!(kind(&error), "broken", "{habit}: {error}");
        }
    });
}

/// Attempts to escape, as `HABIT?to=WHERE`, for DSNs that do not list the address.
const ATTEMPTS: [&str; 8] = [
    "listens",
    "talks?to=127.0.0.1:53",
    "resolves?to=localhost",
    "resolves?to=example.com",
    "reads?to=/etc/passwd",
    "reads?to=/proc/self/environ",
    "environment",
    "dials?to=127.0.0.1:",
];

#[test]
fn nothing_is_reached_that_was_not_given() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let named = other.local_addr().expect("bound");
    run(async {
        // Permission for an address in the DSN must not permit anything else.
        for authority in [String::new(), named.to_string(), "localhost:9".to_owned()] {
            for attempt in ATTEMPTS {
                if attempt.starts_with("resolves") && authority.starts_with("localhost") {
                    continue;
                }
                let attempt = match attempt.strip_suffix(':') {
                    Some(dials) => format!("{dials}:{port}"),
                    None => attempt.to_owned(),
                };
                let dsn = format!("misbehaving://{authority}/{attempt}");
                let opened = open_with(options(), &dsn).await;
                let sequence = opened.unwrap_or_else(|e| panic!("{dsn}: {e}"));
                let error = failure(&sequence).await;
                assert_eq!(kind(&error), "denied", "{dsn}: {error}");
            }
        }
    });
    listener.set_nonblocking(true).expect("set");
    assert!(listener.accept().is_err(), "somebody connected");
}

/// The positive control of the test above: with permission, the attempt succeeds.
#[test]
fn what_was_given_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    run(async {
        let named = format!("misbehaving://{address}/dials?to={address}");
        let sequence = open_with(options(), &named).await.expect("opened");
        let error = failure(&sequence).await;
        assert!(error.to_string().starts_with("ESCAPED"), "{error}");

        // Another address is refused with a hint how to allow it, and then allowed.
        let unnamed = format!("misbehaving://127.0.0.1:9/dials?to={address}");
        let sequence = open_with(options(), &unnamed).await.expect("opened");
        let error = failure(&sequence).await;
        assert_eq!(kind(&error), "denied", "{error}");
        let hint = format!("--allow-host {address}");
        assert!(error.to_string().contains(&hint), "{error}");

        let mut allowing = options();
        allowing.allow = vec![int_host_address(&address.to_string())];
        let sequence = open_with(allowing, &unnamed).await.expect("opened");
        let error = failure(&sequence).await;
        assert!(error.to_string().starts_with("ESCAPED"), "{error}");
    });
}

/// Only names in the DSN or in the user's options are resolved. Otherwise a component could leak data through
/// the names it resolves, to whoever runs their name servers. Both versions of the interface are tested.
#[test]
fn only_names_that_were_given_are_looked_up() {
    run(async {
        let attempt = async |authority: &str, habit: &str, name: &str, allow: &[&str]| {
            let mut options = options();
            options.allow = allow.iter().map(|host| int_host_address(host)).collect();
            let dsn = format!("misbehaving://{authority}/{habit}?to={name}");
            failure(&open_with(options, &dsn).await.expect("opened")).await
        };
        for habit in ["resolves", "resolves-p3"] {
            for (authority, name) in [
                ("localhost:9", "hunter2.localhost"),
                ("localhost:9", "localhost.localdomain"),
                ("127.0.0.1:9", "localhost"),
                ("127.0.0.1:9,[::1]:9", "hunter2.example.com"),
            ] {
                let error = attempt(authority, habit, name, &[]).await;
                assert_eq!(kind(&error), "denied", "{habit} {name}: {error}");
                let text = error.to_string();
                for part in [
                    format!("tried to look up {name}"),
                    format!("--allow-host {name}"),
                ] {
                    assert!(text.contains(&part), "{habit}: no {part:?} in {text}");
                }
            }
            for (authority, name, allow) in [
                ("localhost:9", "localhost", &[][..]),
                ("localhost:9", "LOCALhost", &[]),
                ("localhost:9", "127.0.0.2", &[]),
                ("127.0.0.1:9", "localhost", &["localhost"]),
                ("other.example:9", "localhost", &["localhost:1"]),
            ] {
                let error = attempt(authority, habit, name, allow).await;
                let text = error.to_string();
                assert!(
                    text.starts_with("ESCAPED"),
                    "{habit} {authority} {name}: {text}"
                );
            }
        }
    });
}

/// The hint about a refused address is attached only to the error of the call that was refused, in the same
/// instance.
#[test]
fn a_refusal_is_not_told_twice() {
    run(async {
        let host = Host::new(options()).expect("a host");
        let config = |key: &str| Config {
            dsn: "misbehaving://127.0.0.1:9/grumbles?to=127.0.0.1:10".into(),
            key: key.into(),
            ..Config::default()
        };
        let open = async |key| host.open(component(), config(key)).await.expect("opened");
        let (one, other) = (open("one").await, open("other").await);
        for _ in 0..2 {
            // The engine dials in the first call only, and reports its backend as away in both.
            let error = failure(&one).await;
            assert_eq!(
                kind(&error),
                "unavailable",
                "what the engine says it is: {error}"
            );
            assert!(
                error.to_string().contains("--allow-host 127.0.0.1:10"),
                "{error}"
            );
            let error = failure(&one).await;
            assert_eq!(error, Error::Unavailable("the backend is away".into()));
            let error = failure(&other).await;
            assert!(error.to_string().contains("--allow-host"), "{error}");
            let error = failure(&other).await;
            assert_eq!(error, Error::Unavailable("the backend is away".into()));
        }
    });
}

fn int_host_address(text: &str) -> engine_dsn::Address {
    engine_dsn::Address::parse(text).expect("an address")
}

#[test]
fn what_is_no_engine_is_told_by_what_it_is() -> TestResult {
    let scratch = Scratch::new("components")?;
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let empty = write("empty.wasm", b"\0asm\x0d\0\x01\0");
    let module = write("module.wasm", b"\0asm\x01\0\0\0");
    let cut = write("cut.wasm", &Builtin::Memory.wasm()[..5_000]);
    let text = write("engine.wat", b"(component)");
    let nothing = write("nothing.wasm", b"");
    let intd = write("intd.wasm", INTD);
    let missing = scratch.join("missing.wasm");
    let says: [(&Path, &[&str]); 8] = [
        (&empty, &["artisanal:integers/engine", "exports nothing"]),
        (&module, &["core module"]),
        (&cut, &["not a valid component"]),
        (&text, &["not WebAssembly"]),
        (&nothing, &["not WebAssembly"]),
        (&missing, &["missing.wasm", "No such file"]),
        (scratch.path(), &["cannot read"]),
        (
            &intd,
            &[
                "does not export",
                "wasi:http/handler@0.3.0",
                "wasi:config/store",
            ],
        ),
    ];
    run(async {
        let host = Host::new(options()).expect("a host");
        for (file, says) in says {
            let opened = host
                .open(Source::File(file.to_owned()), Config::default())
                .await;
            let error = opened.err().expect("it is no engine");
            assert_eq!(kind(&error), "misconfigured", "{error}");
            for part in says {
                assert!(
                    error.to_string().contains(part),
                    "{}: {error}",
                    file.display()
                );
            }
        }
    });
    Ok(())
}
