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
        match flags.lease {
            Some(most) => sequences.leased(most),
            None => Ok(sequences),
        }
    }

    /// The same sequences with leases.
    fn leased(self, most: u32) -> Result<Self, Error> {
        tracing::info!(
            "integers are fetched in spans of up to {most}: they are unique, but NOT in order between this process \
             and others"
        );
        let leased = self
            .0
            .into_iter()
            .map(|(key, sequence)| Ok((key, sequence.lease(most)?)));
        leased.collect::<Result<_, _>>().map(Self)
    }

    /// Reports the integers that were fetched and will not be minted, which happens only with leases.
    pub(super) fn report_gaps(&self) {
        for (key, sequence) in &self.0 {
            let (held, skipped) = (sequence.held(), sequence.skipped());
            if held + skipped > 0 {
                tracing::info!(
                    key,
                    held,
                    skipped,
                    "integers were fetched and not minted: they are a gap"
                );
            }
        }
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
    lease: Option<u32>,
) -> Result<App<Sequence>, Error> {
    let sequences = Sequences::new(host, source, config, Sequence::INSTANCES)?;
    let (reopens, sequences) = (sequences.reopen(), Arc::new(sequences));
    Ok(app.opening(reopens, move |key| {
        let (sequences, key) = (Arc::clone(&sequences), key.to_owned());
        Box::pin(async move {
            let sequence = sequences.open(&key).await?;
            match lease {
                Some(most) => sequence.lease(most),
                None => Ok(sequence),
            }
        })
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
