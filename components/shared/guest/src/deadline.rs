//! Deadlines of engine operations: the DSN parameter `timeout`.

use crate::bindings::artisanal::integers::types::Error;
use engine_dsn::{Dsn, MAX_TIMEOUT, duration};
use std::time::{Duration, Instant};

/// The default timeout of one operation.
pub const DEFAULT: Duration = Duration::from_secs(2);

/// The point in time by which one operation must be done, including retries.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this long after the current time.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// The remaining time; None once the deadline has passed.
    pub fn left(self) -> Option<Duration> {
        Some(self.0.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// The timeout that a DSN sets, such as `?timeout=500ms`, or [`DEFAULT`].
///
/// # Errors
/// `invalid` unless it is a duration as in [`engine_dsn::duration`], at most [`MAX_TIMEOUT`].
pub fn timeout(dsn: &Dsn) -> Result<Duration, Error> {
    match dsn.param("timeout") {
        None => Ok(DEFAULT),
        Some(text) => duration::parse(text, MAX_TIMEOUT)
            .map_err(|error| Error::Invalid(format!("the DSN's timeout is `{text}`; {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_bounds() {
        let of = |text: &str| timeout(&format!("x://?timeout={text}").parse().expect(text));
        assert_eq!(of("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(of("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(of("60s"), Ok(MAX_TIMEOUT));
        assert_eq!(of("1m"), Ok(MAX_TIMEOUT));
        assert_eq!(timeout(&"x://".parse().expect("a DSN")), Ok(DEFAULT));
        for bad in ["", "2", "0s", "61s", "2m", "1h"] {
            let error = of(bad).expect_err(bad);
            assert!(
                matches!(&error, Error::Invalid(text) if text.contains("`1ms` to `1m`")),
                "{error:?}"
            );
        }
    }
}
