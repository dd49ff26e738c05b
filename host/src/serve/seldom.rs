//! What is logged now and then, however often it happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two lines about the same.
const PAUSE: Duration = Duration::from_secs(5);

/// Decides which of many like events are worth a line: clients who keep coming to a server that
/// cannot serve them must not fill its disk.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Takes note of an event. Some when it is to be told, with how many were not told before it.
    pub(super) fn tell(&self) -> Option<u64> {
        self.tell_at(Instant::now())
    }

    fn tell_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < PAUSE)
        {
            state.untold = state.untold.saturating_add(1);
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_how_many_there_were() {
        let seldom = Seldom::default();
        let start = Instant::now();
        assert_eq!(seldom.tell_at(start), Some(0));
        assert_eq!(seldom.tell_at(start), None);
        assert_eq!(seldom.tell_at(start + PAUSE / 2), None);
        assert_eq!(seldom.tell_at(start + PAUSE), Some(2));
        assert_eq!(seldom.tell_at(start + PAUSE), None);
        assert_eq!(seldom.tell_at(start + PAUSE * 2), Some(1));
    }
}
