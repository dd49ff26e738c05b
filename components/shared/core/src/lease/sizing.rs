//! How many integers the next span should have.

use std::time::Duration;

/// A span that lasted for less than this was too small.
const SHORT: Duration = Duration::from_secs(1);

/// A span that lasted for longer than this was too large.
const LONG: Duration = Duration::from_secs(60);

/// The size of the next span: it doubles after a span that lasted for less than a second, and halves
/// after one that lasted for more than a minute.
///
/// It begins at 1, so that a holder that mints a few integers and ends leaves no gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    size: u32,
    most: u32,
}

impl Sizing {
    /// Sizes from 1 to `most`.
    pub(super) fn up_to(most: u32) -> Self {
        Self {
            size: 1,
            most: most.max(1),
        }
    }

    /// The size of the next span. `lasted` is the time since the previous one was fetched; None for the
    /// first one.
    pub(super) fn next(&mut self, lasted: Option<Duration>) -> u32 {
        self.size = match lasted {
            Some(lasted) if lasted < SHORT => self.size.saturating_mul(2).min(self.most),
            Some(lasted) if lasted > LONG => (self.size / 2).max(1),
            _ => self.size,
        };
        self.size
    }

    /// Reduces the size to one that the backend still had room for.
    pub(super) fn fall_to(&mut self, size: u32) {
        self.size = self.size.min(size).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAST: Option<Duration> = Some(Duration::from_millis(999));
    const STEADY: Option<Duration> = Some(Duration::from_secs(30));
    const SLOW: Option<Duration> = Some(Duration::from_millis(60_001));

    #[test]
    fn the_size_follows_the_demand() {
        let mut sizing = Sizing::up_to(1000);
        let asked = [
            None, FAST, FAST, STEADY, SLOW, SLOW, SLOW, FAST, FAST, FAST, FAST, FAST, FAST, FAST,
            FAST, FAST, FAST, FAST,
        ];
        let sizes: Vec<_> = asked.map(|lasted| sizing.next(lasted)).into();
        assert_eq!(
            sizes,
            [
                1, 2, 4, 4, 2, 1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000
            ]
        );
    }

    #[test]
    fn both_limits_belong_to_the_middle() {
        let mut sizing = Sizing { size: 8, most: 64 };
        assert_eq!(sizing.next(Some(SHORT)), 8);
        assert_eq!(sizing.next(Some(LONG)), 8);
        sizing.fall_to(3);
        assert_eq!(sizing.next(STEADY), 3);
        sizing.fall_to(0);
        assert_eq!(sizing.next(STEADY), 1);
    }

    proptest! {
        #[test]
        fn no_size_is_out_of_bounds(most: u32, times in prop::collection::vec(0..200u64, 0..80)) {
            let mut sizing = Sizing::up_to(most);
            for seconds in times {
                let size = sizing.next(Some(Duration::from_secs(seconds)));
                prop_assert!((1..=most.max(1)).contains(&size));
            }
        }
    }
}
