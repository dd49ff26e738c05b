//! The numbers of a publisher's events that are stored, so that what is sent again is stored once.

use crate::Error;
use crate::key::from_end;

/// How many ranges a publisher's numbers may have. Its batches arrive out of order only as far as it has several
/// connections.
const MAX_RANGES: usize = 1024;

/// A set of numbers, as ranges in order that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received(Vec<(u64, u64)>);

impl Received {
    /// Reads what [`Received::bytes`] wrote.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let ranges = bytes.chunks_exact(16);
        Self(
            ranges
                .map(|range| (from_end(range, 1), from_end(range, 0)))
                .collect(),
        )
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|(first, last)| [*first, *last]);
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, last)| *last >= number)
    }

    /// Whether it has one of the numbers from `first` to `last`.
    pub(crate) fn touches(&self, first: u64, last: u64) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= last);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, end)| *end >= first)
    }

    /// Adds the numbers from `first` to `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are too many ranges.
    pub(crate) fn add(&mut self, first: u64, last: u64) -> Result<(), Error> {
        // The ranges that touch or overlap the new one become one with it.
        let from = self
            .0
            .partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self
            .0
            .partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        let merged = self.0.get(from..to).unwrap_or_default();
        if merged.is_empty() && self.0.len() >= MAX_RANGES {
            return Err(Error::Invalid(format!(
                "the numbers of this publisher have more than {MAX_RANGES} gaps"
            )));
        }
        let begin = merged.first().map_or(first, |(begin, _)| first.min(*begin));
        let end = merged.last().map_or(last, |(_, end)| last.max(*end));
        self.0.splice(from..to, [(begin, end)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ranges in proptest::collection::vec((1_u64..200, 0_u64..20), 0..40)) {
            let (mut received, mut model) = (Received::default(), BTreeSet::new());
            for (first, more) in ranges {
                received.add(first, first + more).unwrap();
                model.extend(first..=first + more);
                prop_assert_eq!(&Received::read(&received.bytes()), &received);
                let apart = received.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
                prop_assert!(apart, "{:?}", received);
            }
            for number in 0..=221 {
                prop_assert_eq!(received.contains(number), model.contains(&number), "{}", number);
                let touched = model.range(number..=number + 3).next().is_some();
                prop_assert_eq!(received.touches(number, number + 3), touched, "{}", number);
            }
        }
    }

    #[test]
    fn a_publisher_cannot_fill_the_memory() {
        let mut received = Received::default();
        for number in 1..=MAX_RANGES as u64 {
            received.add(number * 2, number * 2).unwrap();
        }
        assert!(received.add(u64::MAX, u64::MAX).is_err());
        received.add(3, 3).unwrap();
        received.add(u64::MAX, u64::MAX).unwrap();
        assert!(received.contains(u64::MAX) && !received.contains(u64::MAX - 1));
    }
}
