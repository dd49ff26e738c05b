//! Conversions between the types of the core crate and the equivalent WIT types.

use crate::bindings::artisanal::integers::types as wit;
use artisanal_core::{Lattice, Span};

artisanal_core::convert_wit_error!(wit::Error);

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
