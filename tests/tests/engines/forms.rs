//! The DSN forms in `--help`, `int-host engines` and the README are the ones that the engines accept.

use int_host::{Builtin, Error, Host};
use testbed::TestResult;
use testbed::backend;
use testbed::contract::kind;
use testbed::runtime::run;
use testbed::scratch::Scratch;

/// Turns a form into a DSN: with or without all of its optional parts (`[…]`), and with placeholders replaced.
fn written_out(form: &str, everything: bool) -> String {
    let mut depth = 0;
    let mut text = String::new();
    for c in form.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if depth == 0 || everything => text.push(c),
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{form}");
    [
        ("HOST2…", "127.0.0.2:1"),
        ("HOST2", "127.0.0.2"),
        ("HOST3", "127.0.0.3"),
        ("HOST", "127.0.0.1"),
        ("USER", "somebody"),
        ("PASSWORD", "secret"),
        ("DATABASE", "tickets"),
        ("DB", "3"),
        ("NAME", "primary"),
        ("BUCKET", "bucket"),
        ("NODE", "5"),
        ("ADMIN_TOKEN", "t0p"),
        ("TOKEN", "m1nt"),
        ("KEY", "orders"),
        ("REPLICAS", "2"),
    ]
    .iter()
    .fold(text, |text, (word, value)| text.replace(word, value))
}

async fn open(host: &Host, engine: Builtin, dsn: &str) -> Result<(), Error> {
    let opened = backend::open(host, &engine.into(), dsn, "integers").await;
    opened.map(drop)
}

#[test]
fn every_form_is_taken_and_every_parameter() -> TestResult {
    let scratch = Scratch::new("forms")?;
    let host = backend::host(Some(scratch.join("data")))?;
    let open = async |engine, dsn: String| open(&host, engine, &dsn).await;
    run(async {
        for engine in Builtin::ALL {
            let about = engine.about();
            let parameters = |form: &str| {
                // The keyword form has its parameters among the other keywords.
                let (first, between) = if form.starts_with("host=") {
                    (" ", " ")
                } else {
                    ("?", "&")
                };
                let parameters = about.parameters.join(between);
                format!("{first}{}", written_out(&parameters, true))
            };
            let mut dsns = vec![String::new()];
            if let Some(default) = about.default_dsn {
                dsns.push(default.to_owned());
            }
            for form in about.dsn {
                for everything in [false, true] {
                    let dsn = written_out(form, everything);
                    if !about.parameters.is_empty() {
                        dsns.push(format!("{dsn}{}", parameters(form)));
                    }
                    dsns.push(dsn);
                }
            }
            for dsn in dsns {
                let opened = open(engine, dsn.clone()).await;
                // There is no server, and an engine may or may not notice that here.
                let taken = !matches!(opened, Err(Error::Invalid(_)));
                let expected = !dsn.is_empty() || about.default_dsn.is_some();
                assert_eq!(taken, expected, "{} {dsn:?}: {opened:?}", about.name);
            }
            // Parameters that are not documented are refused.
            let dsn = format!("{}?encryption=yes", written_out(about.dsn[0], false));
            let error = open(engine, dsn).await.expect_err("an unknown parameter");
            assert_eq!(kind(&error), "invalid", "{error}");
            for parameter in about.parameters {
                let name = parameter.split('=').next().expect("a name");
                assert!(error.to_string().contains(name), "{}: {error}", about.name);
            }
        }
    });
    Ok(())
}

/// Parts of a DSN that an engine has no use for are refused, so that none is ignored.
#[test]
fn what_an_engine_has_no_use_for_is_refused() -> TestResult {
    let scratch = Scratch::new("forms")?;
    let host = backend::host(Some(scratch.join("data")))?;
    run(async {
        for dsn in [
            "memory://user:secret@",
            "memory://host",
            "memory:///path",
            "keyvalue://user:secret@bucket",
            "keyvalue://bucket:80",
            "keyvalue://bucket/path",
            "flake://user:secret@5",
            "flake://:secret@5",
            "flake://5:80",
            "flake://5/path",
        ] {
            let name = dsn.split(':').next().expect("a scheme");
            let engine = Builtin::named(name).expect("an engine");
            let error = open(&host, engine, dsn).await.expect_err(dsn);
            assert_eq!(kind(&error), "invalid", "{dsn}: {error}");
            let written = format!("`{name}://");
            assert!(error.to_string().contains(&written), "{dsn}: {error}");
            assert!(!error.to_string().contains("secret"), "{dsn}: {error}");
        }
    });
    Ok(())
}
