//! The component's resource: an engine with argument checks, span arithmetic and a lock.

use crate::bindings::artisanal::integers::types as wit;
use crate::bindings::exports::artisanal::integers::engine::{self as exports, GuestSequence};
use crate::{Engine, Error, config, exhausted};
use artisanal_core::limits::{check_count, check_last};
use artisanal_core::{Lattice, Span};
use futures::lock::Mutex;

/// A sequence as the component exports it.
pub struct Sequence<E> {
    lattice: Lattice,
    /// Serves one call at a time, in arrival order: an engine has one connection.
    engine: Mutex<E>,
}

impl<E: Engine> Sequence<E> {
    /// Opens a sequence; see the WIT's `sequence.open`.
    ///
    /// # Errors
    /// As in the WIT.
    pub async fn open(config: wit::Config) -> Result<Self, Error> {
        let (dsn, key, lattice) = config::check::<E>(config)?;
        let mut engine = E::open(dsn, key).await?;
        engine.use_lattice(lattice);
        Ok(Self {
            lattice,
            engine: Mutex::new(engine),
        })
    }

    /// Takes an interval; see the WIT's `claims.claim`.
    ///
    /// # Errors
    /// As in the WIT.
    pub async fn claim(&self, first: i64, last: i64) -> Result<(), Error> {
        if first < 0 || last < first {
            return Err(Error::Invalid(format!(
                "the interval from {first} to {last} cannot be claimed: it begins at 0 or above, and ends \
                 at its first integer or above"
            )));
        }
        self.engine.lock().await.claim(first, last).await
    }

    /// What changes when the backend may have forgotten marks; see the WIT's `claims.generation`.
    ///
    /// # Errors
    /// As in the WIT.
    pub async fn generation(&self) -> Result<Option<String>, Error> {
        self.engine.lock().await.generation().await
    }

    async fn mint(&self, count: u32) -> Result<Span, Error> {
        let count = check_count(count)?;
        let stride = self.lattice.stride(count).ok_or_else(exhausted)?;
        let mut engine = self.engine.lock().await;
        let mark = engine.advance(stride).await?;
        if let Some(span) = self.lattice.span(mark, count) {
            return Ok(span);
        }
        // A mark at or below zero was stored by hand. Raise it to zero and mint from there; if a
        // concurrent caller has raised it further, that serves as well.
        match engine.raise(0).await {
            Ok(()) | Err(Error::TooSmall(_)) => {}
            Err(error) => return Err(error),
        }
        let mark = engine.advance(stride).await?;
        self.lattice.span(mark, count).ok_or_else(|| {
            Error::Other(format!(
                "the backend advanced the mark by {stride} to {mark}, which leaves no positive \
                 integers; does another client lower this sequence?"
            ))
        })
    }
}

impl<E: Engine> GuestSequence for Sequence<E> {
    async fn open(config: wit::Config) -> Result<exports::Sequence, Error> {
        Ok(exports::Sequence::new(Sequence::<E>::open(config).await?))
    }

    fn lattice(&self) -> wit::Lattice {
        self.lattice.into()
    }

    async fn next(&self, count: u32) -> Result<wit::Span, Error> {
        Ok(self.mint(count).await?.into())
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        // A mark at or below zero was set by hand: no integer was ever handed out from it.
        Ok(self
            .engine
            .lock()
            .await
            .mark()
            .await?
            .filter(|mark| *mark > 0))
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        check_last(value)?;
        let mut engine = self.engine.lock().await;
        // An engine whose reply was lost repeats the raise and may then find its own raise, and integers
        // that others minted above it. So whether to refuse is decided by a mark that was read before
        // the raise was sent. A mark that passes `value` after that satisfies the request: every later
        // integer is above `value`, whichever client raised it.
        let known = match engine.mark().await {
            Ok(Some(mark)) if mark > value => return Err(Error::TooSmall(mark)),
            Ok(_) => true,
            // The stored data is invalid. A raise may repair it; the engine decides that.
            Err(Error::Other(_)) => false,
            Err(error) => return Err(error),
        };
        match engine.raise(value).await {
            Err(Error::TooSmall(_)) if known => Ok(()),
            raised => raised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dsn, Key};
    use futures::FutureExt;

    /// An engine that loses the reply of its first raise while others mint.
    struct Forgetful {
        mark: Option<i64>,
        minted_meanwhile: i64,
        raises: usize,
    }

    impl Engine for Forgetful {
        const OFFSET: i64 = 0;
        const DSN: Option<&'static str> = None;
        const SCHEMES: &'static [&'static str] = &[];

        async fn open(_dsn: Dsn, _key: Key) -> Result<Self, Error> {
            unreachable!("made by hand")
        }

        async fn advance(&mut self, _by: i64) -> Result<i64, Error> {
            unreachable!("never minted from")
        }

        async fn mark(&mut self) -> Result<Option<i64>, Error> {
            Ok(self.mark)
        }

        async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
            for _ in 0..2 {
                self.raises += 1;
                match self.mark {
                    Some(mark) if mark >= first => return Err(Error::TooSmall(mark)),
                    _ => self.mark = Some(last + self.minted_meanwhile),
                }
            }
            Ok(())
        }
    }

    fn set_last(
        mark: Option<i64>,
        minted_meanwhile: i64,
        value: i64,
    ) -> (Result<(), Error>, usize) {
        let sequence = Sequence {
            lattice: Lattice::new(2, 0).expect("a lattice"),
            engine: Mutex::new(Forgetful {
                mark,
                minted_meanwhile,
                raises: 0,
            }),
        };
        let set = GuestSequence::set_last(&sequence, value)
            .now_or_never()
            .expect("it waits for nothing");
        (set, sequence.engine.into_inner().raises)
    }

    #[test]
    fn a_raise_whose_reply_was_lost_is_not_refused_for_its_own_effect() {
        for mark in [None, Some(-5), Some(0), Some(9), Some(10)] {
            for minted in [0, 2, 100] {
                // A sequence that is there already needs no second attempt.
                let attempts = if mark == Some(10) { 1 } else { 2 };
                assert_eq!(set_last(mark, minted, 10), (Ok(()), attempts));
            }
        }
    }

    #[test]
    fn a_sequence_that_was_past_the_value_is_told_and_left_alone() {
        assert_eq!(set_last(Some(11), 2, 10), (Err(Error::TooSmall(11)), 0));
        let (set, raises) = set_last(Some(11), 2, -1);
        assert!(
            matches!(set, Err(Error::Invalid(_))) && raises == 0,
            "{set:?}"
        );
    }
}
