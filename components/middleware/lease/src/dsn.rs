//! The parameter `lease`, which is removed from the DSN that the engine gets.

use artisanal_core::Error;

/// The size of the largest span if the DSN has no parameter `lease`.
const DEFAULT: u32 = 1000;

/// Splits a DSN into the engine's DSN and the size of the largest span.
///
/// # Errors
/// [`Error::Invalid`] when the size is not a number. Its range is checked by `Lease::new`.
pub fn split(dsn: &str) -> Result<(String, u32), Error> {
    let (rest, size) = engine_dsn::take_param(dsn, "lease");
    let size = match size {
        None => DEFAULT,
        Some(size) => size.parse().map_err(|_| {
            Error::Invalid("the DSN's parameter `lease` is not a number of integers".into())
        })?,
    };
    Ok((rest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_has_a_default() {
        for (dsn, rest, size) in [
            ("redis://h", "redis://h", 1000),
            ("redis://h?lease=5&timeout=2s", "redis://h?timeout=2s", 5),
        ] {
            assert_eq!(split(dsn), Ok((rest.to_owned(), size)), "{dsn}");
        }
    }

    #[test]
    fn what_is_no_number_is_invalid_and_not_repeated() {
        for bad in ["", "many", "-1", "4294967296", "1,000"] {
            let error = split(&format!("redis://u:hunter2@h?lease={bad}")).expect_err(bad);
            assert!(matches!(&error, Error::Invalid(text) if !text.contains("hunter2")));
        }
    }
}
