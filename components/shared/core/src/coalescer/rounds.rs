//! Calls whose answer several requests share, one call after the other.

use super::gathering::Gathering;
use super::wait_queue::{Reply, Waiter};
use super::{Shared, Upstream, driver, lock};
use crate::Error;
use std::sync::{Arc, Mutex};

/// A kind of request that shares calls: its argument and its answer.
pub(super) trait Kind: Sized + 'static {
    type Asked: Copy;
    type Answer: Copy + Send + 'static;

    /// The requests of this kind.
    fn gathering<S>(shared: &Shared<S>) -> &Mutex<Gathering<Self::Asked, Self::Answer>>;

    /// The call that serves a batch of them.
    fn call<S: Upstream>(upstream: &S, batch: &[WaiterOf<Self>]) -> S::Call<Self::Answer>;

    /// Removes from the batch the requests that this call served, with the answer for each. Another
    /// call is made for the rest; each call leaves fewer.
    fn answers(
        batch: &mut Vec<WaiterOf<Self>>,
        given: Result<Self::Answer, Error>,
    ) -> Vec<Answered<Self::Answer>>;
}

type WaiterOf<K> = Waiter<<K as Kind>::Asked, <K as Kind>::Answer>;
type Answered<A> = (Reply<A>, Result<A, Error>);

/// Requests for the greatest integer taken so far. All get the same answer.
pub(super) struct Reads;

impl Kind for Reads {
    type Asked = ();
    type Answer = Option<i64>;

    fn gathering<S>(shared: &Shared<S>) -> &Mutex<Gathering<(), Option<i64>>> {
        &shared.reads
    }

    fn call<S: Upstream>(upstream: &S, _: &[WaiterOf<Self>]) -> S::Call<Option<i64>> {
        upstream.last()
    }

    fn answers(
        batch: &mut Vec<WaiterOf<Self>>,
        given: Result<Option<i64>, Error>,
    ) -> Vec<Answered<Option<i64>>> {
        let all = batch.drain(..);
        all.map(|waiter| (waiter.reply, given.clone())).collect()
    }
}

/// Requests to raise the sequence. Only the greatest value is passed on; the others get the error
/// that they would get if that one had come first: the sequence is past their value.
pub(super) struct Raises;

impl Kind for Raises {
    type Asked = i64;
    type Answer = ();

    fn gathering<S>(shared: &Shared<S>) -> &Mutex<Gathering<i64, ()>> {
        &shared.raises
    }

    fn call<S: Upstream>(upstream: &S, batch: &[WaiterOf<Self>]) -> S::Call<()> {
        upstream.set_last(greatest(batch))
    }

    fn answers(batch: &mut Vec<WaiterOf<Self>>, given: Result<(), Error>) -> Vec<Answered<()>> {
        let greatest = greatest(batch);
        // An error about this value does not apply to smaller ones.
        let for_all = !matches!(given, Err(Error::Invalid(_) | Error::Exhausted(_)));
        let (served, left): (Vec<_>, _) = std::mem::take(batch)
            .into_iter()
            .partition(|waiter| for_all || waiter.asked == greatest);
        *batch = left;
        let answer = |waiter: WaiterOf<Self>| match given {
            Ok(()) if waiter.asked < greatest => (waiter.reply, Err(Error::TooSmall(greatest))),
            _ => (waiter.reply, given.clone()),
        };
        served.into_iter().map(answer).collect()
    }
}

fn greatest(batch: &[WaiterOf<Raises>]) -> i64 {
    batch.iter().map(|waiter| waiter.asked).max().unwrap_or(0)
}

/// Serves the requests of one kind, batch after batch, until none waits.
pub(super) struct Rounds<S: Upstream, K: Kind> {
    shared: Arc<Shared<S>>,
    batch: Vec<WaiterOf<K>>,
    done: bool,
}

impl<S: Upstream, K: Kind> Rounds<S, K> {
    pub(super) fn new(shared: Arc<Shared<S>>) -> Self {
        Self {
            shared,
            batch: Vec::new(),
            done: false,
        }
    }

    pub(super) fn upstream(&self) -> &S {
        &self.shared.upstream
    }

    pub(super) async fn run(mut self) {
        loop {
            self.batch = lock(K::gathering(&self.shared)).begin();
            if self.batch.is_empty() {
                self.done = true;
                return;
            }
            while !self.batch.is_empty() {
                let call = K::call(&self.shared.upstream, &self.batch);
                let answers = K::answers(&mut self.batch, call.await);
                if self.batch.is_empty() {
                    // Before the answers are sent: an answered request is not pending any longer.
                    lock(K::gathering(&self.shared)).end();
                }
                for (reply, answer) in answers {
                    // The receiver may be dropped.
                    let _ = reply.send(answer);
                }
            }
        }
    }
}

impl<S: Upstream, K: Kind> Drop for Rounds<S, K> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let queued = lock(K::gathering(&self.shared)).give_up();
        for waiter in self.batch.drain(..).chain(queued) {
            let _ = waiter.reply.send(Err(driver::stopped()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coalescer::wait_queue::WaitQueue;

    /// The answers to requests for these values, and the values that are left for another call.
    fn answered(
        values: &[i64],
        given: Result<(), Error>,
    ) -> (Vec<Option<Result<(), Error>>>, Vec<i64>) {
        let mut queue = WaitQueue::default();
        let answers: Vec<_> = values.iter().map(|value| queue.push(*value).1).collect();
        let mut batch = queue.take();
        for (reply, answer) in Raises::answers(&mut batch, given) {
            reply.send(answer).expect("somebody waits");
        }
        let got = answers
            .into_iter()
            .map(|mut answer| answer.try_recv().expect("not dropped"))
            .collect();
        (got, batch.iter().map(|waiter| waiter.asked).collect())
    }

    #[test]
    fn a_value_below_the_one_that_was_set_is_too_small() {
        let (got, left) = answered(&[5, 9, 7, 9], Ok(()));
        let small = || Some(Err(Error::TooSmall(9)));
        assert_eq!(got, [small(), Some(Ok(())), small(), Some(Ok(()))]);
        assert!(left.is_empty());
    }

    #[test]
    fn what_is_past_the_greatest_value_is_past_all() {
        let past = Error::TooSmall(100);
        let (got, left) = answered(&[5, 9], Err(past.clone()));
        assert_eq!(got, [Some(Err(past.clone())), Some(Err(past))]);
        assert!(left.is_empty());
    }

    #[test]
    fn a_value_that_is_refused_for_itself_does_not_harm_smaller_ones() {
        let full = Error::Exhausted("full".into());
        let (got, left) = answered(&[5, i64::MAX, 7], Err(full.clone()));
        assert_eq!(got, [None, Some(Err(full)), None]);
        assert_eq!(left, [5, 7]);
    }
}
