//! Engines that run one kind of operation after another through a client with retries of its own.

use crate::{Dsn, Engine, Error, Key};

/// An operation on a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Adds this much to the mark and returns the new mark.
    Advance(i64),
    /// Returns the mark.
    Mark,
    /// Sets the mark to `last` if it is below `first`. Returns the mark if it is not, otherwise None.
    Claim {
        /// The smallest integer to take.
        first: i64,
        /// The greatest one.
        last: i64,
    },
    /// Sets the mark to this if it is lower. Returns the mark if it is not, otherwise None.
    Raise(i64),
    /// Checks that the server does not forget what it has acknowledged, and returns None.
    Settle,
}

impl Operation {
    /// The mark that is known after the operation has returned this one.
    pub fn reached(self, mark: Option<i64>) -> Option<i64> {
        match (self, mark) {
            (Self::Claim { last, .. } | Self::Raise(last), None) => Some(last),
            (_, mark) => mark,
        }
    }
}

/// The client of one sequence, which runs operations until they succeed, fail for good, or reach their
/// deadline. It is an [`Engine`].
pub trait Client: Sized + 'static {
    /// As [`Engine::OFFSET`].
    const OFFSET: i64;
    /// As [`Engine::SCHEMES`].
    const SCHEMES: &'static [&'static str];

    /// Checks the DSN. Does no I/O.
    ///
    /// # Errors
    /// `invalid` for a DSN that this engine cannot use.
    fn open(dsn: &Dsn, key: Key) -> Result<Self, Error>;

    /// Runs one operation. Blocks the instance.
    ///
    /// # Errors
    /// As those of [`Engine`]'s methods.
    fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error>;
}

impl<C: Client> Engine for C {
    const OFFSET: i64 = <C as Client>::OFFSET;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = <C as Client>::SCHEMES;

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        <C as Client>::open(&dsn, key)
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mark = self.run(Operation::Advance(by))?;
        mark.ok_or_else(|| Error::Other("the database returned no value".into()))
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        self.run(Operation::Mark)
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        match self.run(Operation::Claim { first, last })? {
            None => Ok(()),
            Some(mark) => Err(Error::TooSmall(mark)),
        }
    }

    // Not as a claim: it may raise an older copy of the data to the greatest mark that was seen.
    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        match self.run(Operation::Raise(to))? {
            Some(mark) if mark > to => Err(Error::TooSmall(mark)),
            _ => Ok(()),
        }
    }

    async fn generation(&mut self) -> Result<Option<String>, Error> {
        self.run(Operation::Settle).map(|_| None)
    }
}
