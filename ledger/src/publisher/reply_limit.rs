//! How long a worker waits for the answer to a batch.

use std::time::Duration;

/// The shortest limit. A connection that became silent, for instance because the ledger's machine has gone, is given up
/// after it, so that mints that wait 5 s for an acknowledgement still get one.
const SHORTEST: Duration = Duration::from_secs(2);

/// The longest limit, of a ledger whose disk is very slow.
const LONGEST: Duration = Duration::from_secs(30);

/// The limit for the next answer. It doubles when an answer is late, since sending a batch again is more work for a ledger
/// that is slow; and it halves when answers take less than a quarter of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyLimit(Duration);

impl ReplyLimit {
    pub(super) fn get(self) -> Duration {
        self.0
    }

    /// Notes that there was no answer within the limit.
    pub(super) fn note_late(&mut self) {
        self.0 = (self.0 * 2).min(LONGEST);
    }

    /// Notes how long an answer took.
    pub(super) fn note_answer(&mut self, took: Duration) {
        if took < self.0 / 4 {
            self.0 = (self.0 / 2).max(SHORTEST);
        }
    }
}

impl Default for ReplyLimit {
    fn default() -> Self {
        Self(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_ledger_gets_more_time_until_it_is_fast_again() {
        let mut limit = ReplyLimit::default();
        for late in [2, 4, 8, 16, 30, 30] {
            assert_eq!(limit.get(), Duration::from_secs(late));
            limit.note_late();
        }
        // As slow as that: the limit stays.
        limit.note_answer(Duration::from_secs(10));
        assert_eq!(limit.get(), Duration::from_secs(30));
        for fast in [30_000, 15_000, 7_500, 3_750, 2_000, 2_000] {
            assert_eq!(limit.get(), Duration::from_millis(fast));
            limit.note_answer(Duration::from_millis(1));
        }
    }
}
