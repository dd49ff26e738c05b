//! Checks of the integers that a run received.

use std::collections::BTreeMap;

/// The integers in one response: `first`, `first + step`, …, `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The smallest integer.
    pub first: i64,
    /// The greatest integer.
    pub last: i64,
    /// The difference between consecutive integers; 0 for a single integer.
    pub step: i64,
    /// The number of integers.
    pub count: u32,
}

/// All integers that a run received from one sequence, in order of arrival.
///
/// Responses with a single integer, the most frequent ones, take 8 bytes each.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    singles: Vec<i64>,
    spans: Vec<Span>,
}

/// The lattice of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lattice {
    /// The increment, 1 or more.
    pub increment: i64,
    /// The remainder of every integer modulo the increment.
    pub offset: i64,
}

impl Taken {
    /// Records a span.
    pub fn add(&mut self, span: Span) {
        match span.count {
            1 => self.singles.push(span.first),
            _ => self.spans.push(span),
        }
    }

    /// Records a single integer.
    pub fn add_one(&mut self, value: i64) {
        self.singles.push(value);
    }

    /// The number of recorded integers.
    pub fn count(&self) -> u64 {
        let spans: u64 = self.spans.iter().map(|span| u64::from(span.count)).sum();
        self.singles.len() as u64 + spans
    }

    /// Checks that all integers are distinct, on the lattice, and greater than `greatest`. Returns the
    /// greatest of them, or `greatest` when there are none.
    ///
    /// # Errors
    /// The first violation, with the integer.
    fn check(&self, lattice: Lattice, greatest: i64) -> Result<i64, String> {
        let mut all: Vec<(i64, i64)> = Vec::with_capacity(self.singles.len() + self.spans.len());
        all.extend(self.singles.iter().map(|value| (*value, *value)));
        for span in &self.spans {
            if span.count > 1 && span.step != lattice.increment {
                return Err(format!(
                    "{} is followed by {}, a step of {}, but the increment is {}",
                    span.first,
                    span.first.saturating_add(span.step),
                    span.step,
                    lattice.increment
                ));
            }
            all.push((span.first, span.last));
        }
        all.sort_unstable();
        let mut below = greatest;
        for (at, (first, last)) in all.into_iter().enumerate() {
            if first <= below {
                return Err(match at {
                    0 => format!("{first} was received after an earlier run had received {below}"),
                    _ => format!("{first} was handed out twice, or in a span up to {below}"),
                });
            }
            if first.rem_euclid(lattice.increment) != lattice.offset.rem_euclid(lattice.increment) {
                return Err(format!("{first} is not on the lattice {lattice:?}"));
            }
            below = last;
        }
        Ok(below)
    }
}

/// The greatest integer of every sequence in all runs so far.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<String, i64>);

impl Ledger {
    /// Checks and records a run. It must have started after all runs that were recorded before had ended.
    ///
    /// # Errors
    /// The first violation, with the integer. The run is not recorded then.
    pub fn note(&mut self, sequence: &str, lattice: Lattice, taken: &Taken) -> Result<(), String> {
        let greatest = self.0.entry(sequence.to_owned()).or_default();
        *greatest = taken.check(lattice, *greatest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: Lattice = Lattice {
        increment: 2,
        offset: 1,
    };

    fn taken(answers: &[(i64, u32)]) -> Taken {
        let mut taken = Taken::default();
        for (first, count) in answers {
            taken.add(Span {
                first: *first,
                last: first + 2 * (i64::from(*count) - 1),
                step: if *count == 1 { 0 } else { 2 },
                count: *count,
            });
        }
        taken
    }

    #[test]
    fn what_is_right_passes_in_any_order() {
        let mut ledger = Ledger::default();
        let first = taken(&[(11, 1), (3, 2), (1, 1), (13, 100), (7, 2)]);
        assert_eq!(first.count(), 106);
        assert_eq!(ledger.note("a", ODD, &first), Ok(()));
        assert_eq!(ledger.note("a", ODD, &taken(&[(213, 1)])), Ok(()));
        assert_eq!(ledger.note("b", ODD, &taken(&[(1, 1)])), Ok(()));
        assert_eq!(ledger.note("b", ODD, &taken(&[])), Ok(()));
    }

    #[test]
    fn a_planted_duplicate_is_found() {
        let mut answers: Vec<_> = (0..1000).map(|n| (1 + 2 * n, 1)).collect();
        assert_eq!(Ledger::default().note("a", ODD, &taken(&answers)), Ok(()));
        answers.push((777, 1));
        let wrong = Ledger::default().note("a", ODD, &taken(&answers));
        assert!(
            wrong.as_ref().is_err_and(|why| why.contains("777")),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_duplicate_within_spans_is_found() {
        for answers in [
            &[(1, 100), (199, 1)][..],
            &[(1, 100), (101, 100)],
            &[(1, 100), (51, 2)],
            &[(1, 100), (1, 100)],
        ] {
            let wrong = Ledger::default().note("a", ODD, &taken(answers));
            assert!(wrong.is_err(), "{answers:?}");
        }
        assert_eq!(
            Ledger::default().note("a", ODD, &taken(&[(1, 100), (201, 1)])),
            Ok(())
        );
    }

    #[test]
    fn an_integer_of_an_earlier_run_is_found() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.note("a", ODD, &taken(&[(1, 50)])), Ok(()));
        assert!(ledger.note("a", ODD, &taken(&[(101, 1), (99, 1)])).is_err());
    }

    #[test]
    fn what_is_off_the_lattice_is_found() {
        assert!(
            Ledger::default()
                .note("a", ODD, &taken(&[(1, 1), (4, 1)]))
                .is_err()
        );
        let mut wide = Taken::default();
        wide.add(Span {
            first: 1,
            last: 9,
            step: 4,
            count: 3,
        });
        assert!(Ledger::default().note("a", ODD, &wide).is_err());
    }
}
