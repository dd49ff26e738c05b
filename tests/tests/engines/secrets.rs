//! No password is logged, even at the most verbose log level.

use int_host::Builtin;
use testbed::TestResult;
use testbed::backend::{KINDS, Kind};
use testbed::cli::{Outcome, Place, run};
use testbed::mariadb::MariaDb;
use testbed::postgres::Postgres;
use testbed::redis::{self, Redis};
use testbed::rqlite::Rqlite;
use testbed::scratch::Scratch;

/// A password with a character that a URL must escape, so that it has two spellings.
const PASSWORD: &str = "Tr0ub4dor@3";

/// The password as escaped in a URL.
const ESCAPED: &str = "Tr0ub4dor%403";

/// Texts that must not be logged: the common part of both spellings, and the base64 encoding of
/// `minter:Tr0ub4dor@3` for HTTP basic authentication.
const SECRETS: [&str; 2] = ["Tr0ub4dor", "bWludGVyOlRyMHViNGRvckAz"];

/// The DSNs and the server of an engine, which requires [`PASSWORD`] if it supports passwords.
struct Guarded {
    dsns: Vec<String>,
    _server: Box<dyn std::any::Any>,
}

fn guarded(kind: &Kind) -> TestResult<Guarded> {
    Ok(match kind.engine {
        Builtin::Redis => {
            let server = Redis::with(redis::Options {
                password: Some(PASSWORD.into()),
                ..redis::Options::default()
            })?;
            Guarded {
                dsns: vec![format!("redis://:{ESCAPED}@127.0.0.1:{}", server.port())],
                _server: Box::new(server),
            }
        }
        Builtin::Mysql => {
            let server = MariaDb::start()?;
            server.sql(&format!(
                "CREATE USER guarded@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT ALL ON artisanal.* TO guarded@'127.0.0.1'"
            ))?;
            let port = server.port();
            Guarded {
                dsns: vec![
                    format!("mysql://guarded:{ESCAPED}@127.0.0.1:{port}/artisanal"),
                    format!("guarded:{PASSWORD}@tcp(127.0.0.1:{port})/artisanal"),
                ],
                _server: Box::new(server),
            }
        }
        Builtin::Postgres => {
            let server = Postgres::start()?;
            server.sql(&format!(
                "CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'; \
                 GRANT CREATE ON SCHEMA public TO guarded"
            ))?;
            let port = server.port();
            Guarded {
                dsns: vec![
                    format!("postgres://guarded:{ESCAPED}@127.0.0.1:{port}/artisanal"),
                    format!(
                        "host=127.0.0.1 port={port} user=guarded password={PASSWORD} dbname=artisanal"
                    ),
                ],
                _server: Box::new(server),
            }
        }
        Builtin::Rqlite => {
            let scratch = Scratch::new("auth")?;
            let file = scratch.join("auth.json");
            let users = serde_json::json!([
                {"username": "minter", "password": PASSWORD, "perms": ["all"]},
                {"username": "*", "perms": ["ready", "status"]},
            ]);
            std::fs::write(&file, users.to_string()).expect("written");
            let server = Rqlite::with(&["-auth", file.to_str().expect("UTF-8")])?;
            Guarded {
                dsns: vec![format!(
                    "http://minter:{ESCAPED}@127.0.0.1:{}",
                    server.ports()[0]
                )],
                _server: Box::new((server, scratch)),
            }
        }
        // The other engines have no passwords.
        _ => {
            let backend = (kind.start)()?;
            Guarded {
                dsns: vec![backend.dsn()],
                _server: Box::new(backend),
            }
        }
    })
}

fn assert_silent(what: &str, text: &str) {
    for secret in SECRETS {
        if let Some(at) = text.find(secret) {
            let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let line = text[from..].lines().next().unwrap_or_default();
            panic!("{what} shows the password:\n{line}");
        }
    }
}

fn traced(place: &Place, line: &[&str]) -> TestResult<Outcome> {
    let mut command = place.command(line)?;
    command.env("RUST_LOG", "trace");
    let outcome = run(command)?;
    // Without any log output the test would prove nothing.
    assert!(outcome.stderr.contains("TRACE"), "{line:?} logs nothing");
    assert_silent(&format!("{line:?}"), &outcome.stdout);
    assert_silent(&format!("{line:?}"), &outcome.stderr);
    Ok(outcome)
}

