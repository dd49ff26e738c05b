//! C10: no password of a DSN appears in an error.

use super::stage::Stage;
use crate::failure::TestResult;
use crate::port;
use int_host::Error;

/// A password that must not appear in any error. It has no characters that a URL must escape.
const SECRET: &str = "Tr0ub4dor-and-3";

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(when_the_server_says_no(stage))?;
    stage.run(when_the_dsn_is_wrong(stage));
    Ok(())
}

/// Opens a sequence, mints, and returns the error; None on success.
async fn failure(stage: &Stage, dsn: &str) -> Option<Error> {
    match stage.try_open(dsn, "c10").await {
        Ok(sequence) => sequence.next(1).await.err(),
        Err(error) => Some(error),
    }
}

fn assert_silent(dsn: &str, error: &Error) {
    for text in [
        format!("{error}"),
        format!("{error:?}"),
        format!("{error:#?}"),
    ] {
        assert!(
            !text.contains(SECRET) && !text.contains("Tr0ub4dor"),
            "the DSN {dsn} gives the error {text}"
        );
    }
}

async fn when_the_server_says_no(stage: &Stage) -> TestResult {
    let closed = port::free()?;
    for port in [stage.backend.port().unwrap_or(closed), closed] {
        let Some(dsn) = stage.backend.dsn_with_password(SECRET, port) else {
            return Ok(());
        };
        // Servers without accounts accept any password.
        if let Some(error) = failure(stage, &dsn).await {
            assert_silent(&dsn, &error);
        }
        if let Some(error) = failure(stage, &format!("{dsn}?tmeout=1s")).await {
            assert_silent(&dsn, &error);
        }
    }
    Ok(())
}

/// DSNs with common mistakes around the password.
async fn when_the_dsn_is_wrong(stage: &Stage) {
    let dsn = stage.backend.dsn();
    let scheme = dsn.split(':').next().unwrap_or_default();
    let mut refused = 0;
    for rest in [
        "://user:SECRET@",
        "://user:SECRET@host:port",
        "://user:SECRET@host:99999",
        "://user:SECRET",
        "://SECRET@",
        "://:SECRET@host name",
        "://user:a/SECRET@host",
        "://user:a#SECRET@host",
        "://user:a?SECRET@host",
        "://user:a@SECRET@host",
        "://user:a%zzSECRET@host",
        "://user:SECRET%ff@host",
        "://user:SECRET@[::1",
        "://user:SECRET@::1",
        "://user:SECRET@host/db?password=SECRET",
        "://user:SECRET@tcp(host:1)/db",
        ":user:SECRET@host",
        "//user:SECRET@host",
    ] {
        let dsn = format!("{scheme}{rest}").replace("SECRET", SECRET);
        // The memory engine ignores users, so it may accept some of them.
        if let Some(error) = failure(stage, &dsn).await {
            assert_silent(&dsn, &error);
            refused += 1;
        }
    }
    assert!(refused > 10, "only {refused} of them are refused");
    for go in [
        "user:SECRET@udp(host:1)/db",
        "user:SECRET@tcp(host:1/db",
        "user:SECRET@tcp(host:1)",
        "user:SECRET@tcp(::1)/db",
        "user:SECRET",
    ] {
        let dsn = go.replace("SECRET", SECRET);
        let error = failure(stage, &dsn).await;
        assert_silent(&dsn, &error.unwrap_or_else(|| panic!("{dsn} was accepted")));
    }
}
