//! Limits on the arguments of calls.

use crate::Error;

/// The maximum number of integers per call.
pub const MAX_COUNT: u32 = 100_000;

/// The maximum length of a sequence name, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 128;

/// Checks the number of integers requested.
///
/// # Errors
/// [`Error::Invalid`] unless it is 1 to [`MAX_COUNT`].
pub fn check_count(count: u32) -> Result<u32, Error> {
    if (1..=MAX_COUNT).contains(&count) {
        Ok(count)
    } else {
        Err(Error::Invalid(format!(
            "count is {count}; it must be 1 to {MAX_COUNT}"
        )))
    }
}

/// Checks the value that a sequence is to be raised to.
/// Checks the value that a sequence is to be raised to.
/// # Errors
/// [`Error::Invalid`] for a value below 0.
pub fn check_last(value: i64) -> Result<i64, Error> {
    if value >= 0 {
        Ok(value)
    } else {
        Err(Error::Invalid(format!(
            "the last integer is {value}; it must be 0 or more"
        )))
    }
}

/// Checks the name of a sequence.
///
/// # Errors
/// [`Error::Invalid`] when it is empty, longer than [`MAX_KEY_BYTES`], or holds a control character.
pub fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::Invalid(
            "the key is empty; name a sequence, such as `integers`".into(),
        ));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::Invalid(format!(
            "the key is {} bytes long; it may have {MAX_KEY_BYTES} at most",
            key.len()
        )));
    }
    if let Some(found) = key.chars().find(|c| c.is_control()) {
        return Err(Error::Invalid(format!(
            "the key holds the control character {found:?}; keys are printable text"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_bounds() {
        assert_eq!(check_count(1), Ok(1));
        assert_eq!(check_count(100_000), Ok(100_000));
        assert!(matches!(check_count(0), Err(Error::Invalid(_))));
        assert!(matches!(check_count(100_001), Err(Error::Invalid(_))));
    }

    #[test]
    fn sequences_are_not_raised_below_zero() {
        assert_eq!(check_last(0), Ok(0));
        assert!(matches!(check_last(-1), Err(Error::Invalid(_))));
    }

    #[test]
    fn keys_are_short_printable_text() {
        assert_eq!(check_key("integers"), Ok(()));
        assert_eq!(check_key(&"é".repeat(64)), Ok(()));
        for bad in [
            "",
            "a\nb",
            "nul\0",
            "\u{7f}",
            &"x".repeat(129),
            &"é".repeat(65),
        ] {
            assert!(matches!(check_key(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
    }
}
