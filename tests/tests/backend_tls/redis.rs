//! `rediss://` on a Redis with `tls-port`.

use crate::{Files, assert_fails, listener};
use int_host::{Builtin, Config};
use std::time::Duration;
use testbed::TestResult;
use testbed::certificates::{Authority, Stored};
use testbed::redis::{Options, Redis};
use testbed::runtime::run;
use testbed::sentinel::{Secured, Sentinels};
use testbed::wait;

const REDIS: Builtin = Builtin::Redis;

/// A server with this certificate, and its port for TLS.
pub(crate) fn server(
    authority: &Authority,
    certificate: &Stored,
    extra: &[&str],
) -> testbed::Result<(Redis, u16)> {
    let port = testbed::port::free()?;
    let mut options = Options {
        password: Some("hunter2".into()),
        ..Options::default()
    };
    let file = |path: &std::path::Path| path.display().to_string();
    options.extra = vec![
        "--tls-port".into(),
        port.to_string(),
        "--tls-cert-file".into(),
        file(&certificate.chain),
        "--tls-key-file".into(),
        file(&certificate.key),
        "--tls-ca-cert-file".into(),
        file(&authority.file()),
    ];
    options.extra.extend(extra.iter().map(ToString::to_string));
    Ok((Redis::with(options)?, port))
}

pub(crate) const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

#[test]
fn integers_are_minted_through_tls() -> TestResult {
    let authority = Authority::new()?;
    let (redis, port) = server(&authority, &authority.for_this_machine()?, &ANYBODY)?;
    let files = Files::trusting(&authority);
    for host in ["127.0.0.1", "localhost"] {
        let dsn = format!("rediss://:hunter2@{host}:{port}");
        files.mint(REDIS, &dsn)?;
    }
    let mark: i64 = redis.query(&["GET", "integers"])?;
    assert_eq!(mark, 4);

    // Large spans, one connection, and a restart of the server.
    run(async {
        let config = Config {
            dsn: format!("rediss://:hunter2@127.0.0.1:{port}"),
            ..Config::default()
        };
        let sequence = files.host()?.open(REDIS, config).await?;
        let mut last = 4;
        for round in 0..200 {
            if round == 100 {
                redis.kill();
                redis.start_again()?;
            }
            let span = sequence.next(3).await?;
            assert!(span.first() > last, "{span:?} after {last}");
            last = span.last();
        }
        assert_eq!(sequence.last().await?, Some(last));
        Ok(())
    })
}

