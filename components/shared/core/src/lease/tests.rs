//! Tests of leases on a simulated backend.

mod faults;
mod threads;

use super::*;
use futures::FutureExt;
use proptest::prelude::*;
use std::cell::Cell;

/// A backend whose calls are answered at once.
#[derive(Default)]
struct Backend {
    mark: Cell<i64>,
    calls: Cell<u32>,
    down: Cell<bool>,
}

impl Backend {
    fn at(mark: i64) -> Self {
        let backend = Self::default();
        backend.mark.set(mark);
        backend
    }

    fn next(&self, lattice: Lattice, count: u32) -> Result<Span, Error> {
        self.calls.set(self.calls.get() + 1);
        if self.down.get() {
            return Err(Error::Unavailable("down".into()));
        }
        let stride = lattice.stride(count);
        let mark = stride.and_then(|stride| self.mark.get().checked_add(stride));
        let mark = mark.ok_or_else(|| Error::Exhausted("at the top".into()))?;
        self.mark.set(mark);
        lattice
            .span(mark, count)
            .ok_or_else(|| Error::Other("not positive".into()))
    }

    /// As an engine does.
    fn set_last(&self, value: i64) -> Result<(), Error> {
        match self.mark.get() {
            mark if mark > value => Err(Error::TooSmall(mark)),
            _ => {
                self.mark.set(value);
                Ok(())
            }
        }
    }
}

/// A holder of leases on a backend.
struct Holder<'a> {
    backend: &'a Backend,
    lattice: Lattice,
    lease: Lease,
}

impl<'a> Holder<'a> {
    fn of(backend: &'a Backend, most: u32) -> Self {
        Self::on(backend, most, Lattice::new(2, 0).unwrap())
    }

    fn on(backend: &'a Backend, most: u32, lattice: Lattice) -> Self {
        let lease = Lease::new(lattice, most).unwrap();
        Self {
            backend,
            lattice,
            lease,
        }
    }

    /// Mints, and fetches ahead at once when told to.
    fn next(&self, count: u32) -> Result<Span, Error> {
        match self.lease.take(count) {
            Some(taken) => {
                if taken.ahead {
                    let _ = self.ahead();
                }
                Ok(taken.span)
            }
            None => self.mint(count),
        }
    }

    fn mint(&self, count: u32) -> Result<Span, Error> {
        self.lease
            .mint(count, |n| async move { self.backend.next(self.lattice, n) })
            .now_or_never()
            .expect("the backend answers at once")
    }

    fn ahead(&self) -> Result<(), Error> {
        self.lease
            .ahead(|n| async move { self.backend.next(self.lattice, n) })
            .now_or_never()
            .expect("the backend answers at once")
    }

    fn set_last(&self, value: i64) -> Result<(), Error> {
        let raised = self.backend.set_last(value);
        self.lease.after_raise(value, &raised);
        raised
    }

    fn first(&self) -> i64 {
        self.next(1).expect("minted").first()
    }
}

#[test]
fn a_lone_holder_mints_without_gaps_and_with_few_calls() {
    let backend = Backend::default();
    let holder = Holder::of(&backend, 1000);
    for n in 1..=100_000 {
        assert_eq!(holder.first(), 2 * n);
    }
    // Ten doublings, and then a call for each thousand.
    assert!(backend.calls.get() <= 112, "{}", backend.calls.get());
    assert_eq!(holder.lease.skipped(), 0);
    let ahead = i64::try_from(holder.lease.held()).unwrap();
    assert_eq!(backend.mark.get(), 200_000 + 2 * ahead);
}

#[test]
fn the_first_integers_leave_no_gap() {
    for count in [1, 10, 100_000] {
        let backend = Backend::default();
        let holder = Holder::of(&backend, 1000);
        let minted = holder.next(count).unwrap();
        assert_eq!((minted.first(), minted.count()), (2, count));
        assert_eq!(
            backend.mark.get(),
            minted.last(),
            "nothing is fetched ahead"
        );
        assert_eq!(holder.lease.held(), 0);
    }
}

#[test]
fn leases_and_counts_have_bounds() {
    let lattice = Lattice::new(2, 0).unwrap();
    for bad in [0, MAX_COUNT + 1, u32::MAX] {
        assert!(matches!(Lease::new(lattice, bad), Err(Error::Invalid(_))));
    }
    let lease = Lease::new(lattice, MAX_COUNT).unwrap();
    for bad in [0, MAX_COUNT + 1, u32::MAX] {
        assert_eq!(lease.take(bad), None);
    }
}

