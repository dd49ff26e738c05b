//! `--set-last-int`, on the command line.

use crate::{Error, Sequence};

/// A raise that is to be made once, however many tries it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raise {
    to: Option<i64>,
    /// It was sent at least once, to a sequence that was not past it. The try may have failed, and
    /// have been carried out nevertheless.
    sent: bool,
}

impl Raise {
    /// None for no raise at all.
    pub(super) fn to(last: Option<i64>) -> Self {
        Self {
            to: last,
            sent: false,
        }
    }

    /// Raises the sequence, if that is not done yet. After an error it can be tried again.
    ///
    /// Once it was sent, a sequence that is past the value is no error: either the raise was made by
    /// an earlier try whose reply was lost, or others went past it since. Every later integer is
    /// greater than the value in both cases, which is all that was asked for.
    ///
    /// # Errors
    /// [`Error::TooSmall`] when the sequence was past the value before anything was sent, else as
    /// [`Sequence::last`] and [`Sequence::set_last`].
    pub(super) async fn make(&mut self, sequence: &Sequence) -> Result<(), Error> {
        let Some(to) = self.to else { return Ok(()) };
        // A negative value is for the engine to refuse.
        if !self.sent && to >= 0 {
            match sequence.last().await? {
                Some(last) if last > to => return Err(Error::TooSmall(last)),
                _ => self.sent = true,
            }
        }
        match sequence.set_last(to).await {
            Ok(()) => {}
            Err(Error::TooSmall(_)) if self.sent => {}
            Err(error) => return Err(error),
        }
        self.to = None;
        Ok(())
    }
}
