//! The settings of the endpoint.

use crate::{Cors, PIECE_BYTES, Pattern, Token};
use artisanal_core::{Secret, limits};
use std::collections::BTreeSet;

/// The settings of one endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The DSN of the backend. Empty means the engine's default.
    pub dsn: Secret,
    /// The sequence behind `/` and `/last`.
    pub key: String,
    /// The other sequences, served under `/v1/sequences/`. Does not contain `key` or duplicates.
    pub keys: Vec<String>,
    /// Patterns of the keys of further sequences, which are opened when they are needed.
    pub patterns: Vec<Pattern>,
    /// The maximum number of sequences that are opened by pattern.
    pub max_keys: usize,
    /// The difference between neighbouring integers; None means the engine's default.
    pub increment: Option<i64>,
    /// The residue class of the integers; None means the engine's default.
    pub offset: Option<i64>,
    /// The token required to raise sequences; None disables raising.
    pub admin_token: Option<Token>,
    /// The token required to mint; None lets everyone mint.
    pub mint_token: Option<Token>,
    /// The other origins whose web pages may use the endpoint; None means its own origin only.
    pub cors: Option<Cors>,
    /// The maximum number of requests that wait for one sequence while a call is in flight.
    pub queue_limit: usize,
    /// The maximum memory, in bytes, of answers with several integers that clients have not read yet.
    /// Further requests for several integers get 503.
    pub answer_memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dsn: Secret::default(),
            key: "integers".to_owned(),
            keys: Vec::new(),
            patterns: Vec::new(),
            max_keys: Self::MAX_KEYS,
            increment: None,
            offset: None,
            admin_token: None,
            mint_token: None,
            cors: None,
            queue_limit: Self::QUEUE_LIMIT,
            answer_memory: Self::ANSWER_MEMORY,
        }
    }
}

/// An invalid setting. Does not show secret values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the setting `{name}` is invalid: {reason}")]
pub struct SettingsError {
    /// The name of the setting.
    pub name: &'static str,
    /// What is wrong, and what is valid.
    pub reason: String,
}

impl Settings {
    /// The names of all settings that [`Settings::from_lookup`] looks up.
    pub const NAMES: [&'static str; 11] = [
        "dsn",
        "key",
        "keys",
        "max_keys",
        "increment",
        "offset",
        "admin_token",
        "mint_token",
        "cors_origin",
        "queue_limit",
        "answer_memory",
    ];

    /// The default number of requests that may wait for one sequence.
    pub const QUEUE_LIMIT: usize = 4096;

    /// The default number of sequences that are opened by pattern.
    pub const MAX_KEYS: usize = 1_000;

    /// The greatest number of sequences that a server may be told to open by pattern.
    pub const MOST_KEYS: i64 = 100_000;

    /// The default memory for answers, in bytes: 64 MiB, or 16 MiB in the component, since an instance
    /// has 64 MiB in total. Each of the longest answers takes 16 KiB while a client reads it.
    pub const ANSWER_MEMORY: usize = if cfg!(target_family = "wasm") {
        16 << 20
    } else {
        64 << 20
    };

    /// Reads the settings through `lookup`.
    ///
    /// An empty value counts as unset, because some sources cannot omit a value.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn from_lookup(
        mut lookup: impl FnMut(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut get = |name| lookup(name).filter(|value| !value.is_empty());
        let default = Self::default();
        let key = get("key").unwrap_or(default.key);
        check_key("key", &key)?;
        let mut keys = Vec::new();
        let mut patterns = Vec::new();
        let mut known = BTreeSet::from([key.clone()]);
        for other in get("keys").iter().flat_map(|list| list.split(',')) {
            let other = other.trim();
            check_key("keys", other)?;
            match Pattern::new(other) {
                Some(pattern) if patterns.contains(&pattern) => {}
                Some(pattern) => patterns.push(pattern),
                None if known.insert(other.to_owned()) => keys.push(other.to_owned()),
                None => {}
            }
        }
        Ok(Self {
            dsn: Secret::new(get("dsn").unwrap_or_default()),
            key,
            keys,
            patterns,
            max_keys: integer("max_keys", get("max_keys"), 1, Self::MOST_KEYS)?
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(default.max_keys),
            increment: integer("increment", get("increment"), 1, i64::MAX)?,
            offset: integer("offset", get("offset"), 0, i64::MAX)?,
            admin_token: token("admin_token", get("admin_token"))?,
            mint_token: token("mint_token", get("mint_token"))?,
            cors: get("cors_origin")
                .map(|text| Cors::parse(&text))
                .transpose()
                .map_err(|reason| wrong("cors_origin", reason))?,
            queue_limit: integer("queue_limit", get("queue_limit"), 1, 1_000_000)?
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(default.queue_limit),
            answer_memory: integer(
                "answer_memory",
                get("answer_memory"),
                PIECE_BYTES as i64,
                1 << 40,
            )?
            .map_or(default.answer_memory, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
        })
    }
}

fn wrong(name: &'static str, reason: impl Into<String>) -> SettingsError {
    SettingsError {
        name,
        reason: reason.into(),
    }
}

/// Applies the same rule as the engines, so that a server that could never mint does not start.
fn check_key(name: &'static str, key: &str) -> Result<(), SettingsError> {
    if key.is_empty() {
        return Err(wrong(
            name,
            "a key is empty; write `one,two` to name two sequences",
        ));
    }
    limits::check_key(key).map_err(|error| wrong(name, error.to_string()))
}

fn integer(
    name: &'static str,
    text: Option<String>,
    least: i64,
    most: i64,
) -> Result<Option<i64>, SettingsError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
        _ => Err(wrong(
            name,
            format!("`{text}` is not a whole number from {least} to {most}"),
        )),
    }
}

