//! The host stops or refuses a component that misbehaves, with an error that says so, and no other component
//! is affected.

mod limits;
mod sandbox;

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
