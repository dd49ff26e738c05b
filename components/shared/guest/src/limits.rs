//! Limits on the arguments of calls, checked before any I/O.

use crate::bindings::artisanal::integers::types::{Config, Error};
use crate::{Engine, Key, Lattice};
use engine_dsn::Dsn;

/// The maximum number of integers per call.
pub const MAX_COUNT: u32 = 100_000;

/// The maximum length of a sequence name, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 128;

/// Checks the number of integers requested.
pub(crate) fn count(count: u32) -> Result<u32, Error> {
    if (1..=MAX_COUNT).contains(&count) {
        Ok(count)
    } else {
        Err(Error::Invalid(format!(
            "count is {count}; it must be 1 to {MAX_COUNT}"
        )))
    }
}

/// Checks the name of a sequence.
pub(crate) fn key(key: String) -> Result<Key, Error> {
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
    Ok(Key(key))
}

/// Checks the configuration of an engine and fills in its defaults.
pub(crate) fn config<E: Engine>(config: Config) -> Result<(Dsn, Key, Lattice), Error> {
    let key = key(config.key)?;
    let lattice = Lattice::new(
        config.increment.unwrap_or(Lattice::INCREMENT),
        config.offset.unwrap_or(E::OFFSET),
    )?;
    let text = match (config.dsn.as_str(), E::DSN) {
        ("", Some(default)) => default,
        ("", None) => {
            return Err(Error::Invalid(format!(
                "no DSN given; this engine needs one that begins with {}",
                schemes::<E>()
            )));
        }
        (text, _) => text,
    };
    let dsn: Dsn = text
        .parse()
        .map_err(|e: engine_dsn::Error| Error::Invalid(e.to_string()))?;
    if !E::SCHEMES.contains(&dsn.scheme()) {
        return Err(Error::Invalid(format!(
            "the DSN begins with `{}:`, which this engine does not support; it accepts {}",
            dsn.scheme(),
            schemes::<E>()
        )));
    }
    Ok((dsn, key, lattice))
}

fn schemes<E: Engine>() -> String {
    E::SCHEMES
        .iter()
        .map(|s| format!("`{s}://`"))
        .collect::<Vec<_>>()
        .join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count(1), Ok(1));
        assert_eq!(count(100_000), Ok(100_000));
        assert!(matches!(count(0), Err(Error::Invalid(_))));
        assert!(matches!(count(100_001), Err(Error::Invalid(_))));
    }

    #[test]
    fn keys_are_short_printable_text() {
        assert_eq!(key("integers".into()), Ok(Key("integers".into())));
        assert_eq!(key("é".repeat(64)), Ok(Key("é".repeat(64))));
        for bad in [
            "",
            "a\nb",
            "nul\0",
            "\u{7f}",
            &"x".repeat(129),
            &"é".repeat(65),
        ] {
            assert!(
                matches!(key(bad.to_owned()), Err(Error::Invalid(_))),
                "{bad:?}"
            );
        }
    }
}
