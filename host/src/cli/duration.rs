//! Times on the command line.

use std::time::Duration;

/// The longest time that can be given.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads `500ms`, `30s`, `2m` or `1h`; a bare number is seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_millis)
        .filter(|time| (Duration::from_millis(1)..=MAX).contains(time))
        .ok_or_else(|| {
            "write a time from 1 ms to a year as `500ms`, `30s`, `2m` or `1h`".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        for bad in [
            "",
            "s",
            "0",
            "0ms",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
