//! Retries with backoff until a deadline, independent of how an engine picks the next node.

use crate::Error;
use crate::deadline::Deadline;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// One operation that is retried until it succeeds, fails for good, or reaches its deadline.
///
/// The engine picks the node for each attempt and decides whether a failed attempt needs a pause.
pub struct Retry {
    what: &'static str,
    timeout: Duration,
    deadline: Deadline,
    pause: Duration,
    longest: Duration,
    why: Option<String>,
}

impl Retry {
    /// An operation that begins now. `what` names the backend in error messages, such as "Redis".
    pub fn within(timeout: Duration, what: &'static str) -> Self {
        Self {
            what,
            timeout,
            deadline: Deadline::after(timeout),
            pause: Duration::from_millis(10),
            longest: Duration::from_millis(200),
            why: None,
        }
    }

    /// Sets the backoff: the first pause, which doubles with each attempt, and its maximum.
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.pause, self.longest) = (first, longest);
        self
    }

    /// The point in time by which the operation must be done.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The remaining time; zero once the deadline has passed.
    pub fn left(&self) -> Duration {
        self.deadline.left().unwrap_or_default()
    }

    /// Whether an attempt that begins now still has at least a quarter of the timeout. An attempt just
    /// before the deadline fails for lack of time, which says nothing about the backend.
    pub fn in_time(&self) -> bool {
        self.left() >= self.timeout / 4
    }

    /// Records why an attempt failed.
    pub fn failed(&mut self, why: impl Into<String>) {
        self.why = Some(why.into());
    }

    /// Records why an attempt failed, unless an earlier reason is recorded.
    pub fn failed_first(&mut self, why: impl Into<String>) {
        self.why.get_or_insert_with(|| why.into());
    }

    /// Records why an attempt failed and permits the next one, after a pause unless it may begin at once.
    /// What an attempt says that did not begin [in time](Self::in_time) is only recorded if nothing else is.
    ///
    /// # Errors
    /// `unavailable` once the deadline has passed.
    pub fn again(&mut self, why: String, in_time: bool, at_once: bool) -> Result<(), Error> {
        if in_time {
            self.failed(why);
        } else {
            self.failed_first(why);
        }
        if at_once { self.check() } else { self.pause() }
    }

    /// Whether any attempt failed.
    pub fn has_failed(&self) -> bool {
        self.why.is_some()
    }

    /// Sets all further pauses to the maximum.
    pub fn slow_down(&mut self) {
        self.pause = self.longest;
    }

    /// The pause before the next attempt: a random time from half of the current backoff to all of it,
    /// so that clients that failed together do not retry together, and at most the remaining time.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        (pause / 2 + (pause / 2).mul_f64(chance())).min(self.left())
    }

    /// Sleeps before the next attempt. Blocks the instance.
    ///
    /// # Errors
    /// `unavailable` once the deadline has passed.
    pub fn pause(&mut self) -> Result<(), Error> {
        std::thread::sleep(self.next_pause());
        self.check()
    }

    /// Permits the next attempt without a pause.
    ///
    /// # Errors
    /// `unavailable` once the deadline has passed.
    pub fn check(&self) -> Result<(), Error> {
        match self.deadline.left() {
            Some(_) => Ok(()),
            None => Err(self.late()),
        }
    }

    /// The error for an operation that reached its deadline.
    pub fn late(&self) -> Error {
        let Self {
            what, timeout, why, ..
        } = self;
        Error::Unavailable(match why.as_deref() {
            None | Some("") => format!("{what} did not answer within {timeout:?}"),
            Some(why) => format!("{what} did not answer within {timeout:?}: {why}"),
        })
    }
}

/// A random number from 0 to 1. It only has to differ between clients that wait for each other.
pub fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    // The upper 53 bits, which an `f64` holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_with_the_time() {
        let ms = Duration::from_millis;
        let mut retry = Retry::within(ms(60_000), "Redis").with_pauses(ms(10), ms(40));
        for due in [10, 20, 40, 40] {
            let pause = retry.next_pause();
            assert!(
                (ms(due / 2)..=ms(due)).contains(&pause),
                "{pause:?} of {due}"
            );
        }
        retry.slow_down();
        assert!(retry.next_pause() >= ms(20));
        let mut over = Retry::within(Duration::ZERO, "Redis");
        assert_eq!(over.next_pause(), Duration::ZERO);
        assert!(over.check().is_err());
    }

    #[test]
    fn whoever_is_late_says_why() {
        let mut retry = Retry::within(Duration::from_secs(2), "Redis");
        let text = |retry: &Retry| match retry.late() {
            Error::Unavailable(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(&retry), "Redis did not answer within 2s");
        retry.failed_first("cannot connect to a:1");
        retry.failed_first("no time was left");
        assert_eq!(
            text(&retry),
            "Redis did not answer within 2s: cannot connect to a:1"
        );
    }
}
