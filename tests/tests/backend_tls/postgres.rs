//! `sslmode` on a PostgreSQL with `ssl=on`.

use crate::{Files, assert_fails, listener};
use int_host::Builtin;
use testbed::TestResult;
use testbed::certificates::{Authority, Stored};
use testbed::postgres::{DATABASE, HASTY, PASSWORD, Postgres, USER};

const POSTGRES: Builtin = Builtin::Postgres;

fn server(authority: &Authority, certificate: &Stored) -> testbed::Result<Postgres> {
    Postgres::with_tls(certificate, &authority.file(), &[HASTY])
}

fn dsn(port: u16, mode: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}?sslmode={mode}")
}

#[test]
fn integers_are_minted_through_tls() -> TestResult {
    let authority = Authority::new()?;
    let server = server(&authority, &authority.for_this_machine()?)?;
    let port = server.port();
    let files = Files::trusting(&authority);
    for (mode, integer) in [("require", 1), ("verify-ca", 3), ("verify-full", 5)] {
        assert_eq!(
            files.mint(POSTGRES, &dsn(port, mode)),
            Ok(integer),
            "{mode}"
        );
    }
    let keywords = format!(
        "host=localhost port={port} user={USER} password={PASSWORD} dbname={DATABASE} sslmode=verify-full"
    );
    assert_eq!(files.mint(POSTGRES, &keywords), Ok(7));
    // The server itself says that no connection goes without.
    server.admit_only_tls("")?;
    assert_eq!(files.mint(POSTGRES, &dsn(port, "verify-full")), Ok(9));
    assert_fails(
        files.mint(POSTGRES, &dsn(port, "disable")),
        "denied",
        &["no encryption", "sslmode"],
    );
    Ok(())
}

#[test]
fn certificates_that_are_wrong_are_refused() -> TestResult {
    let (ours, others) = (Authority::new()?, Authority::new()?);
    let right = ours.for_this_machine()?;
    let elsewhere = ours.for_names("elsewhere", &["elsewhere.example"])?;
    let expired = ours.expired()?;
    let unknown = "is by an unknown authority; give that with --ca-file";
    let other_name = "the certificate of 127.0.0.1 is not valid for 127.0.0.1";
    let old = "the certificate of 127.0.0.1 expired on Thu, 02 Jan 2020";
    for (certificate, modes) in [
        (
            &right,
            &[
                (Some(&others), "require", Some(unknown)),
                (Some(&others), "verify-full", Some(unknown)),
                (None, "verify-ca", Some(unknown)),
                (None, "require", None),
            ][..],
        ),
        (
            &elsewhere,
            &[
                (Some(&ours), "verify-full", Some(other_name)),
                (Some(&ours), "verify-ca", None),
                (Some(&ours), "require", None),
            ],
        ),
        (
            &expired,
            &[
                (Some(&ours), "verify-full", Some(old)),
                (Some(&ours), "verify-ca", Some(old)),
                (None, "require", None),
            ],
        ),
    ] {
        let server = server(&ours, certificate)?;
        for (trusted, mode, refused) in modes {
            let files = trusted.map_or_else(Files::default, Files::trusting);
            let minted = files.mint(POSTGRES, &dsn(server.port(), mode));
            match refused {
                Some(says) => assert_fails(minted, "denied", &[says]),
                None => assert!(minted.is_ok(), "{mode}: {minted:?}"),
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_require_one() -> TestResult {
    let authority = Authority::new()?;
    let server = server(&authority, &authority.for_this_machine()?)?;
    server.admit_only_tls("clientcert=verify-full")?;
    let files = Files::trusting(&authority);
    let dsn = dsn(server.port(), "verify-full");
    assert_fails(
        files.mint(POSTGRES, &dsn),
        "denied",
        &["client certificate"],
    );
    let other = files.clone().with_client(authority.for_client("other")?);
    assert_fails(other.mint(POSTGRES, &dsn), "denied", &["certificate"]);
    let ours = files.with_client(authority.for_client(USER)?);
    assert_eq!(ours.mint(POSTGRES, &dsn), Ok(1));
    Ok(())
}

/// A server without TLS hears the question for it, and no password.
#[test]
fn a_server_without_tls_gets_no_password() -> TestResult {
    let server = Postgres::hasty()?;
    assert_fails(
        Files::default().mint(POSTGRES, &dsn(server.port(), "require")),
        "denied",
        &["it got no password", "does not support TLS"],
    );
    let (port, serving) = listener(b"", b"N").expect("a free port");
    let minted = Files::default().mint(POSTGRES, &dsn(port, "require"));
    assert_fails(minted, "denied", &["it got no password"]);
    let heard = serving.join().expect("no panic").expect("heard");
    assert_eq!(
        heard,
        [0, 0, 0, 8, 4, 210, 22, 47],
        "an SSLRequest and no more"
    );
    Ok(())
}
