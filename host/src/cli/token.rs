//! `int-host token`: makes tokens for `serve --tokens`.

use super::Failure;
use crate::Error;
use crate::serve::tokens::{Digest, file};
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroU32;

/// Make tokens for clients of `serve --tokens`
#[derive(Debug, Args)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
}

/// Make a random token
///
/// The token is printed to standard error, and cannot be shown again. Its entry for the file of --tokens, which has
/// only a hash of it, is printed to standard output: int-host token new --name NAME >> tokens.toml
#[derive(Debug, Args)]
struct New {
    /// The name of the token, for the file, logs and metrics
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// The sequences that the token is for, by key or by pattern
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', default_value = "*")]
    keys: Vec<String>,
    /// What the token allows: mint, read, raise
    #[arg(long, value_name = "RIGHT,…", value_delimiter = ',', default_value = "mint,read", value_parser = right)]
    rights: Vec<String>,
    /// How many requests the holder may make in a second [default: any number]
    #[arg(long, value_name = "N")]
    requests_per_second: Option<NonZeroU32>,
    /// How many integers the holder may mint in a second [default: any number]
    #[arg(long, value_name = "N")]
    integers_per_second: Option<NonZeroU32>,
}

fn name(text: &str) -> Result<String, String> {
    file::check_name(text).map(|()| text.to_owned())
}

fn right(text: &str) -> Result<String, String> {
    file::right(text).map(|right| right.as_str().to_owned())
}

impl TokenCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::New(new) = self.action;
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Error::Misconfigured("the system has no random numbers".into()))?;
        let token = random.iter().fold("int_".to_owned(), |mut token, byte| {
            // Writing to a string cannot fail.
            let _ = write!(token, "{byte:02x}");
            token
        });
        let entry = new.entry(&token);
        // What this prints is what `serve` accepts, or an error.
        file::parse(&entry).map_err(Error::Invalid)?;
        std::io::stdout().write_all(entry.as_bytes())?;
        eprintln!(
            "the token of {}, which is not shown again:\n{token}",
            new.name
        );
        Ok(())
    }
}

impl New {
    /// The entry of a token, as TOML.
    fn entry(&self, token: &str) -> String {
        let mut entry = format!(
            "[[token]]\nname = {:?}\nhash = \"{}\"\nkeys = {}\nrights = {}\n",
            self.name,
            Digest::of(token.as_bytes()),
            list(&self.keys),
            list(&self.rights)
        );
        let limits = [
            ("requests-per-second", self.requests_per_second),
            ("integers-per-second", self.integers_per_second),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                let _ = writeln!(entry, "{name} = {limit}");
            }
        }
        entry
    }
}

/// An array of strings, as TOML. Keys have no control characters, so quotes and backslashes are all that is escaped.
fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts
        .iter()
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_can_be_read() {
        let new = New {
            name: "a-b.c_1".into(),
            keys: vec!["orders-*".into(), "a\"b\\ü".into()],
            rights: vec!["mint".into(), "raise".into()],
            requests_per_second: NonZeroU32::new(5),
            integers_per_second: NonZeroU32::new(6),
        };
        let all = file::parse(&new.entry("a token")).expect("valid");
        assert_eq!(all[0].name, "a-b.c_1");
        assert_eq!(all[0].keys, ["a\"b\\ü"]);
        assert_eq!(all[0].rates.integers, NonZeroU32::new(6));
        assert!(Digest(all[0].id) == Digest::of(b"a token"));
    }
}
