//! How long a node usually takes, and whether it is asked before the others.

use std::time::{Duration, Instant};

/// How many usual round trips a node may take that is asked before the others.
const TRIPS: u32 = 4;

/// What is added to them: a busy machine is no slow node.
const SLACK: Duration = Duration::from_millis(20);

/// The shortest time after which a node is late. A timer for less would have to be made for each mint of a fast group.
const SHORTEST_HEDGE: Duration = Duration::from_millis(5);

/// For how many times the wait for it a node that was late is not asked before the others. So a node that is gone
/// costs a few percent of the time.
const AVOIDED: u32 = 32;

/// What a client knows of the pace of one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// The smoothed round trip; None before the first one.
    trip: Option<Duration>,
    /// Until when the node is not asked before the others.
    avoided: Option<Instant>,
}

impl Pace {
    /// The node answered after this time.
    pub(crate) fn answered(&mut self, took: Duration) {
        let trip = self.trip.unwrap_or(took);
        self.trip = Some((trip * 7 + took) / 8);
        if took <= patience(trip) {
            self.avoided = None;
        }
    }

    /// The node was asked before the others, and they were asked without its answer.
    pub(crate) fn missed(&mut self, now: Instant) {
        self.avoided = Some(now + self.longest() * AVOIDED);
    }

    /// The usual round trip; None before the first answer.
    pub(crate) fn trip(&self) -> Option<Duration> {
        self.trip
    }

    /// After which time the node is late enough to ask another one as well; None before its first answer.
    pub(crate) fn hedge(&self) -> Option<Duration> {
        self.trip.map(|trip| (trip * 2).max(SHORTEST_HEDGE))
    }

    /// The longest time that an answer of the node mostly takes.
    pub(crate) fn longest(&self) -> Duration {
        patience(self.trip.unwrap_or_default())
    }

    /// How long to wait for the node before the others are asked; None to ask another one first.
    pub(crate) fn patience(&self, now: Instant) -> Option<Duration> {
        let trip = self.trip?;
        if self.avoided.is_some_and(|until| now < until) {
            return None;
        }
        Some(patience(trip))
    }
}

/// How long to wait for something that usually takes this long.
pub(crate) fn patience(trip: Duration) -> Duration {
    trip * TRIPS + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn patience_follows_the_usual_round_trip() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.patience(now), None, "nothing is known of it");
        assert_eq!((pace.hedge(), pace.longest()), (None, 20 * MS));
        pace.answered(MS / 5);
        assert_eq!(pace.hedge(), Some(5 * MS), "no timer for each mint");
        let mut pace = Pace::default();
        pace.answered(100 * MS);
        assert_eq!((pace.hedge(), pace.longest()), (Some(200 * MS), 420 * MS));
        assert_eq!(pace.patience(now), Some(420 * MS));
        for _ in 0..100 {
            pace.answered(10 * MS);
        }
        let patience = pace.patience(now).expect("it answers");
        assert!((60 * MS..61 * MS).contains(&patience), "{patience:?}");
    }

    #[test]
    fn a_node_that_is_late_is_avoided_for_a_time_or_until_it_answers() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.answered(10 * MS);
        pace.missed(now);
        assert_eq!(pace.patience(now), None);
        assert_eq!(pace.patience(now + 32 * 60 * MS - MS), None);
        assert_eq!(pace.patience(now + 32 * 60 * MS), Some(60 * MS));
        // As late as before.
        pace.answered(80 * MS);
        assert_eq!(pace.patience(now), None);
        pace.answered(20 * MS);
        assert!(pace.patience(now).is_some());
    }
}
