//! The arithmetic behind spans.
//!
//! An engine that advanced the mark by `count × increment` to the new mark `m` owns the half-open
//! interval `(m − count × increment, m]`. That interval holds exactly `count` integers congruent to
//! the offset, wherever it starts. Intervals of different calls are disjoint, so spans are too,
//! whatever lattices the callers use.

use crate::{Error, Span};

/// The integers that a sequence mints: those congruent to `offset` modulo `increment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lattice {
    increment: i64,
    /// Reduced: 0 ≤ offset < increment.
    offset: i64,
}

impl Lattice {
    /// The default increment.
    pub const INCREMENT: i64 = 2;

    /// A lattice with this increment and offset. The offset is reduced modulo the increment.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `increment` is below 1 or `offset` below 0.
    pub fn new(increment: i64, offset: i64) -> Result<Self, Error> {
        if increment < 1 {
            return Err(Error::Invalid(format!(
                "the increment is {increment}; it must be 1 or more"
            )));
        }
        if offset < 0 {
            return Err(Error::Invalid(format!(
                "the offset is {offset}; it must be 0 or more"
            )));
        }
        Ok(Self {
            increment,
            offset: offset % increment,
        })
    }

    /// The difference between neighbouring integers, 1 or more.
    pub fn increment(self) -> i64 {
        self.increment
    }

    /// The residue class: at least 0 and less than the increment.
    pub fn offset(self) -> i64 {
        self.offset
    }

    /// By how much the mark must advance to mint `count` integers; None if that exceeds `s64`.
    pub fn stride(self, count: u32) -> Option<i64> {
        self.increment.checked_mul(i64::from(count))
    }

    /// The `count` lattice points of `(mark − stride(count), mark]`.
    ///
    /// None if some of them are not positive, as happens after a negative mark was stored by hand, or
    /// if the interval exceeds `s64`: such a span must not be handed out.
    pub fn span(self, mark: i64, count: u32) -> Option<Span> {
        let below = mark.checked_sub(self.stride(count)?)?;
        // The smallest integer above `below` in the residue class. The distance is 1 ..= increment.
        let distance = match (i128::from(self.offset) - i128::from(below))
            .rem_euclid(i128::from(self.increment))
        {
            0 => self.increment,
            rest => i64::try_from(rest).ok()?,
        };
        let first = below.checked_add(distance)?;
        Span::checked(first, self.increment, count)
    }

    /// Whether all integers of the span are in this lattice, with or without others between them.
    pub fn covers(self, span: Span) -> bool {
        span.step() % self.increment == 0 && span.first() % self.increment == self.offset
    }

