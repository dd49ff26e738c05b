//! The component: a sequence of the engine with its leases.

mod bindings;

use crate::dsn;
use artisanal_core::lease::Lease;
use artisanal_core::limits::check_count;
use artisanal_core::{Error, Lattice, Span};
use bindings::artisanal::integers::{engine, types};
use bindings::exports::artisanal::integers::engine as exports;
use std::rc::Rc;

struct Component;

impl exports::Guest for Component {
    type Sequence = Sequence;
}

bindings::export!(Component with_types_in bindings);

artisanal_core::convert_wit_error!(types::Error);

/// A sequence as the component exports it: one holder of leases.
struct Sequence(Rc<Holder>);

struct Holder {
    engine: engine::Sequence,
    lattice: Lattice,
    lease: Lease,
}

impl Holder {
    async fn open(config: types::Config) -> Result<Self, types::Error> {
        let (dsn, most) = dsn::split(&config.dsn)?;
        // A lease out of range is refused before any I/O.
        Lease::new(unit(), most)?;
        let engine = engine::Sequence::open(types::Config { dsn, ..config }).await?;
        let types::Lattice { increment, offset } = engine.lattice();
        let lattice = Lattice::new(increment, offset)?;
        Ok(Self {
            engine,
            lattice,
            lease: Lease::new(lattice, most)?,
        })
    }

    async fn fetch(&self, count: u32) -> Result<Span, Error> {
        let span = self.engine.next(count).await?;
        Span::checked(span.first, span.step, span.count).ok_or_else(|| {
            Error::Broken(format!("the engine returned the impossible span {span:?}"))
        })
    }
}

/// The lattice of all integers.
fn unit() -> Lattice {
    Lattice::new(1, 0).unwrap_or_else(|_| unreachable!("1 is a valid increment"))
}

impl exports::GuestSequence for Sequence {
    async fn open(config: types::Config) -> Result<exports::Sequence, types::Error> {
        let holder = Holder::open(config).await?;
        Ok(exports::Sequence::new(Self(Rc::new(holder))))
    }

    fn lattice(&self) -> types::Lattice {
        types::Lattice {
            increment: self.0.lattice.increment(),
            offset: self.0.lattice.offset(),
        }
    }

    async fn next(&self, count: u32) -> Result<types::Span, types::Error> {
        let holder = &self.0;
        let count = check_count(count)?;
        let span = match holder.lease.take(count) {
            Some(taken) => {
                if taken.ahead {
                    let holder = Rc::clone(holder);
                    wit_bindgen::spawn_local(async move {
                        // A failure is told to the call that needs the integers.
                        let _ = holder.lease.ahead(|count| holder.fetch(count)).await;
                    });
                }
                taken.span
            }
            None => {
                let minted = holder.lease.mint(count, |count| holder.fetch(count)).await;
                minted?
            }
        };
        Ok(types::Span {
            first: span.first(),
            step: span.step(),
            count: span.count(),
        })
    }

    async fn last(&self) -> Result<Option<i64>, types::Error> {
        self.0.engine.last().await
    }

    async fn set_last(&self, value: i64) -> Result<(), types::Error> {
        let raised = self.0.engine.set_last(value).await.map_err(Error::from);
        self.0.lease.after_raise(value, &raised);
        raised.map_err(types::Error::from)
    }
}
