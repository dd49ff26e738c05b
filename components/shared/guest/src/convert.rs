//! Conversions from the types of the core crate to the equivalent WIT types.

use crate::bindings::artisanal::integers::types as wit;
use artisanal_core::{Error, Lattice, Span};

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(reason) => Self::Invalid(reason),
            Error::TooSmall(current) => Self::TooSmall(current),
            Error::Exhausted(reason) => Self::Exhausted(reason),
            Error::Denied(reason) => Self::Denied(reason),
            Error::Unavailable(reason) => Self::Unavailable(reason),
            // The other cases come from the layers above an engine.
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<Span> for wit::Span {
    fn from(span: Span) -> Self {
        Self {
            first: span.first(),
            step: span.step(),
            count: span.count(),
        }
    }
}

impl From<Lattice> for wit::Lattice {
    fn from(lattice: Lattice) -> Self {
        Self {
            increment: lattice.increment(),
            offset: lattice.offset(),
        }
    }
}
