//! The component's resource: an engine behind checks, arithmetic and a queue of one.

use crate::bindings::artisanal::integers::types as wit;
use crate::bindings::exports::artisanal::integers::engine::{self as exports, GuestSequence};
use crate::{Engine, Error, Lattice, Span, exhausted, limits};
use futures::lock::Mutex;

/// A sequence as the component exports it.
pub struct Sequence<E> {
    lattice: Lattice,
    /// Calls take turns, in the order they came: an engine has one connection.
    engine: Mutex<E>,
}

impl<E: Engine> Sequence<E> {
    /// Opens a sequence; see the WIT's `sequence.open`.
    ///
    /// # Errors
    /// As in the WIT.
    pub async fn open(config: wit::Config) -> Result<Self, Error> {
        let (dsn, key, lattice) = limits::config::<E>(config)?;
        let engine = Mutex::new(E::open(dsn, key).await?);
        Ok(Self { lattice, engine })
    }

    async fn mint(&self, count: u32) -> Result<Span, Error> {
        let count = limits::count(count)?;
        let stride = self.lattice.stride(count).ok_or_else(exhausted)?;
        let mut engine = self.engine.lock().await;
        let mark = engine.advance(stride).await?;
        if let Some(span) = self.lattice.span(mark, count) {
            return Ok(span);
        }
        // Somebody stored a mark at or below zero by hand. Lift it over zero and mint from there;
        // a concurrent caller may have lifted it further, which is as good.
        match engine.raise(0).await {
            Ok(()) | Err(Error::TooSmall(_)) => {}
            Err(error) => return Err(error),
        }
        let mark = engine.advance(stride).await?;
        self.lattice.span(mark, count).ok_or_else(|| {
            Error::Other(format!(
                "the backend moved the mark by {stride} to {mark}, which leaves no positive integers; \
                 is something else lowering this sequence?"
            ))
        })
    }
}

impl<E: Engine> GuestSequence for Sequence<E> {
    async fn open(config: wit::Config) -> Result<exports::Sequence, Error> {
        Ok(exports::Sequence::new(Sequence::<E>::open(config).await?))
    }

    fn lattice(&self) -> wit::Lattice {
        wit::Lattice {
            increment: self.lattice.increment(),
            offset: self.lattice.offset(),
        }
    }

    async fn next(&self, count: u32) -> Result<Span, Error> {
        self.mint(count).await
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        // A mark at or below zero was set by hand: nothing was ever handed out from it.
        Ok(self
            .engine
            .lock()
            .await
            .mark()
            .await?
            .filter(|mark| *mark > 0))
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        if value < 0 {
            return Err(Error::Invalid(format!(
                "the last integer is {value}; it must be 0 or more"
            )));
        }
        self.engine.lock().await.raise(value).await
    }
}
