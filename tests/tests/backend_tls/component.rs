//! A component that verifies nothing.

use crate::{ANYBODY, Files, assert_fails, redis_with};
use int_host::{Error, Source};
use testbed::certificates::Authority;
use testbed::{TestResult, target};

/// Sends something with TLS to this port of 127.0.0.1 and gives this name. `extra` belongs to the DSN.
fn trust(files: &Files, port: u16, name: &str, extra: &str) -> testbed::Result<Result<i64, Error>> {
    let component = Source::File(target::component("misbehaving")?);
    let address = format!("127.0.0.1:{port}");
    let dsn = format!("misbehaving://{address}/trusts?to={address}&as={name}{extra}");
    Ok(files.mint(component, &dsn))
}

#[test]
fn the_host_verifies_what_the_component_does_not() -> TestResult {
    let (ours, others) = (Authority::new()?, Authority::new()?);
    let (unknown, trusted) = (Files::trusting(&others), Files::trusting(&ours));
    for (certificate, files, says) in [
        (ours.for_this_machine()?, &unknown, "unknown authority"),
        (
            ours.for_names("elsewhere", &["elsewhere.example"])?,
            &trusted,
            "not valid for 127.0.0.1",
        ),
        (ours.expired()?, &trusted, "expired on"),
    ] {
        let (_redis, port) = redis_with(&ours, &certificate, &ANYBODY)?;
        // The parameters that make the engines of MySQL and PostgreSQL verify less mean nothing elsewhere.
        for extra in ["", "&sslmode=require&tls=skip-verify"] {
            let sent = trust(files, port, "127.0.0.1", extra)?;
            assert_fails(sent, "denied", &["trusting", says]);
        }
    }
    Ok(())
}

/// The positive control of the test above, and names that are not the server's.
#[test]
fn a_server_has_the_name_that_the_component_may_connect_to() -> TestResult {
    let authority = Authority::new()?;
    let certificate =
        authority.for_names("several", &["127.0.0.1", "127.0.0.2", "other.example"])?;
    let (_redis, port) = redis_with(&authority, &certificate, &ANYBODY)?;
    let files = Files::trusting(&authority);
    let sent = trust(&files, port, "127.0.0.1", "")?;
    assert_fails(sent, "other", &["ESCAPED"]);
    for (name, says) in [
        ("127.0.0.2", "another address"),
        ("other.example", "does not permit this name"),
    ] {
        assert_fails(trust(&files, port, name, "")?, "denied", &[says]);
    }
    Ok(())
}
