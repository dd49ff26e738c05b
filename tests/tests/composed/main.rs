//! The HTTP endpoint composed with an engine: the same component under `int-host` and, where they are
//! installed, under `wasmtime serve` and Spin.

mod bounds;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use testbed::TestResult;
use testbed::backend::{Backend, KINDS, Kind, Reach};
use testbed::cli::{Place, Serving};
use testbed::history::{History, Record, Span};
use testbed::http::Client;
use testbed::runtime::run;
use testbed::suite::Suite;
use testbed::{clock, packets, port, server, target};

const TOKEN: &str = "an-admin-token-of-some-length";

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(3);
    let wasmtime = server::find("wasmtime", Some("WASMTIME"));
    let spin = server::find("spin", Some("SPIN"));
    for kind in KINDS {
        let engine = kind.name;
        let missing = (kind.missing)();
        suite.test_unless(missing, format!("{engine}::under_int_host"), || {
            under_int_host(*kind)
        });
        let no_wasmtime = wasmtime
            .is_none()
            .then_some("there is no wasmtime on PATH; https://wasmtime.dev");
        // Only our host has the embedded store; `wasmtime serve` has another draft of the interface.
        if engine != "keyvalue" {
            let program = wasmtime.clone().unwrap_or_default();
            suite.test_unless(
                missing.or(no_wasmtime),
                format!("{engine}::under_wasmtime"),
                move || under_wasmtime(*kind, &program),
            );
        }
        let no_spin = spin
            .is_none()
            .then_some("there is no spin on PATH; https://spinframework.dev");
        if let Some(manifest) = manifest(engine) {
            let program = spin.clone().unwrap_or_default();
            suite.test_unless(missing.or(no_spin), format!("{engine}::under_spin"), {
                move || under_spin(*kind, &program, &manifest)
            });
        }
    }
    suite.test(
        "a_composed_endpoint_keeps_to_its_address",
        bounds::keeps_to_its_address,
    );
    suite.test(
        "answers_at_once_leave_no_handles",
        bounds::answers_at_once_leave_no_handles,
    );
    suite.test(
        "a_server_outlives_its_component",
        bounds::outlives_its_component,
    );
    suite.test(
        "an_endpoint_survives_many_instances",
        bounds::many_instances,
    );
    suite.run()
}

/// Composes the endpoint with an engine and returns the file.
fn compose(place: &Place, engine: &str, host: &str) -> TestResult<String> {
    let file = place.file("composed.wasm");
    let file = file.to_str().expect("UTF-8").to_owned();
    let line = ["compose", "--engine", engine, "--for", host, "-o", &file];
    let outcome = place.run(&line)?;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    Ok(file)
}

fn under_int_host(kind: Kind) -> TestResult {
    let backend = (kind.start)()?;
    let place = Place::new()?;
    for host in ["spin", "wasmtime"] {
        let file = compose(&place, kind.name, host)?;
        let dsn = backend.dsn();
        let key = format!("composed-{host}");
        let serving = place.serve(&[
            "--component",
            &file,
            "--dsn",
            &dsn,
            "--key",
            &key,
            "--keys",
            &second(&key),
            "--admin-token",
            TOKEN,
        ])?;
        check(&serving, &key, kind.engine.about().counts())?;
        answers_as_one(&serving, 90)?;
        let (status, log) = serving.stop()?;
        assert_eq!(status.code(), Some(0), "{log}");
    }
    is_durable(kind, &*backend, &place)
}

/// A second server continues the sequence of the first one, if the engine promises that.
fn is_durable(kind: Kind, backend: &dyn Backend, place: &Place) -> TestResult {
    if backend.reach() == Reach::Sequence {
        return Ok(());
    }
    let file = compose(place, kind.name, "spin")?;
    let dsn = backend.dsn();
    let mut greatest = 0;
    for _ in 0..2 {
        let serving = place.serve(&["--component", &file, "--dsn", &dsn, "--key", "durable"])?;
        let minted = serving.get("/")?.integer();
        assert!(minted > greatest, "{minted} after {greatest}");
        greatest = minted;
        serving.stop()?;
    }
    Ok(())
}

