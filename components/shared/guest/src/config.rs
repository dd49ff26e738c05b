//! Checks the configuration that an engine is opened with, before any I/O.

use crate::bindings::artisanal::integers::types::{Config, Error};
use crate::{Engine, Key};
use artisanal_core::Lattice;
use artisanal_core::limits::check_key;
use engine_dsn::Dsn;

/// Checks the configuration of an engine and fills in its defaults.
pub(crate) fn check<E: Engine>(config: Config) -> Result<(Dsn, Key, Lattice), Error> {
    check_key(&config.key)?;
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
    let lattice = E::lattice(&dsn, config.increment, config.offset)?;
    Ok((dsn, Key(config.key), lattice))
}

fn schemes<E: Engine>() -> String {
    E::SCHEMES
        .iter()
        .map(|s| format!("`{s}://`"))
        .collect::<Vec<_>>()
        .join(" or ")
}
