//! The parameter `lease`, which is removed from the DSN that the engine gets.

use artisanal_core::Error;

/// The size of the largest span if the DSN has no parameter `lease`.
const DEFAULT: u32 = 1000;

/// The parameter, with its value to follow.
const LEASE: &str = "lease=";

/// Splits a DSN into the engine's DSN and the size of the largest span. If the parameter is there several
/// times, the last one counts.
///
/// # Errors
/// [`Error::Invalid`] when the size is not a number. Its range is checked by `Lease::new`.
pub fn split(dsn: &str) -> Result<(String, u32), Error> {
    let mut found = None;
    let mut keep = |word: &&str| match word.strip_prefix(LEASE) {
        Some(size) => {
            found = Some(size.to_owned());
            false
        }
        None => true,
    };
    let rest = match dsn.split_at_checked(query(dsn)) {
        Some((before, query)) if query.starts_with('?') => {
            let kept: Vec<_> = query[1..].split('&').filter(&mut keep).collect();
            match kept.as_slice() {
                [] => before.to_owned(),
                kept => format!("{before}?{}", kept.join("&")),
            }
        }
        // The keywords of libpq. The parameter is the last word: others may be within quotes.
        _ => match dsn.trim_end().rsplit_once(' ') {
            Some((before, last)) if !keep(&last) => before.trim_end().to_owned(),
            _ => dsn.to_owned(),
        },
    };
    let size = match found {
        None => DEFAULT,
        Some(size) => size.parse().map_err(|_| {
            Error::Invalid("the DSN's parameter `lease` is not a number of integers".into())
        })?,
    };
    Ok((rest, size))
}

/// Where the parameters of a DSN begin, with their question mark. Like the engines' parser, this finds the
/// first one after `://`, or else after the last `/`, since a password may contain others.
fn query(dsn: &str) -> usize {
    let begin = match dsn.find("://") {
        Some(scheme) => scheme,
        None => dsn.rfind('/').unwrap_or(dsn.len()),
    };
    let rest = dsn.get(begin..).unwrap_or_default();
    rest.find('?').map_or(dsn.len(), |at| begin + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_does_not_see_the_parameter() {
        for (dsn, rest, size) in [
            ("", "", 1000),
            ("redis://h", "redis://h", 1000),
            ("redis://h?lease=5", "redis://h", 5),
            ("redis://h?timeout=2s", "redis://h?timeout=2s", 1000),
            ("redis://h?lease=5&timeout=2s", "redis://h?timeout=2s", 5),
            ("redis://h?timeout=2s&lease=5", "redis://h?timeout=2s", 5),
            ("redis://h?lease=5&wait=1&lease=6", "redis://h?wait=1", 6),
            ("redis://h?release=5", "redis://h?release=5", 1000),
            ("u:p?lease=1@/db", "u:p?lease=1@/db", 1000),
            ("u:p?/x@tcp(h)/db?lease=7", "u:p?/x@tcp(h)/db", 7),
            ("host=h dbname=d lease=9", "host=h dbname=d", 9),
            ("host=h lease=9 dbname=d", "host=h lease=9 dbname=d", 1000),
            ("host=h password=lease=9", "host=h password=lease=9", 1000),
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