fn token(name: &'static str, text: Option<String>) -> Result<Option<Token>, SettingsError> {
    text.map(|text| {
        Token::new(text).ok_or_else(|| {
            wrong(
                name,
                "a token is 1 to 1024 printable ASCII characters without spaces",
            )
        })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| {
            assert!(Settings::NAMES.contains(&name), "{name} is not listed");
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_and_empty_values_are_the_defaults() {
        let empty: Vec<_> = Settings::NAMES.iter().map(|name| (*name, "")).collect();
        for settings in [from(&[]).unwrap(), from(&empty).unwrap()] {
            assert_eq!(settings.dsn, Secret::default());
            assert_eq!(settings.key, "integers");
            assert_eq!(settings.keys, [""; 0]);
            assert_eq!((settings.increment, settings.offset), (None, None));
            assert!(settings.admin_token.is_none() && settings.mint_token.is_none());
            assert!(settings.cors.is_none());
            assert_eq!(settings.queue_limit, Settings::QUEUE_LIMIT);
            assert_eq!(settings.answer_memory, Settings::ANSWER_MEMORY);
            assert_eq!((settings.patterns.len(), settings.max_keys), (0, 1_000));
        }
    }

    #[test]
    fn everything_set() {
        let settings = from(&[
            ("dsn", "redis://:s3cret@localhost"),
            ("key", "a"),
            ("keys", "b, c,a,orders-*,b,*-x,orders-*"),
            ("max_keys", "100000"),
            ("increment", "9223372036854775807"),
            ("offset", "0"),
            ("admin_token", "t0p"),
            ("mint_token", "m1nt"),
            ("cors_origin", "*"),
            ("queue_limit", "7"),
            ("answer_memory", "20000"),
        ])
        .unwrap();
        assert_eq!(settings.dsn.reveal(), "redis://:s3cret@localhost");
        assert_eq!(settings.key, "a");
        assert_eq!(settings.keys, ["b", "c"]);
        let patterns: Vec<_> = settings.patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(patterns, ["orders-*", "*-x"]);
        assert_eq!(settings.max_keys, 100_000);
        assert_eq!(
            (settings.increment, settings.offset),
            (Some(i64::MAX), Some(0))
        );
        assert!(settings.admin_token.as_ref().unwrap().matches(b"t0p"));
        assert!(settings.mint_token.as_ref().unwrap().matches(b"m1nt"));
        assert!(settings.cors.is_some());
        assert_eq!(settings.queue_limit, 7);
        assert_eq!(settings.answer_memory, 20_000);
        let debug = format!("{settings:?}");
        for secret in ["s3cret", "t0p", "m1nt"] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not_shown() {
        for (name, value) in [
            ("key", "a\nb"),
            ("key", &"x".repeat(129)),
            ("keys", "a,,b"),
            ("keys", "a,\u{7f}"),
            ("keys", "*\u{7f}"),
            ("max_keys", "0"),
            ("max_keys", "100001"),
            ("max_keys", "many"),
            ("increment", "0"),
            ("increment", "two"),
            ("increment", "1.0"),
            ("increment", "9223372036854775808"),
            ("offset", "-1"),
            ("admin_token", "s3cret s3cret"),
            ("mint_token", "s3cret\n"),
            ("cors_origin", "example.com"),
            ("queue_limit", "0"),
            ("answer_memory", "16383"),
            ("answer_memory", "64M"),
        ] {
            let error = from(&[(name, value)]).unwrap_err();
            assert_eq!(error.name, name, "{value}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
