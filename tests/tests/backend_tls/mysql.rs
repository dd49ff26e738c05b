//! `tls` on a MariaDB with `ssl_cert`.

use crate::{Files, assert_fails};
use int_host::Builtin;
use testbed::TestResult;
use testbed::certificates::{Authority, Stored};
use testbed::mariadb::{DATABASE, MariaDb, PASSWORD, USER};

const MYSQL: Builtin = Builtin::Mysql;

fn server(authority: &Authority, certificate: &Stored) -> testbed::Result<MariaDb> {
    let option = |name: &str, path: &std::path::Path| format!("--{name}={}", path.display());
    let options = [
        option("ssl-cert", &certificate.chain),
        option("ssl-key", &certificate.key),
        option("ssl-ca", &authority.file()),
    ];
    MariaDb::with(&options.each_ref().map(String::as_str))
}

fn dsn(port: u16, tls: &str) -> String {
    format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}?tls={tls}")
}

#[test]
fn integers_are_minted_through_tls() -> TestResult {
    let authority = Authority::new()?;
    let server = server(&authority, &authority.for_this_machine()?)?;
    let port = server.port();
    server.sql(&format!("ALTER USER '{USER}'@'127.0.0.1' REQUIRE SSL"))?;
    let files = Files::trusting(&authority);
    let mut last = 0;
    for tls in ["true", "verify", "verify-ca", "skip-verify"] {
        let minted = files.mint(MYSQL, &dsn(port, tls))?;
        assert!(minted > last, "{tls}: {minted} after {last}");
        last = minted;
    }
    let classic = format!("{USER}:{PASSWORD}@tcp(localhost:{port})/{DATABASE}?tls=true");
    assert!(files.mint(MYSQL, &classic)? > last);
    assert_fails(
        files.mint(MYSQL, &dsn(port, "false")),
        "denied",
        &["TLS or a client certificate"],
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
    for (certificate, attempts) in [
        (
            &right,
            &[
                (Some(&others), "true", Some(unknown)),
                (Some(&others), "skip-verify", Some(unknown)),
                (None, "verify-ca", Some(unknown)),
                (None, "skip-verify", None),
            ][..],
        ),
        (
            &elsewhere,
            &[
                (Some(&ours), "verify", Some(other_name)),
                (Some(&ours), "verify-ca", None),
            ],
        ),
        (&expired, &[(Some(&ours), "true", Some(old))]),
    ] {
        let server = server(&ours, certificate)?;
        for (trusted, tls, refused) in attempts {
            let files = trusted.map_or_else(Files::default, Files::trusting);
            let minted = files.mint(MYSQL, &dsn(server.port(), tls));
            match refused {
                Some(says) => assert_fails(minted, "denied", &[says]),
                None => assert!(minted.is_ok(), "{tls}: {minted:?}"),
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_require_one() -> TestResult {
    let authority = Authority::new()?;
    let server = server(&authority, &authority.for_this_machine()?)?;
    server.sql(&format!("ALTER USER '{USER}'@'127.0.0.1' REQUIRE X509"))?;
    let files = Files::trusting(&authority);
    let dsn = dsn(server.port(), "verify");
    assert_fails(files.mint(MYSQL, &dsn), "denied", &["client certificate"]);
    let ours = files.with_client(authority.for_client("minter")?);
    assert!(ours.mint(MYSQL, &dsn)? > 0);
    Ok(())
}

/// The server would take the password, as the last mint shows; it is asked for TLS before.
#[test]
fn a_server_without_tls_gets_no_password() -> TestResult {
    let server = MariaDb::with(&["--skip-ssl"])?;
    for tls in ["true", "skip-verify"] {
        assert_fails(
            Files::default().mint(MYSQL, &dsn(server.port(), tls)),
            "denied",
            &["offers no TLS, so it got no password"],
        );
    }
    assert!(
        Files::default()
            .mint(MYSQL, &dsn(server.port(), "false"))
            .is_ok()
    );
    Ok(())
}
