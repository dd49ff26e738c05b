//! Requests that can share one answer, in any number.

use super::wait_queue::{Answer, Leave, Reply, WaitQueue, Waiter};

/// Requests of one kind, all of which one call can serve.
///
/// At most one call is in flight. Requests that arrive meanwhile wait for the next one, which
/// serves all of them: a call that began before a request arrived must not answer it, because its
/// answer would miss what happened in between.
pub(super) struct Gathering<Q, A> {
    queue: WaitQueue<Q, A>,
    /// How many requests the call in flight serves, including cancelled ones. None when there is
    /// neither a call nor a driver that is about to make one.
    served: Option<usize>,
}

/// What a new request has to do.
pub(super) enum Entry<A> {
    /// Start a driver, and wait.
    First(u64, Answer<A>),
    /// Wait.
    Queued(u64, Answer<A>),
    /// Fail: too many requests wait.
    Full,
}

impl<Q, A> Default for Gathering<Q, A> {
    fn default() -> Self {
        Self {
            queue: WaitQueue::default(),
            served: None,
        }
    }
}

impl<Q, A> Gathering<Q, A> {
    /// Adds a request, unless `limit` requests wait or twice as many are not answered yet.
    pub(super) fn enter(&mut self, asked: Q, limit: usize) -> Entry<A> {
        let full = self.queue.waiting() >= limit || self.pending() >= limit.saturating_mul(2);
        if full && self.served.is_some() {
            return Entry::Full;
        }
        let (ticket, answer) = self.queue.push(asked);
        if self.served.is_some() {
            return Entry::Queued(ticket, answer);
        }
        self.served = Some(0);
        Entry::First(ticket, answer)
    }

    /// Takes all waiting requests, for a call that begins now. If there are none, the driver is done.
    pub(super) fn begin(&mut self) -> Vec<Waiter<Q, A>> {
        let batch = self.queue.take();
        self.served = Some(batch.len()).filter(|requests| *requests > 0);
        batch
    }

    /// Ends the call, successful or not.
    pub(super) fn end(&mut self) {
        self.served = Some(0);
    }

    /// Takes all requests after the driver was stopped.
    pub(super) fn give_up(&mut self) -> Vec<Waiter<Q, A>> {
        self.served = None;
        self.queue.take()
    }

    /// How many requests wait for a call or for its end.
    pub(super) fn pending(&self) -> usize {
        self.queue.waiting() + self.served.unwrap_or(0)
    }
}

impl<Q, A> Leave for Gathering<Q, A> {
    type Answer = A;

    fn abandon(&mut self, ticket: u64) -> Option<Reply<A>> {
        self.queue.abandon(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Subject = Gathering<u32, ()>;

    fn first(subject: &mut Subject, asked: u32) -> Answer<()> {
        match subject.enter(asked, 3) {
            Entry::First(_, answer) => answer,
            _ => panic!("nobody else is there"),
        }
    }

    fn queued(subject: &mut Subject, asked: u32) -> (u64, Answer<()>) {
        match subject.enter(asked, 3) {
            Entry::Queued(ticket, answer) => (ticket, answer),
            _ => panic!("somebody makes the calls, and there is room"),
        }
    }

    fn asked(batch: &[Waiter<u32, ()>]) -> Vec<u32> {
        batch.iter().map(|waiter| waiter.asked).collect()
    }

    #[test]
    fn those_who_come_during_a_call_share_the_next_one() {
        let mut subject = Subject::default();
        let _first = first(&mut subject, 1);
        assert_eq!(asked(&subject.begin()), [1]);
        let _others = [queued(&mut subject, 2), queued(&mut subject, 3)];
        assert_eq!(subject.pending(), 3);
        subject.end();
        assert_eq!(asked(&subject.begin()), [2, 3]);
        subject.end();
        assert!(subject.begin().is_empty());
        assert_eq!(subject.pending(), 0);
        let _next = first(&mut subject, 4);
    }

    #[test]
    fn those_in_flight_count_also_when_they_went_away() {
        let mut subject = Subject::default();
        let mut answers = vec![first(&mut subject, 0)];
        for request in 1..3 {
            answers.push(queued(&mut subject, request).1);
        }
        assert!(matches!(subject.enter(3, 3), Entry::Full), "three wait");
        subject.begin();
        drop(answers);
        let waiting: Vec<_> = (0..3).map(|n| queued(&mut subject, n)).collect();
        assert!(matches!(subject.enter(3, 3), Entry::Full));
        assert_eq!(subject.pending(), 6);
        // Cancelling a waiting request makes space in the queue.
        assert!(subject.abandon(waiting[0].0).is_some());
        let _next = queued(&mut subject, 3);
        assert!(matches!(subject.enter(4, 3), Entry::Full));
    }

    #[test]
    fn no_call_is_made_for_nobody() {
        let mut subject = Subject::default();
        let Entry::First(ticket, _) = subject.enter(1, 3) else {
            panic!("nobody else is there");
        };
        assert!(subject.abandon(ticket).is_some());
        assert!(subject.begin().is_empty());
        let _next = first(&mut subject, 2);
    }

    #[test]
    fn after_it_was_given_up_it_begins_anew() {
        let mut subject = Subject::default();
        let _first = first(&mut subject, 1);
        subject.begin();
        let _second = queued(&mut subject, 2);
        assert_eq!(asked(&subject.give_up()), [2]);
        assert_eq!(subject.pending(), 0);
        let _next = first(&mut subject, 3);
    }

    #[test]
    fn a_limit_of_zero_lets_one_in_at_a_time() {
        let mut subject = Subject::default();
        assert!(matches!(subject.enter(1, 0), Entry::First(..)));
        assert!(matches!(subject.enter(2, 0), Entry::Full));
        subject.begin();
        assert!(matches!(subject.enter(2, 0), Entry::Full));
    }
}