#[test]
fn a_failing_backend_is_noticed_when_the_integers_are_used_up() {
    let backend = Backend::default();
    let holder = Holder::of(&backend, 64);
    while holder.lease.held() < 64 {
        holder.first();
    }
    let held = holder.lease.held();
    backend.down.set(true);
    let before = backend.calls.get();
    for _ in 0..held {
        holder.first();
    }
    let attempts = backend.calls.get() - before;
    assert!((1..=12).contains(&attempts), "{attempts} to fetch ahead");
    for _ in 0..3 {
        assert!(matches!(holder.next(1), Err(Error::Unavailable(_))));
    }
    backend.down.set(false);
    assert!(holder.first() > 0);
}

#[test]
fn the_last_integers_are_all_minted() {
    for room in 0..300 {
        let backend = Backend::at(i64::MAX - room);
        let holder = Holder::on(&backend, 100, Lattice::new(1, 0).unwrap());
        let mut expected = i64::MAX - room;
        while let Ok(span) = holder.next(1) {
            expected += 1;
            assert_eq!(span.first(), expected);
        }
        assert_eq!(expected, i64::MAX, "with room for {room}");
        assert!(matches!(holder.next(1), Err(Error::Exhausted(_))));
        assert_eq!(holder.lease.skipped(), 0);
    }
}

#[test]
fn a_count_that_does_not_fit_takes_nothing() {
    let backend = Backend::at(i64::MAX - 100);
    let holder = Holder::of(&backend, 1000);
    let mut minted = 0;
    for count in [51, 10, 99_999, 1, 30, 51, 5, 4] {
        match holder.next(count) {
            Ok(span) => minted += span.count(),
            Err(error) => assert!(matches!(error, Error::Exhausted(_)), "{count}: {error}"),
        }
    }
    assert_eq!(minted, 10 + 1 + 30 + 5 + 4);
    assert!(matches!(holder.next(1), Err(Error::Exhausted(_))));
}

/// What happens to a sequence with several holders.
#[derive(Clone, Debug)]
enum Act {
    Next { holder: usize, count: u32 },
    Ahead { holder: usize },
    SetLast { holder: usize, ahead: i64 },
    Foreign { by: i64 },
    Down(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..3usize, prop_oneof![1..3u32, 1..300u32]).prop_map(|(holder, count)| Act::Next { holder, count }),
        1 => (0..3usize).prop_map(|holder| Act::Ahead { holder }),
        1 => (0..3usize, -50..50i64).prop_map(|(holder, ahead)| Act::SetLast { holder, ahead }),
        1 => (1..100i64).prop_map(|by| Act::Foreign { by }),
        1 => any::<bool>().prop_map(Act::Down),
    ]
}

proptest! {
    /// Several holders with different lattices, other clients, raises and failures: integers are
    /// unique, on the lattice and, for each holder, in order; and none is above the mark.
    #[test]
    fn integers_are_unique_and_each_holder_has_them_in_order(
        most in 1..200u32,
        lattices in prop::array::uniform3((1..6i64, 0..6i64)),
        acts in prop::collection::vec(act(), 1..200),
    ) {
        let backend = Backend::default();
        let holders = lattices.map(|(increment, offset)| {
            Holder::on(&backend, most, Lattice::new(increment, offset).unwrap())
        });
        let mut seen = std::collections::HashSet::new();
        let mut above = [0; 3];
        for act in acts {
            match act {
                Act::Next { holder, count } => {
                    let at = &holders[holder];
                    let Ok(span) = at.next(count) else {
                        prop_assert!(backend.down.get());
                        continue;
                    };
                    prop_assert_eq!(span.count(), count);
                    prop_assert!(at.lattice.holds(span));
                    prop_assert!(span.first() > above[holder]);
                    prop_assert!(span.last() <= backend.mark.get(), "C4");
                    above[holder] = span.last();
                    for integer in span.iter() {
                        prop_assert!(seen.insert(integer), "{} twice", integer);
                    }
                }
                Act::Ahead { holder } => drop(holders[holder].ahead()),
                Act::SetLast { holder, ahead } => {
                    let value = (backend.mark.get() + ahead).max(0);
                    if holders[holder].set_last(value).is_ok() {
                        above[holder] = value;
                    }
                }
                Act::Foreign { by } => backend.mark.set(backend.mark.get() + by),
                Act::Down(down) => backend.down.set(down),
            }
        }
    }
}