fn under_wasmtime(kind: Kind, program: &Path) -> TestResult {
    let backend = (kind.start)()?;
    let place = Place::new()?;
    let file = compose(&place, kind.name, "wasmtime")?;
    let port = port::free()?;
    let mut command = Command::new(program);
    command.args(["serve", "--addr", &format!("127.0.0.1:{port}")]);
    command.args([
        "-S",
        "p3,cli,config,inherit-network,tcp,allow-ip-name-lookup",
    ]);
    command.args(["-W", "component-model-async"]);
    let dsn = backend.dsn();
    for (name, value) in [
        ("dsn", dsn.as_str()),
        ("key", "composed"),
        ("keys", "composed second"),
        ("admin_token", TOKEN),
    ] {
        command.args(["-S", &format!("config-var={name}={value}")]);
    }
    command.arg(file);
    let serving =
        Serving::start_saying(command, |log| log.contains("Serving HTTP").then_some(port))?;
    if backend.reach() == Reach::Sequence {
        // Each instance has its own sequence, and wasmtime decides how many instances there are.
        assert_eq!(serving.get("/")?.integer(), 2);
        assert_eq!(serving.get("/ping")?.body, "PONG");
    } else {
        check(&serving, "composed", kind.engine.about().counts())?;
    }
    answers_as_one(&serving, 50)
}

/// The Spin manifest of an engine, if there is one.
fn manifest(engine: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = match engine {
        "keyvalue" => root.join("spin.toml"),
        engine => root.join("tests/spin").join(format!("{engine}.toml")),
    };
    path.is_file().then_some(path)
}

