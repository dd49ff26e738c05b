//! The interface between the HTTP routes and a sequence.

use crate::{Error, Lattice, Span};
use std::rc::Rc;

/// A sequence that many requests share. Implementations coalesce requests themselves, usually
/// with a [`crate::Coalescer`].
///
/// The futures may be dropped before they complete; the sequence must stay usable after that.
pub trait Sequence {
    /// Mints `count` integers, 1 to [`crate::MAX_COUNT`].
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>>;

    /// The greatest integer taken so far; None before the first one.
    fn last(&self) -> impl Future<Output = Result<Option<i64>, Error>>;

    /// Raises the sequence so that every later integer is greater than `value`, 0 or more.
    ///
    /// Fails with [`Error::TooSmall`] if the sequence is already past that value.
    fn set_last(&self, value: i64) -> impl Future<Output = Result<(), Error>>;

    /// The lattice of the integers that it mints.
    fn lattice(&self) -> impl Future<Output = Result<Lattice, Error>>;
}

impl<S: Sequence> Sequence for Rc<S> {
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>> {
        (**self).next(count)
    }

    fn last(&self) -> impl Future<Output = Result<Option<i64>, Error>> {
        (**self).last()
    }

    fn set_last(&self, value: i64) -> impl Future<Output = Result<(), Error>> {
        (**self).set_last(value)
    }

    fn lattice(&self) -> impl Future<Output = Result<Lattice, Error>> {
        (**self).lattice()
    }
}
