//! How long an engine may wait: the DSN parameter `timeout`.

use crate::bindings::artisanal::integers::types::Error;
use engine_dsn::Dsn;
use std::time::{Duration, Instant};

/// How long one operation may take when the DSN does not say.
pub const DEFAULT: Duration = Duration::from_secs(2);

/// The longest that a DSN may ask for.
pub const MAX: Duration = Duration::from_secs(60);

/// The point in time by which one operation must be done, retries included.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline that far from now.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// What is left; None when the deadline has passed.
    pub fn left(self) -> Option<Duration> {
        Some(self.0.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// The timeout that a DSN asks for with `?timeout=500ms`, or [`DEFAULT`].
///
/// # Errors
/// `invalid` unless it is a number with the unit `ms` or `s`, above zero and at most [`MAX`].
pub fn timeout(dsn: &Dsn) -> Result<Duration, Error> {
    match dsn.param("timeout") {
        None => Ok(DEFAULT),
        Some(text) => parse(text).ok_or_else(|| {
            Error::Invalid(format!(
                "the DSN's timeout is `{text}`; write it as `500ms` or `2s`, up to {}s",
                MAX.as_secs()
            ))
        }),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let duration = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => Duration::from_millis(number(millis)?),
        (None, Some(secs)) => Duration::from_secs(number(secs)?),
        (None, None) => return None,
    };
    (!duration.is_zero() && duration <= MAX).then_some(duration)
}

fn number(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_bounds() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse("60s"), Some(MAX));
        for bad in [
            "",
            "s",
            "ms",
            "0s",
            "0ms",
            "61s",
            "2",
            "-1s",
            "+1s",
            "1.5s",
            "2m",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
