//! The file of named tokens.
//!
//! It is TOML, in which an entry is a piece of text that can be appended to the file:
//!
//! ```toml
//! [[token]]
//! name = "billing"
//! hash = "sha256:…"
//! keys = ["invoices", "orders-*"]
//! rights = ["mint", "read"]
//! requests-per-second = 100
//! integers-per-second = 10000
//! ```

use super::Digest;
use crate::Error;
use artisanal_core::limits;
use intd::{Pattern, Rates, Right, Terms};
use serde::Deserialize;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;

/// The maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The maximum number of tokens. Each may have labels of its own in metrics.
const MAX_TOKENS: usize = 1000;

/// The maximum length of a name.
const MAX_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    hash: String,
    keys: Vec<String>,
    rights: Vec<String>,
    requests_per_second: Option<NonZeroU32>,
    integers_per_second: Option<NonZeroU32>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Terms>, Error> {
    let mut text = String::new();
    let shown = path.display();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| Error::Misconfigured(format!("cannot read {shown}: {error}")))?;
    let parsed = match text.len() as u64 {
        ..=MAX_BYTES => parse(&text),
        _ => Err("it has more than 1 MiB".to_owned()),
    };
    parsed.map_err(|why| Error::Invalid(format!("the tokens in {shown} cannot be used: {why}")))
}

pub(crate) fn parse(text: &str) -> Result<Vec<Terms>, String> {
    // The whole error would quote a line, in which there may be a token by mistake.
    let document: Document = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })?;
    let entries = document.token;
    if entries.is_empty() {
        return Err("it has no entry `[[token]]`; `int-host token new` prints one".to_owned());
    }
    if entries.len() > MAX_TOKENS {
        return Err(format!("it has more than {MAX_TOKENS} tokens"));
    }
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    let mut all = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        check_name(&entry.name).map_err(|why| format!("token {}: {why}", index + 1))?;
        let name = entry.name.clone();
        let terms = terms(entry).map_err(|why| format!("token `{name}`: {why}"))?;
        if !ids.insert(terms.id) {
            return Err(format!("token `{name}`: another one has the same hash"));
        }
        if !names.insert(name.clone()) {
            return Err(format!("two tokens have the name `{name}`"));
        }
        all.push(terms);
    }
    Ok(all)
}

/// Checks a name, which is a label of metrics and the user name of the Redis protocol.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        Ok(())
    } else {
        Err(format!(
            "a name is 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        ))
    }
}

fn terms(entry: Entry) -> Result<Terms, String> {
    let Digest(id) = Digest::parse(&entry.hash).ok_or(
        "the hash is not `sha256:` and 64 hexadecimal digits; `int-host token new` makes one",
    )?;
    let (mut keys, mut patterns) = (Vec::new(), Vec::new());
    for key in entry.keys {
        limits::check_key(&key).map_err(|error| error.to_string())?;
        match Pattern::new(&key) {
            Some(pattern) => patterns.push(pattern),
            None => keys.push(key),
        }
    }
    if keys.is_empty() && patterns.is_empty() {
        return Err("it has no keys; `keys = [\"*\"]` means all".to_owned());
    }
    let mut rights = Vec::new();
    for name in &entry.rights {
        rights.push(right(name)?);
    }
    if rights.is_empty() {
        return Err("it has no rights".to_owned());
    }
    Ok(Terms {
        name: entry.name,
        id,
        keys,
        patterns,
        rights,
        rates: Rates {
            requests: entry.requests_per_second,
            integers: entry.integers_per_second,
        },
    })
}

pub(crate) fn right(name: &str) -> Result<Right, String> {
    Right::parse(name).ok_or_else(|| "a right is `mint`, `read` or `raise`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(change: impl Fn(String) -> String) -> String {
        let hash = Digest::of(b"a token");
        change(format!(
            "[[token]]\nname = \"billing\"\nhash = \"{hash}\"\nkeys = [\"invoices\", \"orders-*\"]\n\
             rights = [\"mint\", \"read\"]\n"
        ))
    }

    #[test]
    fn an_entry_is_read() {
        let all = parse(&entry(|text| {
            text + "requests-per-second = 7\nintegers-per-second = 4294967295\n"
        }))
        .expect("valid");
        let [terms] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(terms.name, "billing");
        assert!(Digest(terms.id) == Digest::of(b"a token"));
        assert_eq!(terms.keys, ["invoices"]);
        assert_eq!(
            terms.patterns,
            [Pattern::new("orders-*").expect("a pattern")]
        );
        assert_eq!(terms.rights, [Right::Mint, Right::Read]);
        assert_eq!(terms.rates.requests, NonZeroU32::new(7));
        assert_eq!(terms.rates.integers, NonZeroU32::new(u32::MAX));
        let without = parse(&entry(|text| text)).expect("valid");
        assert_eq!(without[0].rates, Rates::default());
    }

    #[test]
    fn mistakes_are_named() {
        let long = "x".repeat(65);
        let other = Digest::of(b"another").to_string();
        let own = Digest::of(b"a token").to_string();
        for (text, says) in [
            (String::new(), "no entry"),
            ("token = 1".into(), "line 1"),
            (entry(|text| text + "rate = 1\n"), "unknown field"),
            (
                entry(|text| text.replace("name = \"billing\"\n", "")),
                "missing field `name`",
            ),
            (
                entry(|text| text.replace("billing", "two words")),
                "token 1: a name is",
            ),
            (entry(|text| text.replace("billing", &long)), "a name is"),
            (
                entry(|text| text.replace(&own, "s3cret")),
                "`billing`: the hash is not",
            ),
            (entry(|text| text.replace("invoices", "")), "`billing`: "),
            (
                entry(|text| text.replace("\"invoices\", \"orders-*\"", "")),
                "no keys",
            ),
            (
                entry(|text| text.replace("\"mint\", \"read\"", "")),
                "no rights",
            ),
            (
                entry(|text| text.replace("mint", "admin")),
                "`mint`, `read` or `raise`",
            ),
            (entry(|text| text + "requests-per-second = 0\n"), "line 6"),
            (entry(|text| text + "integers-per-second = -1\n"), "line 6"),
            (entry(|text| text.clone() + &text), "same hash"),
            (
                entry(|text| text.clone() + &text.replace(&own, &other)),
                "two tokens",
            ),
            (entry(|text| text + "hash = \"s3cret"), "line 6"),
            (
                (0..=MAX_TOKENS)
                    .map(|n| {
                        let hash = Digest::of(&n.to_le_bytes()).to_string();
                        entry(|text| {
                            text.replace(&own, &hash)
                                .replace("billing", &format!("t{n}"))
                        })
                    })
                    .collect(),
                "more than 1000",
            ),
        ] {
            let error = parse(&text).expect_err(says);
            assert!(error.contains(says), "{says}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
