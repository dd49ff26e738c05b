//! The sequences of a server.

use super::super::flags::Flags;
use crate::sequence::Sequences;
use crate::{Config, Error, Host, Sequence, Source};
use intd::{App, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sequences that the command line names, by key.
pub(super) struct Named(BTreeMap<String, Sequence>);

impl Named {
    pub(super) async fn open(
        host: &Host,
        source: &Source,
        flags: &Flags,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let others = settings.keys.iter().filter(|key| **key != settings.key);
        let keys = std::iter::once(&settings.key).chain(others).cloned();
        let opened = host.open_keys(source.clone(), flags.config(), keys.clone());
        let sequences = Self(keys.zip(opened.await?).collect());
        if let Some(last) = flags.set_last_int {
            match sequences.named(&settings.key)?.set_last(last).await {
                // A server that restarts with the same options continues where it was.
                Err(Error::TooSmall(current)) => {
                    tracing::info!(current, "the sequence is already past {last}")
                }
                other => other?,
            }
        }
        Ok(sequences)
    }

    /// The sequence of this key, never a fallback: integers of different sequences must not be mixed up.
    pub(super) fn named(&self, key: &str) -> Result<Sequence, Error> {
        self.0
            .get(key)
            .cloned()
            .ok_or_else(|| Error::Other(format!("no sequence was opened for the key `{key}`")))
    }
}

/// The same endpoint with the sequences whose keys match a pattern, which share a few instances of their own.
pub(super) fn by_pattern(
    app: App<Sequence>,
    host: &Host,
    source: &Source,
    config: Config,
) -> Result<App<Sequence>, Error> {
    let sequences = Sequences::new(host, source, config, Sequence::INSTANCES)?;
    let (reopens, sequences) = (sequences.reopen(), Arc::new(sequences));
    Ok(app.opening(reopens, move |key| {
        let (sequences, key) = (Arc::clone(&sequences), key.to_owned());
        Box::pin(async move { sequences.open(&key).await })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builtin, Options};

    #[tokio::test]
    async fn a_key_without_a_sequence_never_gets_another_ones() {
        let options = Options {
            cache: None,
            ..Options::default()
        };
        let host = Host::new(options).expect("a host");
        let keys = ["a", "b"].map(str::to_owned);
        let opened = host
            .open_keys(Builtin::Memory, Config::default(), keys.clone())
            .await
            .expect("opened");
        let sequences = Named(keys.into_iter().zip(opened).collect());
        assert_eq!(
            sequences
                .named("a")
                .expect("there")
                .next(1)
                .await
                .expect("minted")
                .first(),
            2
        );
        assert_eq!(
            sequences
                .named("b")
                .expect("there")
                .next(1)
                .await
                .expect("minted")
                .first(),
            2
        );
        let settings = Settings {
            key: "a".into(),
            keys: vec!["b".into(), "c".into()],
            ..Settings::default()
        };
        let refused = sequences.named("c").err();
        assert!(
            matches!(&refused, Some(Error::Other(text)) if text.contains("`c`")),
            "{refused:?}"
        );
        let app = App::try_new(settings, |key| sequences.named(key));
        assert_eq!(
            app.err(),
            refused,
            "no endpoint without all of its sequences"
        );
    }
}