    /// Whether the span consists of consecutive integers of this lattice.
    pub fn holds(self, span: Span) -> bool {
        span.step() == self.increment && span.first() % self.increment == self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(span: &Span) -> Vec<i64> {
        (0..i64::from(span.count()))
            .map(|i| span.first() + i * span.step())
            .collect()
    }

    #[test]
    fn a_fresh_sequence_counts_as_the_documentation_says() {
        let even = Lattice::new(2, 0).unwrap();
        let odd = Lattice::new(2, 1).unwrap();
        assert_eq!(points(&even.span(2, 1).unwrap()), [2]);
        assert_eq!(points(&even.span(8, 3).unwrap()), [4, 6, 8]);
        assert_eq!(points(&odd.span(2, 1).unwrap()), [1]);
        assert_eq!(points(&odd.span(6, 2).unwrap()), [3, 5]);
        // After the mark was set to 7, which is off the even lattice.
        assert_eq!(points(&even.span(9, 1).unwrap()), [8]);
    }

    #[test]
    fn offsets_are_residues_not_factors() {
        assert_eq!(Lattice::new(2, 7), Lattice::new(2, 1));
        assert_eq!(Lattice::new(1, 1), Lattice::new(1, 0));
        assert!(Lattice::new(0, 0).is_err());
        assert!(Lattice::new(-2, 0).is_err());
        assert!(Lattice::new(2, -1).is_err());
    }

    #[test]
    fn a_span_may_leave_out_integers_between() {
        let lattice = Lattice::new(3, 1).unwrap();
        for (first, step, covers, holds) in [
            (4, 3, true, true),
            (4, 6, true, false),
            (4, 2, false, false),
            (5, 3, false, false),
            (5, 6, false, false),
        ] {
            let span = Span::checked(first, step, 4).unwrap();
            let found = (lattice.covers(span), lattice.holds(span));
            assert_eq!(found, (covers, holds), "{span:?}");
        }
    }

    #[test]
    fn nothing_at_or_below_zero_is_minted() {
        let even = Lattice::new(2, 0).unwrap();
        assert_eq!(even.span(-98, 1), None);
        assert_eq!(even.span(1, 1), None, "(-1, 1] holds 0");
        assert_eq!(
            Lattice::new(2, 1).unwrap().span(1, 1).map(|s| s.first()),
            Some(1)
        );
    }

    #[test]
    fn the_top_of_the_range_is_reached_and_not_passed() {
        let every = Lattice::new(1, 0).unwrap();
        assert_eq!(
            points(&every.span(i64::MAX, 2).unwrap()),
            [i64::MAX - 1, i64::MAX]
        );
        assert_eq!(Lattice::new(i64::MAX, 0).unwrap().stride(2), None);
        assert_eq!(
            Lattice::new(i64::MAX, 5)
                .unwrap()
                .span(i64::MAX, 1)
                .unwrap()
                .first(),
            5
        );
    }

    proptest! {
        /// Exactly `count` integers, all in the interval, all on the lattice: hence disjoint
        /// from those of every other interval.
        #[test]
        fn a_span_is_the_lattice_points_of_its_interval(
            increment in 1i64..=1 << 40,
            offset in 0i64..=i64::MAX,
            count in 1u32..=1000,
            below in 0i64..=i64::MAX - (1000 << 40),
        ) {
            let lattice = Lattice::new(increment, offset).unwrap();
            let mark = below + lattice.stride(count).unwrap();
            let span = lattice.span(mark, count).unwrap();
            let points = points(&span);
            prop_assert_eq!(points.len(), count as usize);
            for p in &points {
                prop_assert!(*p > below && *p <= mark);
                prop_assert_eq!(p.rem_euclid(increment), offset.rem_euclid(increment));
            }
            // No lattice point of the interval is left out.
            prop_assert!(span.first() - increment <= below);
            prop_assert!(points.last().unwrap().checked_add(increment).is_none_or(|p| p > mark));
        }

        /// Clients with different lattices that advance one mark in turn never share an integer.
        #[test]
        fn clients_with_different_lattices_never_collide(
            start in 0i64..1000,
            calls in proptest::collection::vec((1i64..50, 0i64..100, 1u32..20), 1..40),
        ) {
            let mut mark = start;
            let mut seen = std::collections::HashSet::new();
            let mut greatest = start;
            for (increment, offset, count) in calls {
                let lattice = Lattice::new(increment, offset).unwrap();
                mark += lattice.stride(count).unwrap();
                for p in lattice.span(mark, count).iter().flat_map(points) {
                    prop_assert!(p > greatest, "{p} after {greatest}");
                    prop_assert!(seen.insert(p));
                    greatest = p;
                }
                prop_assert!(greatest <= mark);
            }
        }

        #[test]
        fn no_input_panics(increment in 1i64.., offset in 0i64.., mark: i64, count: u32) {
            let lattice = Lattice::new(increment, offset).unwrap();
            if let Some(span) = lattice.span(mark, count) {
                let last = i128::from(span.first()) + i128::from(span.step()) * i128::from(span.count() - 1);
                prop_assert!(span.first() >= 1 && last <= i128::from(mark));
            }
        }
    }
}
