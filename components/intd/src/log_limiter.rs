//! What is logged now and then, however often it happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time after which another line may be allowed.
const PAUSE: Duration = Duration::from_secs(5);

/// Decides which of many like events are worth a line: clients who keep coming to a server that
/// cannot serve them must not fill its disk.
#[derive(Debug)]
pub struct LogLimiter {
    /// How many lines may be allowed at once.
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many lines of the burst are used up.
    allowed: u32,
    /// When one of them was last given back.
    since: Option<Instant>,
    suppressed: u64,
}

impl Default for LogLimiter {
    /// One line at a time.
    fn default() -> Self {
        Self::with_burst(1)
    }
}

impl LogLimiter {
    /// So many lines at once, at least one, and then another every five seconds.
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

    /// Takes note of an event. Some when it is to be allowed, with how many were not allowed before it.
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
        // However long nothing happens, there is one burst.
        let later = start + PAUSE * 100;
        assert_eq!(log_limiter.allow_at(later), Some(1));
        assert_eq!(log_limiter.allow_at(later), Some(0));
        assert_eq!(log_limiter.allow_at(later), Some(0));
        assert_eq!(log_limiter.allow_at(later), None);
    }
}
