//! The notation of durations in DSNs and command lines.

use std::fmt;
use std::time::Duration;

/// The shortest duration that can be written.
const SHORTEST: Duration = Duration::from_millis(1);

/// The units, in milliseconds, in ascending order.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// The error for a text that is not a duration, or not within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a time as a whole number and one of the units `ms`, `s`, `m` and `h`, such as `500ms`, from {min} to {max}",
    min = Written(SHORTEST),
    max = Written(*.longest)
)]
pub struct NotATime {
    /// The maximum duration.
    pub longest: Duration,
}

/// Parses `500ms`, `30s`, `2m` or `1h`: a whole number and a unit, from 1 ms to `longest`.
///
/// A number without a unit is refused, since programs differ in whether it means seconds or
/// milliseconds.
///
/// # Errors
/// [`NotATime`] if the text has another form, or the duration is outside these limits.
pub fn parse(text: &str, longest: Duration) -> Result<Duration, NotATime> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    unit.zip(number.parse::<u64>().ok())
        .and_then(|((_, millis), number)| number.checked_mul(*millis))
        .map(Duration::from_millis)
        .filter(|time| (SHORTEST..=longest).contains(time))
        .ok_or(NotATime { longest })
}

/// Displays a duration in the largest unit that gives a whole number.
struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = UNITS
            .iter()
            .rev()
            .map(|(name, unit)| (name, u128::from(*unit)))
            .find(|(_, unit)| millis.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "`{}{name}`", millis / unit),
            None => write!(f, "`{millis}ms`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_number_and_a_unit() {
        for (text, millis) in [
            ("1ms", 1),
            ("500ms", 500),
            ("30s", 30_000),
            ("030s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                parse(text, DAY),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "s",
            "ms",
            "2",
            "0",
            "0s",
            "0ms",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "1d",
            "1m30s",
            "25h",
            "86400001ms",
            "٣s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(bad, DAY), Err(NotATime { longest: DAY }), "{bad:?}");
        }
    }

    #[test]
    fn the_error_tells_the_form_and_the_bounds() {
        for (longest, says) in [
            (DAY, "from `1ms` to `24h`"),
            (Duration::from_secs(60), "from `1ms` to `1m`"),
            (Duration::from_secs(90), "from `1ms` to `90s`"),
            (Duration::from_millis(1500), "from `1ms` to `1500ms`"),
        ] {
            let error = parse("2", longest).expect_err("no unit").to_string();
            assert!(error.contains(says) && error.contains("`500ms`"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = parse(&text, DAY);
        }

        #[test]
        fn what_is_written_is_read(millis in 1u64..86_400_000) {
            let time = Duration::from_millis(millis);
            let written = Written(time).to_string();
            prop_assert_eq!(parse(written.trim_matches('`'), DAY), Ok(time));
        }
    }
}