fn under_spin(kind: Kind, program: &Path, manifest: &Path) -> TestResult {
    let backend = (kind.start)()?;
    let place = Place::new()?;
    // The manifests refer to the output of `spin build`, which is the same files that our host embeds.
    let built = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/components/wasm32-wasip2/component/intd.wasm");
    assert!(
        built.is_file(),
        "{} is missing; the tests of Spin need the target folder to be `target`, not {}",
        built.display(),
        target::directory().display()
    );
    let port = port::free()?;
    let mut command = Command::new(program);
    command.args(["up", "--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--from").arg(manifest);
    command.arg("--state-dir").arg(place.file("state"));
    let dsn = match backend.reach() {
        Reach::Everybody => backend.dsn(),
        _ => String::new(),
    };
    command.env("SPIN_VARIABLE_DSN", dsn);
    command.env("SPIN_VARIABLE_KEY", "composed");
    command.env("SPIN_VARIABLE_KEYS", second("composed"));
    command.env("SPIN_VARIABLE_ADMIN_TOKEN", TOKEN);
    if let Some(port) = backend.port() {
        let scheme = match kind.name {
            "rqlite" | "http" => "http",
            _ => "tcp",
        };
        command.env(
            "SPIN_VARIABLE_BACKEND",
            format!("{scheme}://127.0.0.1:{port}"),
        );
    }
    let serving =
        Serving::start_saying(command, |log| log.contains("Serving http").then_some(port))?;
    check(&serving, "composed", kind.engine.about().counts())?;
    answers_as_one(&serving, 50)
}

/// Head and body of at least `least` of 100 responses arrive in one packet.
///
/// Not all do, because the body is produced by another task than the one that sends the head. `int-host` waits
/// for it for a short time; other hosts send the head alone when that task has not run yet.
fn answers_as_one(serving: &Serving, least: usize) -> TestResult {
    for path in ["/", "/ping"] {
        let whole = packets::whole_answers(serving.port(), path, 100)?;
        assert!(
            whole >= least,
            "{path}: the first packet has all of an answer {whole} times in 100, not {least}"
        );
    }
    Ok(())
}

/// The key of the second sequence of each server.
fn second(key: &str) -> String {
    format!("{key} second")
}

/// Checks the endpoint's behaviour, which must be the same under every host.
fn check(serving: &Serving, key: &str, counts: &str) -> TestResult {
    let first = serving.get("/")?;
    assert_eq!(first.status, 200, "{}\n{}", first.body, serving.log());
    assert!(
        counts.starts_with(&first.body),
        "{} is not the first of {counts}",
        first.body
    );
    assert_eq!(first.header("content-type"), "text/plain");
    assert_eq!(first.header("cache-control"), "no-store");
    let first = first.integer();
    assert_eq!(serving.get("/")?.integer(), first + 2);
    assert_eq!(
        serving.get("/?count=2")?.body,
        format!("{}\n{}\n", first + 4, first + 6)
    );
    assert_eq!(serving.get("/ping")?.body, "PONG");
    assert_eq!(serving.get("/healthz")?.status, 200);
    assert_eq!(serving.get("/favicon.ico")?.status, 404);
    assert_eq!(
        serving.request("DELETE", "/", &[], "")?.header("allow"),
        "GET, POST"
    );
    assert!(serving.get("/openapi.json")?.json()["paths"].is_object());
    let last = serving.get("/last")?.integer();
    assert!((first + 6..first + 8).contains(&last), "{last}");

    let sequence = format!("/v1/sequences/{key}");
    let headers = [
        ("authorization", "Bearer an-admin-token-of-some-length"),
        ("content-type", "application/json"),
    ];
    let put = |value: i64| {
        serving.request(
            "PUT",
            &sequence,
            &headers,
            &json!({"last": value}).to_string(),
        )
    };
    let exact = (1i64 << 53) + 1;
    let unauthorized = serving.request("PUT", &sequence, &[], r#"{"last": 5000}"#)?;
    assert_eq!(unauthorized.status, 401);
    let answer = put(1)?;
    assert_eq!(
        (answer.status, answer.json()["current"].as_i64()),
        (409, Some(last))
    );
    let answer = put(exact)?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(serving.get(&sequence)?.json()["last"], exact);
    let next = format!("{sequence}/next?count=3&strings=true");
    // What a client relies on is not ignored.
    let idempotent = serving.request("POST", &next, &[("idempotency-key", "order-1")], "")?;
    assert_eq!(idempotent.status, 501, "{}", idempotent.body);
    let with_body = serving.request("POST", &next, &[], r#"{"count": 5}"#)?;
    assert_eq!(with_body.status, 400, "{}", with_body.body);
    assert_eq!(serving.get(&sequence)?.json()["last"], exact);
    let minted = serving.request("POST", &next, &[], "")?;
    assert_eq!(minted.json()["count"], "3");
    let next = minted.json()["first"]
        .as_str()
        .and_then(|text| text.parse::<i64>().ok());
    assert!(next > Some(exact), "{}", minted.body);
    let other = format!("/v1/sequences/{}/next", second(key).replace(' ', "%20"));
    let second = serving.request("POST", &other, &[], "")?;
    assert_eq!(second.json()["first"], first, "{}", second.body);
    assert_eq!(serving.get("/v1/sequences/third")?.status, 404);
    at_once(serving)
}

/// Mints over many concurrent connections, often enough for requests to share an instance.
fn at_once(serving: &Serving) -> TestResult {
    let records: TestResult<Vec<_>> = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for process in 0..24u32 {
            let count = [1, 1, 10][process as usize % 3];
            let url = serving.url(&format!("/?count={count}"));
            clients.spawn(async move {
                let client = Client::default();
                let mut records = Vec::new();
                for _ in 0..15 {
                    let begin = clock::now();
                    let answer = client.send("GET", &url, &[], "").await?;
                    let end = clock::now();
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let integers = answer
                        .body
                        .lines()
                        .map(|line| line.parse().expect("an integer"));
                    let before = records.len();
                    records.extend(integers.map(|integer| Record {
                        process,
                        begin,
                        end,
                        span: Span::one(integer),
                    }));
                    assert_eq!(records.len() - before, count);
                }
                Ok(records)
            });
        }
        clients.join_all().await.into_iter().collect()
    });
    History::from_iter(records?.into_iter().flatten()).assert_clean();
    Ok(())
}
