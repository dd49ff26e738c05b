//! `https://` on an rqlite with `-http-cert`. The engines `http` and `quorum` use the same client of the host.

use crate::{Files, assert_fails};
use int_host::Builtin;
use testbed::TestResult;
use testbed::certificates::{Authority, Stored};
use testbed::rqlite::Rqlite;

const RQLITE: Builtin = Builtin::Rqlite;

fn server(authority: &Authority, certificate: &Stored, extra: &[&str]) -> testbed::Result<Rqlite> {
    let text = |path: &std::path::Path| path.display().to_string();
    let (chain, key, ca) = (
        text(&certificate.chain),
        text(&certificate.key),
        text(&authority.file()),
    );
    let options = [
        "-http-cert",
        &chain,
        "-http-key",
        &key,
        "-http-ca-cert",
        &ca,
    ];
    Rqlite::with(&[&options, extra].concat())
}

fn dsn(server: &Rqlite) -> String {
    format!("https://127.0.0.1:{}?timeout=20s", server.ports()[0])
}

#[test]
fn integers_are_minted_through_tls() -> TestResult {
    let ours = Authority::new()?;
    let server = server(&ours, &ours.for_this_machine()?, &[])?;
    assert_eq!(Files::trusting(&ours).mint(RQLITE, &dsn(&server)), Ok(1));
    Ok(())
}

#[test]
fn certificates_that_are_wrong_are_refused() -> TestResult {
    let (ours, others) = (Authority::new()?, Authority::new()?);
    for (certificate, says) in [
        (
            others.for_this_machine()?,
            "the certificate of 127.0.0.1 is by an unknown authority; give that with --ca-file",
        ),
        (
            ours.for_names("elsewhere", &["elsewhere.example"])?,
            "the certificate of 127.0.0.1 is not valid for 127.0.0.1",
        ),
        (
            ours.expired()?,
            "the certificate of 127.0.0.1 expired on Thu, 02 Jan 2020",
        ),
    ] {
        let server = server(&ours, &certificate, &[])?;
        assert_fails(
            Files::trusting(&ours).mint(RQLITE, &dsn(&server)),
            "denied",
            &[says],
        );
    }
    Ok(())
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_require_one() -> TestResult {
    let authority = Authority::new()?;
    let server = server(
        &authority,
        &authority.for_this_machine()?,
        &["-http-verify-client"],
    )?;
    let files = Files::trusting(&authority);
    assert_fails(
        files.mint(RQLITE, &dsn(&server)),
        "denied",
        &["--client-cert"],
    );
    let ours = files.with_client(authority.for_client("minter")?);
    assert_eq!(ours.mint(RQLITE, &dsn(&server)), Ok(1));
    Ok(())
}
