//! The settings of an instance: from `wasi:config`, or else from the environment.

use super::bindings::wasi::config0_2_0_draft_2024_09_27::store;
use crate::Settings;
use artisanal_core::Error;

/// Reads all settings.
///
/// A non-empty value in `wasi:config` has precedence over `ARTISANAL_<NAME>` in the environment, which
/// has precedence over `<name>` there.
pub(super) fn read() -> Result<Settings, Error> {
    let mut failed = None;
    let settings = Settings::from_lookup(|name| match store::get(name) {
        Ok(value) => value
            .filter(|value| !value.is_empty())
            .or_else(|| environment(name)),
        Err(error) => {
            failed.get_or_insert(match error {
                store::Error::Upstream(text) | store::Error::Io(text) => {
                    format!("the setting `{name}` cannot be read: {text}")
                }
            });
            None
        }
    });
    match (failed, settings) {
        (Some(reason), _) => Err(Error::Misconfigured(reason)),
        (None, settings) => settings.map_err(|error| Error::Misconfigured(error.to_string())),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(format!("ARTISANAL_{}", name.to_ascii_uppercase()))
        .ok()
        .filter(|value| !value.is_empty())
        .or_else(|| std::env::var(name).ok())
}