#[test]
fn certificates_that_are_wrong_are_refused() -> TestResult {
    let (ours, others) = (Authority::new()?, Authority::new()?);
    let right = ours.for_this_machine()?;
    let elsewhere = ours.for_names("elsewhere", &["elsewhere.example"])?;
    let expired = ours.expired()?;
    for (certificate, trusted, says) in [
        (
            &right,
            Some(&others),
            "is by an unknown authority; give that with --ca-file",
        ),
        (
            &right,
            None,
            "is by an unknown authority; give that with --ca-file",
        ),
        (
            &elsewhere,
            Some(&ours),
            "the certificate of 127.0.0.1 is not valid for 127.0.0.1",
        ),
        (
            &expired,
            Some(&ours),
            "the certificate of 127.0.0.1 expired on Thu, 02 Jan 2020",
        ),
    ] {
        let (redis, port) = server(&ours, certificate, &ANYBODY)?;
        let files = trusted.map_or_else(Files::default, Files::trusting);
        let dsn = format!("rediss://:hunter2@127.0.0.1:{port}");
        assert_fails(files.mint(REDIS, &dsn), "denied", &[says]);
        let minted: Option<i64> = redis.query(&["GET", "integers"])?;
        assert_eq!(minted, None, "{says}");
    }
    Ok(())
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_require_one() -> TestResult {
    let authority = Authority::new()?;
    let (_redis, port) = server(
        &authority,
        &authority.for_this_machine()?,
        &["--tls-auth-clients", "yes"],
    )?;
    let dsn = format!("rediss://:hunter2@127.0.0.1:{port}");
    let files = Files::trusting(&authority);
    assert_fails(files.mint(REDIS, &dsn), "denied", &["--client-cert"]);
    let strangers = Authority::new()?;
    let stranger = strangers.for_client("stranger")?;
    let stranger = files.clone().with_client(stranger);
    assert_fails(
        stranger.mint(REDIS, &dsn),
        "denied",
        &["the client certificate"],
    );
    let ours = files.with_client(authority.for_client("minter")?);
    assert_eq!(ours.mint(REDIS, &dsn), Ok(2));
    Ok(())
}

/// A server that talks in plain text hears the beginning of a handshake and no password.
#[test]
fn nothing_is_sent_in_plain_text() -> TestResult {
    let (port, serving) = listener(b"", b"+OK\r\n+OK\r\n:2\r\n").expect("a free port");
    let dsn = format!("rediss://:hunter2@127.0.0.1:{port}?timeout=1s");
    assert_fails(
        Files::default().mint(REDIS, &dsn),
        "denied",
        &["does not speak TLS"],
    );
    let heard = serving.join().expect("no panic").expect("heard");
    assert_eq!(heard.first(), Some(&0x16), "a record of a handshake");
    assert!(!heard.windows(7).any(|bytes| bytes == b"hunter2"));
    Ok(())
}

#[test]
fn a_failover_keeps_tls() -> TestResult {
    let authority = Authority::new()?;
    let certificate = authority.for_this_machine()?;
    let (primary, first) = server(&authority, &certificate, &ANYBODY)?;
    let from = primary.port().to_string();
    let (replica, second) = server(
        &authority,
        &certificate,
        &[
            "--tls-auth-clients",
            "no",
            "--replicaof",
            "127.0.0.1",
            &from,
        ],
    )?;
    let config = Config {
        dsn: format!("rediss://:hunter2@127.0.0.1:{first},127.0.0.1:{second}?wait=1&timeout=10s"),
        ..Config::default()
    };
    run(async {
        let sequence = Files::trusting(&authority)
            .host()?
            .open(Builtin::Redis, config)
            .await?;
        let before = sequence.next(5).await?;
        primary.kill();
        replica.query::<()>(&["REPLICAOF", "NO", "ONE"])?;
        // No replica is left to acknowledge, so the write itself says on which server it was made.
        let error = sequence.next(1).await.expect_err("no replica is left");
        assert!(error.to_string().contains("replica"), "{error}");
        let mark: i64 = replica.query(&["GET", "integers"])?;
        assert!(mark > before.last(), "{mark} after {before:?}");
        Ok(())
    })
}

/// Sentinels, and the servers that they name, are reached through TLS only, also after a failover.
#[test]
fn sentinels_and_the_servers_that_they_name_are_reached_through_tls() -> TestResult {
    let authority = Authority::new()?;
    let certificate = authority.for_this_machine()?;
    let with_tls = [ANYBODY.as_slice(), &["--tls-replication", "yes"]].concat();
    let (primary, first) = server(&authority, &certificate, &with_tls)?;
    let from = first.to_string();
    let replicating = [with_tls.as_slice(), &["--replicaof", "127.0.0.1", &from]].concat();
    let (replica, second) = server(&authority, &certificate, &replicating)?;
    let secured = Secured {
        password: "hunter2",
        certificate: &certificate,
        authority: &authority.file(),
    };
    let sentinels = Sentinels::watch_through_tls(first, 1, secured)?;
    let dsn = sentinels.dsn("?timeout=20s").replace("://", "://:hunter2@");

    let others = Authority::new()?;
    let strangers = Files::trusting(&others);
    let hasty = dsn.replace("20s", "2s");
    assert_fails(
        strangers.mint(REDIS, &hasty),
        "denied",
        &["is by an unknown authority"],
    );
    run(async {
        let config = Config {
            dsn: dsn.clone(),
            ..Config::default()
        };
        let host = Files::trusting(&authority).host()?;
        let sequence = host.open(REDIS, config).await?;
        let before = sequence.next(5).await?;
        wait::until(
            "the replica has the mark",
            Duration::from_secs(20),
            || match replica.query::<Option<i64>>(&["GET", "integers"]) {
                Ok(mark) if mark == Some(before.last()) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )?;
        primary.kill();
        assert_eq!(sentinels.successor_of(first)?, second);
        let after = sequence.next(1).await?;
        assert_eq!(after.first(), before.last() + 2);
        let mark: i64 = replica.query(&["GET", "integers"])?;
        assert_eq!(mark, after.last());
        Ok(())
    })
}
