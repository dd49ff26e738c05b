//! Integers that are fetched before they are asked for.
//!
//! A holder of leases keeps two spans of its own: one from which it mints, and the next one, which is
//! fetched when half of the first is left. So it mints without a round trip, and goes on while the
//! backend fails for a moment.
//!
//! This gives up the order between holders (C3): of two holders, the one that mints later may mint the
//! smaller integers, because it fetched them earlier. Integers of *one* holder are in order, and no two
//! holders share one.
//!
//! What a holder does not hand out is a gap. It cannot be given back: that would lower the mark, and
//! marks are never lowered, since another holder may have minted above it.

mod buffer;
mod sizing;

pub use buffer::Taken;

use crate::limits::MAX_COUNT;
use crate::{Error, Lattice, Span};
use buffer::Buffer;
use futures::lock::Mutex;
use sizing::Sizing;
use std::time::Instant;

/// The leases of one holder on one sequence. It belongs to one DSN, key, increment and offset, as the
/// sequence does that its spans are fetched from.
///
/// [`Lease::take`] takes what is there. If that is not enough, [`Lease::mint`] fetches more. Fetches are
/// made one at a time, so a call that finds both spans used up waits for the fetch under way.
pub struct Lease {
    buffer: Buffer,
    lattice: Lattice,
    fetching: Mutex<Fetching>,
}

struct Fetching {
    sizing: Sizing,
    /// When the latest span was fetched.
    at: Option<Instant>,
}

/// A span that was fetched.
struct Fetched {
    span: Span,
    /// The epoch of the buffer before that.
    epoch: u64,
    /// Why it is not larger, if the backend had no room.
    exhausted: Option<Error>,
}

impl Lease {
    /// No integers yet. `most` is the size of the largest span that is fetched unless a call asks for
    /// more: 1 to [`MAX_COUNT`]. `lattice` is that of the sequence.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `most` is out of range.
    pub fn new(lattice: Lattice, most: u32) -> Result<Self, Error> {
        if !(1..=MAX_COUNT).contains(&most) {
            return Err(Error::Invalid(format!(
                "the lease is {most}; it must be 1 to {MAX_COUNT}"
            )));
        }
        Ok(Self {
            buffer: Buffer::new(lattice.increment()),
            lattice,
            fetching: Mutex::new(Fetching {
                sizing: Sizing::up_to(most),
                at: None,
            }),
        })
    }

    /// Takes `count` integers from the spans that were fetched; None if they have too few left, or if
    /// `count` is 0. Never waits for a fetch, and usually takes one atomic addition.
    #[inline]
    pub fn take(&self, count: u32) -> Option<Taken> {
        if count == 0 || count > MAX_COUNT {
            return None;
        }
        self.buffer.take(count)
    }

    /// Takes `count` integers, 1 to [`MAX_COUNT`]. If the spans have too few left, it fetches with
    /// `fetch`, which is given the number of integers to mint.
    ///
    /// Near the top of the range it fetches less, so that no integer is lost there.
    ///
    /// # Errors
    /// The error of `fetch`; [`Error::Broken`] when that returned another number of integers or
    /// integers that are not greater than all before.
    pub async fn mint<F>(&self, count: u32, fetch: impl Fn(u32) -> F) -> Result<Span, Error>
    where
        F: Future<Output = Result<Span, Error>>,
    {
        let mut fetching = self.fetching.lock().await;
        if let Some(Taken { span, ahead }) = self.take(count) {
            if ahead {
                self.buffer.ask_again(false);
            }
            return Ok(span);
        }
        // At the top of the range, what is left may be enough together with a smaller span.
        let least = count.saturating_sub(self.buffer.at_the_end()).max(1);
        let fetched = self.fetch(&mut fetching, least, count, fetch).await?;
        let minted = self.buffer.serve(fetched.span, fetched.epoch, count)?;
        minted.ok_or_else(|| fetched.exhausted.unwrap_or_else(too_few))
    }

    /// Fetches the next span, unless that is not needed any more. Run it in the background when
    /// [`Taken::ahead`] says so. After a failure, or if the future is dropped, a later call is told so.
    ///
    /// # Errors
    /// As [`Lease::mint`]. Nothing that was fetched before is affected.
    pub async fn ahead<F>(&self, fetch: impl Fn(u32) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<Span, Error>>,
    {
        let again = AskAgain(&self.buffer);
        let mut fetching = self.fetching.lock().await;
        if self.buffer.needs_next() {
            let fetched = self.fetch(&mut fetching, 1, 1, fetch).await?;
            self.buffer.store(fetched.span, fetched.epoch)?;
        }
        // The next caller is told when this span becomes the current one.
        std::mem::forget(again);
        Ok(())
    }

    /// Drops all integers that were fetched, also those of a fetch under way, unless the sequence was
    /// certainly not raised. To be called with the result of every `set-last`, before that is passed on.
    pub fn after_raise(&self, value: i64, raised: &Result<(), Error>) {
        match raised {
            Ok(()) => self.buffer.clear(value),
            Err(Error::Invalid(_) | Error::TooSmall(_) | Error::Denied(_) | Error::Busy) => {}
            // It may have been raised, and then other clients rely on that.
            Err(_) => self.buffer.clear(0),
        }
    }

    /// How many integers are fetched and not handed out.
    pub fn held(&self) -> u64 {
        self.buffer.held()
    }

    /// How many integers were fetched and dropped: because the sequence was raised, or because a call
    /// needed more than was left.
    pub fn skipped(&self) -> u64 {
        self.buffer.skipped()
    }

    /// Fetches `wanted` integers or more, or down to `least` if the backend has no room.
    async fn fetch<F>(
        &self,
        fetching: &mut Fetching,
        least: u32,
        wanted: u32,
        fetch: impl Fn(u32) -> F,
    ) -> Result<Fetched, Error>
    where
        F: Future<Output = Result<Span, Error>>,
    {
        let begin = Instant::now();
        let lasted = fetching.at.map(|at| begin.duration_since(at));
        let mut size = fetching.sizing.next(lasted).max(wanted);
        let mut exhausted = None;
        let epoch = self.buffer.epoch();
        let span = loop {
            match fetch(size).await {
                Ok(span) => break span,
                Err(error @ Error::Exhausted(_)) if size > least => {
                    // All that the call needs, then what completes what is left for it, and nothing else:
                    // a call that cannot be served takes nothing.
                    size = if size > wanted {
                        (size / 2).max(wanted)
                    } else {
                        least
                    };
                    fetching.sizing.fall_to(size);
                    exhausted = Some(error);
                }
                Err(error) => return Err(error),
            }
        };
        fetching.at = Some(Instant::now());
        if span.count() != size || !self.lattice.holds(span) {
            return Err(Error::Broken(format!(
                "the engine was asked for {size} integers and returned {span:?}"
            )));
        }
        Ok(Fetched {
            span,
            epoch,
            exhausted,
        })
    }
}

/// The error for a fetch of enough integers that were not enough, which cannot happen.
fn too_few() -> Error {
    Error::Broken("the engine returned fewer integers than it was asked for".into())
}

/// Lets a later call be told to fetch ahead, since this attempt has failed or was dropped.
struct AskAgain<'a>(&'a Buffer);

impl Drop for AskAgain<'_> {
    fn drop(&mut self) {
        self.0.ask_again(true);
    }
}

#[cfg(test)]
mod tests;
