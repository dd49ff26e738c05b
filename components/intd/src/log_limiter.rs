//! A rate limiter for log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The interval at which another line is allowed.
const PAUSE: Duration = Duration::from_secs(5);

/// A token bucket that limits log lines about similar events: clients that keep sending requests to a
/// server that cannot serve them must not fill its disk.
#[derive(Debug)]
pub struct LogLimiter {
    /// The size of the bucket: how many lines are allowed in a burst.
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many tokens of the bucket are used.
    allowed: u32,
    /// When the last token was refilled.
    since: Option<Instant>,
    suppressed: u64,
}

impl Default for LogLimiter {
    /// A limiter with a burst of one line.
    fn default() -> Self {
        Self::with_burst(1)
    }
}

impl LogLimiter {
    /// Allows a burst of this many lines, at least one, and then one line every five seconds.
    pub const fn with_burst(burst: u32) -> Self {
        Self {
            burst: if burst == 0 { 1 } else { burst },
            state: Mutex::new(State {
                allowed: 0,
                since: None,
                suppressed: 0,
            }),
        }
    }

    /// Records an event. Returns Some if it may be logged, with the number of events suppressed before it.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.allowed > 0
            && let Some(next) = state.since.and_then(|since| since.checked_add(PAUSE))
            && next <= now
        {
            state.allowed -= 1;
            state.since = Some(next);
        }
        if state.allowed == 0 {
            state.since = Some(now);
        }
        if state.allowed >= self.burst {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.allowed += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_how_many_there_were() {
        let log_limiter = LogLimiter::default();
        let start = Instant::now();
        assert_eq!(log_limiter.allow_at(start), Some(0));
        assert_eq!(log_limiter.allow_at(start), None);
        assert_eq!(log_limiter.allow_at(start + PAUSE / 2), None);
        assert_eq!(log_limiter.allow_at(start + PAUSE), Some(2));
        assert_eq!(log_limiter.allow_at(start + PAUSE), None);
        assert_eq!(log_limiter.allow_at(start + PAUSE * 2), Some(1));
    }

    #[test]
    fn several_may_be_told_at_once() {
        let log_limiter = LogLimiter::with_burst(3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(log_limiter.allow_at(start), Some(0));
        }
        assert_eq!(log_limiter.allow_at(start), None);
        assert_eq!(log_limiter.allow_at(start + PAUSE * 2), Some(1));
        assert_eq!(log_limiter.allow_at(start + PAUSE * 2), Some(0));
        assert_eq!(log_limiter.allow_at(start + PAUSE * 2), None);
        // However long no event comes, a burst is never larger.
        let later = start + PAUSE * 100;
        assert_eq!(log_limiter.allow_at(later), Some(1));
        assert_eq!(log_limiter.allow_at(later), Some(0));
        assert_eq!(log_limiter.allow_at(later), Some(0));
        assert_eq!(log_limiter.allow_at(later), None);
    }
}
