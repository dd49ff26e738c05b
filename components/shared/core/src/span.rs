//! The integers that one call mints.

/// `first`, `first + step`, …: `count` integers in all.
///
/// All of them are positive and fit in an `i64`; every constructor ensures that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: i64,
    step: i64,
    count: u32,
}

impl Span {
    /// The span with these fields; None when `first`, `step` or `count` is below 1, or when the
    /// last integer does not fit.
    pub fn checked(first: i64, step: i64, count: u32) -> Option<Self> {
        let length = i64::from(count.checked_sub(1)?).checked_mul(step)?;
        (first >= 1 && step >= 1 && first.checked_add(length).is_some()).then_some(Self {
            first,
            step,
            count,
        })
    }

    /// The smallest integer, 1 or more.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The distance between neighbours, 1 or more.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// How many integers there are, 1 or more.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The greatest integer.
    pub fn last(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// All integers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + use<> {
        let span = *self;
        (0..span.count).map(move |index| span.at(index))
    }

    /// The total number of decimal digits of all integers.
    ///
    /// The cost does not depend on `count`.
    pub fn digits(&self) -> u64 {
        let count = u64::from(self.count);
        let step = u64::try_from(self.step).unwrap_or(1).max(1);
        // Each integer has one digit, and one more for each power of ten that it reaches.
        let mut digits = count;
        let mut power = Some(10_i64);
        while let Some(bound) = power {
            let distance = u64::try_from(bound.saturating_sub(self.first)).unwrap_or(0);
            let below = distance.div_ceil(step);
            if below >= count {
                break;
            }
            digits += count - below;
            power = bound.checked_mul(10);
        }
        digits
    }

    /// Splits off the `count` smallest integers; the second part is None if nothing is left.
    ///
    /// The first part always has at least one integer: a `count` of 0 counts as 1.
    pub fn split(self, count: u32) -> (Self, Option<Self>) {
        let count = count.max(1);
        let rest = self
            .count
            .checked_sub(count)
            .filter(|rest| *rest > 0)
            .map(|rest| Self {
                first: self.at(count),
                step: self.step,
                count: rest,
            });
        let front = Self {
            count: count.min(self.count),
            ..self
        };
        (front, rest)
    }

    /// Both spans as one; None unless `next` begins where this one ends.
    pub(crate) fn join(self, next: Self) -> Option<Self> {
        let neighbours =
            self.step == next.step && self.last().checked_add(self.step) == Some(next.first);
        let count = self.count.checked_add(next.count)?;
        neighbours.then_some(Self { count, ..self })
    }

    fn at(&self, index: u32) -> i64 {
        self.first
            .wrapping_add(self.step.wrapping_mul(i64::from(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_have_bounds() {
        assert!(Span::checked(1, 1, 1).is_some());
        assert!(Span::checked(0, 1, 1).is_none());
        assert!(Span::checked(1, 0, 1).is_none());
        assert!(Span::checked(1, 1, 0).is_none());
        assert!(Span::checked(i64::MAX, 1, 1).is_some());
        assert!(Span::checked(i64::MAX, i64::MAX, 1).is_some());
        assert!(Span::checked(i64::MAX, 1, 2).is_none());
        assert!(Span::checked(1, i64::MAX, 3).is_none());
        assert!(Span::checked(i64::MIN, -1, 1).is_none());
    }

    #[test]
    fn the_integers_of_a_span() {
        let span = Span::checked(3, 5, 4).unwrap();
        assert_eq!(span.iter().collect::<Vec<_>>(), [3, 8, 13, 18]);
        assert_eq!(span.last(), 18);
        let top = Span::checked(i64::MAX - 2, 2, 2).unwrap();
        assert_eq!(top.iter().collect::<Vec<_>>(), [i64::MAX - 2, i64::MAX]);
    }

    #[test]
    fn splitting_loses_nothing() {
        let span = Span::checked(2, 2, 5).unwrap();
        for front in 1..=7 {
            let (a, b) = span.split(front);
            let all: Vec<_> = a.iter().chain(b.iter().flat_map(Span::iter)).collect();
            assert_eq!(all, [2, 4, 6, 8, 10], "split at {front}");
            assert_eq!(a.count, front.min(5));
        }
        assert_eq!(span.split(5).1, None);
        assert_eq!(span.split(0).0.count, 1);
    }

    #[test]
    fn neighbours_can_be_joined() {
        let span = |first, step, count| Span::checked(first, step, count).unwrap();
        let (a, b) = span(2, 2, 5).split(2);
        assert_eq!(a.join(b.unwrap()), Some(span(2, 2, 5)));
        for other in [span(6, 3, 2), span(8, 2, 2), span(4, 2, 2), span(2, 2, 2)] {
            assert_eq!(a.join(other), None, "{other:?}");
        }
        assert_eq!(span(i64::MAX, 2, 1).join(span(1, 2, 1)), None);
    }

    proptest! {
        #[test]
        fn digits_are_counted(
            magnitude in 0_u32..63,
            below in any::<i64>(),
            step_magnitude in 0_u32..63,
            step_below in any::<i64>(),
            count in 1_u32..2000,
        ) {
            // All magnitudes are as likely, which plain random integers are not.
            let near = |magnitude: u32, below: i64| {
                let power = 1_i64 << magnitude;
                power + below.rem_euclid(power)
            };
            let (first, step) = (near(magnitude, below), near(step_magnitude, step_below));
            let most = (i64::MAX - first) / step + 1;
            let count = count.min(u32::try_from(most).unwrap_or(u32::MAX));
            let span = Span::checked(first, step, count).unwrap();
            let naive: usize = span.iter().map(|integer| integer.to_string().len()).sum();
            prop_assert_eq!(span.digits(), naive as u64);
        }

        #[test]
        fn no_span_panics(first in any::<i64>(), step in any::<i64>(), count in any::<u32>()) {
            let span = Span { first, step, count };
            let _ = (span.digits(), span.last(), span.split(3));
        }
    }
}