#[test]
fn no_password_is_logged_by_any_engine() -> TestResult {
    for kind in KINDS {
        if (kind.missing)().is_some() {
            continue;
        }
        let place = Place::new()?;
        let guarded = guarded(kind)?;
        for (number, dsn) in guarded.dsns.iter().enumerate() {
            let key = format!("traced{number}");
            let engine = ["--engine", kind.name, "--dsn", dsn, "--key", &key];
            for more in [
                &["--set-last-int", "500"][..],
                &["last", "--set-last-int", "1000"],
            ] {
                let outcome = traced(&place, &[&engine[..], more].concat())?;
                let last = outcome.stderr.lines().last();
                assert_eq!(outcome.code, Some(0), "{more:?}: {last:?}");
            }
            // Access to the same sequences over HTTP.
            let file = place.file("composed.wasm");
            let file = file.to_str().expect("UTF-8");
            let compose = ["compose", "--engine", kind.name, "-o", file];
            assert_eq!(place.run(&compose)?.code, Some(0));
            for component in [["--engine", kind.name], ["--component", file]] {
                let mut line = vec![
                    "serve",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    "0",
                    "--log-requests",
                ];
                line.extend(component);
                line.extend([
                    "--dsn",
                    dsn,
                    "--admin-token",
                    PASSWORD,
                    "--mint-token",
                    PASSWORD,
                ]);
                let mut command = place.command(&line)?;
                command.env("RUST_LOG", "trace");
                let serving = testbed::cli::Serving::start(command)?;
                let bearer = format!("Bearer {PASSWORD}");
                let headers = [("authorization", bearer.as_str())];
                for (method, path) in [
                    ("GET", "/"),
                    ("GET", "/last"),
                    ("GET", "/?count=1000"),
                    ("GET", "/healthz"),
                ] {
                    let answer = serving.request(method, path, &headers, "")?;
                    assert!(matches!(answer.status, 200 | 404), "{path}: {answer:?}");
                    assert_silent(path, &answer.body);
                }
                let (_, log) = serving.stop()?;
                assert!(log.contains("TRACE"), "{component:?} logs nothing");
                assert_silent(&format!("the log of {component:?}"), &log);
            }
        }
    }
    Ok(())
}

/// Passwords that are not escaped, or in the wrong position.
#[test]
fn no_part_of_a_password_is_shown_where_the_dsn_is_wrong() -> TestResult {
    let place = Place::new()?;
    for engine in Builtin::ALL.map(|engine| engine.about().name) {
        for dsn in [
            "root:Passw@Tr0ub4dor(1)/db",
            "root:Passw@Tr0ub4dor/db",
            "root:x/?Tr0ub4dor@tcp(h)",
            "SCHEME://root:Passw@Tr0ub4dor(1)/db",
            "SCHEME://root:Passw@Tr0ub 4dor/db",
            "SCHEME://root:a@b?Tr0ub4dor@h:1/db",
            "SCHEME://root:a/Tr0ub4dor@h:1/db",
            "SCHEME://Tr0ub4dor@h:x/db",
            "SCHEME://h,Tr0ub4dor(/db",
            "host=h user=u password=Passw Tr0ub4dor dbname=db",
            "host=h user=u password=Passw Tr0ub=4dor dbname=db",
            "password=Passw host=Tr0ub(4dor user=u dbname=db",
        ] {
            let scheme = match engine {
                "rqlite" => "http",
                "summitdb" => "redis",
                name => name,
            };
            let dsn = dsn.replace("SCHEME", scheme);
            let outcome = traced(&place, &["--engine", engine, "--dsn", &dsn])?;
            assert_eq!(outcome.code, Some(2), "{engine} {dsn}: {outcome:?}");
            for part in ["Tr0ub", "4dor"] {
                assert!(
                    !outcome.stderr.contains(part),
                    "{engine} {dsn}: {outcome:?}"
                );
            }
        }
    }
    let config = int_host::Config {
        dsn: format!("redis://:{ESCAPED}@h"),
        ..int_host::Config::default()
    };
    assert_silent("Debug", &format!("{config:?} {config:#?}"));
    Ok(())
}
