//! Whether the client queues: it claims at one node first, the same one as the other clients.

use std::time::{Duration, Instant};

/// After this many operations in a row that met nobody, all nodes are asked at once again.
const CALM: u32 = 4;

/// After this many losses in one operation a claim leaves room above the mark: others reach the first node sooner,
/// every time.
const PATIENCE: u32 = 4;

/// The greatest jump of the mark that room is made for. It bounds how many integers are skipped, also if clients
/// with room provoke each other.
const JUMP: i64 = 1 << 8;

/// The place of a client among those that mint from the same sequence.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// For how many further operations the client queues if it meets nobody. 0 if it does not queue.
    left: u32,
    /// How many claims of the current operation were lost.
    losses: u32,
    /// How many of them do not show that others are there.
    excused: u32,
    /// How far others moved the mark during the last claim that was lost.
    jump: i64,
    /// When the current operation began.
    begun: Option<Instant>,
    /// When the last one succeeded, and how long it took.
    ended: Option<(Instant, Duration)>,
}

impl Queue {
    /// Whether the next claim goes to one node first.
    pub(crate) fn is_on(&self) -> bool {
        self.left > 0
    }

    /// Begins an operation.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.losses = 0;
        self.begun = Some(now);
        // Others may have come and gone since the last operation, but not if that was a moment ago.
        let recent = self.ended.is_some_and(|(ended, took)| now <= ended + took);
        self.excused = u32::from(!recent);
    }

    /// A claim of the operation was lost, during which the mark moved this far.
    pub(crate) fn lost(&mut self, jump: i64) {
        self.losses = self.losses.saturating_add(1);
        self.jump = jump.clamp(1, JUMP);
        if self.losses > self.excused {
            self.left = CALM;
        }
    }

    /// Others mint as well.
    pub(crate) fn met(&mut self) {
        self.left = CALM;
    }

    /// A claim of the operation was accepted.
    pub(crate) fn won(&mut self, now: Instant) {
        if self.losses <= self.excused {
            self.left = self.left.saturating_sub(1);
        }
        let begun = self.begun.unwrap_or(now);
        self.ended = Some((now, now.saturating_duration_since(begun)));
    }

    /// How many integers to skip above the mark: none, until others have been faster many times. Then so many that what
    /// they claim meanwhile is likely below. `chance` is a random number from 0 to 1, which differs between clients.
    pub(crate) fn room(&self, chance: f64) -> i64 {
        let Some(more) = self.losses.checked_sub(PATIENCE) else {
            return 0;
        };
        let most = 2_u32.saturating_pow(more.saturating_add(1).min(3));
        self.jump
            .saturating_mul(1 + (f64::from(most) * chance) as i64)
    }

    /// Leaves no more room in this operation: there are no integers left for it.
    pub(crate) fn no_room(&mut self) {
        self.losses = self.losses.min(PATIENCE - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A client, and the time.
    struct Client(Queue, Instant);

    impl Client {
        fn new() -> Self {
            Self(Queue::default(), Instant::now())
        }

        /// One operation with so many losses, each of which takes as long as a success, at once after the last one
        /// or later.
        fn operation(&mut self, losses: u32, recent: bool) {
            let Self(queue, now) = self;
            *now += if recent { Duration::ZERO } else { 1000 * MS };
            queue.begin(*now);
            for _ in 0..losses {
                *now += 10 * MS;
                queue.lost(2);
            }
            *now += 10 * MS;
            queue.won(*now);
        }
    }

    #[test]
    fn a_lone_client_never_queues() {
        let mut client = Client::new();
        for recent in [false, true, true, false] {
            client.operation(0, recent);
            assert!(!client.0.is_on());
        }
        // Its mark was old.
        for _ in 0..10 {
            client.operation(1, false);
            assert!(!client.0.is_on());
        }
    }

    #[test]
    fn whoever_meets_others_queues_until_they_are_gone() {
        let mut client = Client::new();
        client.operation(2, false);
        assert!(client.0.is_on());
        for _ in 0..10 {
            client.operation(7, true);
            assert!(client.0.is_on());
        }
        for _ in 1..CALM {
            client.operation(0, true);
            assert!(client.0.is_on());
        }
        client.0.met();
        for _ in 1..CALM {
            client.operation(0, true);
            assert!(client.0.is_on());
        }
        client.operation(1, true);
        for _ in 1..CALM {
            client.operation(1, false);
            assert!(client.0.is_on());
        }
        client.operation(0, true);
        assert!(!client.0.is_on());
        // One loss suffices if the mark was heard a moment ago.
        client.operation(1, true);
        assert!(client.0.is_on());
    }

    #[test]
    fn room_is_made_late_and_has_bounds() {
        let mut queue = Queue::default();
        queue.begin(Instant::now());
        for _ in 1..PATIENCE {
            queue.lost(i64::MAX);
            assert_eq!(queue.room(1.0), 0);
        }
        queue.lost(2);
        assert_eq!((queue.room(0.0), queue.room(0.99)), (2, 4));
        for _ in 0..100 {
            queue.lost(i64::MAX);
        }
        assert_eq!(queue.room(1.0), 9 * JUMP);
        queue.no_room();
        assert_eq!(queue.room(1.0), 0);
        assert!(queue.is_on());
        queue.lost(0);
        assert_eq!(queue.room(0.0), 1);
    }
}
