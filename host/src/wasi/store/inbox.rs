//! The changes that wait for the writer thread.

use crate::runtime::Credit;
use std::thread::yield_now;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// Receives changes. Polls for a short time before the thread sleeps, while that mostly pays off: waking a thread may
/// take a quarter of the time of a commit, above all on virtual machines.
pub(super) struct Inbox<T> {
    changes: Receiver<T>,
    /// How long to poll.
    time: Duration,
    /// Without credit there is no polling. A wait that polling ends, or would have ended, earns some.
    credit: Credit,
}

impl<T> Inbox<T> {
    pub(super) fn new(changes: Receiver<T>, time: Duration) -> Self {
        Self {
            changes,
            time,
            credit: Credit::NONE,
        }
    }

    /// Waits for a change, and returns it with others that wait as well, `most` at most. None once there can be no
    /// other one.
    pub(super) fn next(&mut self, most: usize) -> Option<Vec<T>> {
        let mut batch = vec![self.first()?];
        while batch.len() < most
            && let Ok(next) = self.changes.try_recv()
        {
            batch.push(next);
        }
        Some(batch)
    }

    fn first(&mut self) -> Option<T> {
        let begun = Instant::now();
        let polls = self.credit.is_left();
        let polled = if polls { self.poll(begun) } else { None };
        let change = match polled {
            Some(change) => change,
            None => self.changes.blocking_recv()?,
        };
        self.learn(polls, begun.elapsed());
        Some(change)
    }

    fn poll(&mut self, begun: Instant) -> Option<T> {
        while begun.elapsed() < self.time {
            match self.changes.try_recv() {
                Ok(change) => return Some(change),
                // Lets other threads run, if they want this processor.
                Err(TryRecvError::Empty) => yield_now(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        None
    }

    /// Learns from how long a wait was whether polling pays off.
    fn learn(&mut self, polled: bool, waited: Duration) {
        // Half of a wait asleep may have been the time to wake up.
        let in_time = if polled { self.time } else { self.time * 2 };
        if waited < in_time {
            self.credit.earn();
        } else {
            self.credit.lose();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::channel;

    #[test]
    fn what_waits_comes_in_order_and_in_bounded_batches() {
        for time in [Duration::ZERO, Duration::from_secs(60)] {
            let (send, receive) = channel(8);
            let mut inbox = Inbox::new(receive, time);
            for change in 0..5 {
                send.try_send(change).unwrap();
            }
            assert_eq!(inbox.next(3), Some(vec![0, 1, 2]));
            assert_eq!(inbox.next(3), Some(vec![3, 4]));
            drop(send);
            assert_eq!(inbox.next(3), None);
        }
    }

    #[test]
    fn it_polls_while_that_pays_off() {
        let time = Duration::from_micros(100);
        let mut inbox = Inbox::<()>::new(channel(1).1, time);
        // Nothing came soon enough.
        inbox.learn(false, time * 2);
        assert!(!inbox.credit.is_left());
        // This would have come while it polled.
        inbox.learn(false, time * 3 / 2);
        assert!(inbox.credit.is_left());
        for _ in 0..2 * Credit::MOST {
            inbox.learn(true, time / 2);
        }
        assert_eq!(inbox.credit, Credit::FULL);
        for _ in 0..Credit::MOST / Credit::LOSS {
            assert!(inbox.credit.is_left());
            inbox.learn(true, time);
        }
        assert!(!inbox.credit.is_left());
    }

    #[test]
    fn without_a_time_it_never_polls() {
        let (send, receive) = channel(1);
        let mut inbox = Inbox::new(receive, Duration::ZERO);
        for change in 0..10 {
            send.try_send(change).unwrap();
            assert_eq!(inbox.next(1), Some(vec![change]));
            assert!(!inbox.credit.is_left());
        }
    }
}
