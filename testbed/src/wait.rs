//! Polling until a condition holds. Tests wait in no other way: they never sleep for a fixed time.

use crate::error::{Error, Result};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls `look` until it returns Ok, and returns that value.
///
/// # Errors
/// [`Error::Timeout`] when `limit` has passed. It contains `what` and the last error.
pub fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    until_or_error(what, limit, || Ok(look()))
}

/// Polls `look` until its inner result is Ok, and returns that value. The inner error means "not yet"; the outer
/// one ends the wait.
///
/// # Errors
/// The outer error of `look`, or [`Error::Timeout`] as in [`until`].
pub fn until_or_error<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Result<T, E>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let why = match look()? {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        if Instant::now() >= end {
            return Err(Error::Timeout {
                what: what.to_owned(),
                limit,
                why: why.to_string(),
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Polls `look` until it returns true.
///
/// # Errors
/// [`Error::Timeout`] when `limit` has passed. It contains `what`.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) -> Result {
    until(what, limit, || look().then_some(()).ok_or("not yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_limit_is_an_error_with_the_last_attempt() {
        let mut attempts = 0;
        let waited = until("it counts to a million", Duration::ZERO, || {
            attempts += 1;
            Err::<(), _>(format!("it is at {attempts}"))
        });
        let text = waited.expect_err("too late").to_string();
        assert_eq!(
            text,
            "it counts to a million: not within 0ns; the last attempt: it is at 1"
        );
    }

    #[test]
    fn an_outer_error_ends_the_wait() {
        let waited = until_or_error("it starts", Duration::from_secs(60), || {
            Err::<Result<(), String>, _>(Error::Missing("no such server".to_owned()))
        });
        assert!(matches!(waited, Err(Error::Missing(_))), "{waited:?}");
    }
}
