//! The raise of `--set-last-int`, with retries.

use crate::{Error, Sequence};

/// A raise that is made once, possibly after several attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raise {
    to: Option<i64>,
    /// Whether it was sent at least once, to a sequence that was not past the value. An attempt that failed
    /// may have taken effect.
    sent: bool,
}

impl Raise {
    /// A raise to `last`; None for no raise.
    pub(super) fn to(last: Option<i64>) -> Self {
        Self {
            to: last,
            sent: false,
        }
    }

    /// Raises the sequence unless that is already done. It can be retried after an error.
    ///
    /// Once the raise was sent, a sequence that is past the value is no error: either an earlier attempt
    /// took effect and its reply was lost, or other clients have passed the value since. In both cases every
    /// later integer is greater than the value, as requested.
    ///
    /// # Errors
    /// [`Error::TooSmall`] when the sequence was past the value before the raise was sent; otherwise as
    /// [`Sequence::last`] and [`Sequence::set_last`].
    pub(super) async fn make(&mut self, sequence: &Sequence) -> Result<(), Error> {
        let Some(to) = self.to else { return Ok(()) };
        // The engine rejects negative values.
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
