//! The changes that wait for a commit, and whose turn it is to make it.

use crate::runtime::Credit;
use std::time::Duration;

/// How long a commit may take that a caller makes on its own thread. Meanwhile that thread does nothing else, so this is
/// about what waking two threads costs, a few times over.
const SHORT: Duration = Duration::from_micros(500);

/// After a commit that took longer than this, callers make none until others were short.
const FAR_TOO_LONG: Duration = Duration::from_millis(5);

/// Changes in the order of their arrival. One commit is under way at a time.
pub(super) struct Queue<C> {
    waiting: Vec<C>,
    committer: Committer,
    /// Whether callers commit. A short commit earns some.
    credit: Credit,
    closed: bool,
}

/// Who makes the commit that is under way, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committer {
    Nobody,
    Caller,
    Thread,
}

/// What the caller of [`Queue::enter`] has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// Commit, or hand over to the thread.
    Committer,
    /// Wake the thread, and wait.
    HandedOver,
    /// Wait.
    Waiting,
}

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            committer: Committer::Nobody,
            credit: Credit::NONE,
            closed: false,
        }
    }
}

impl<C> Queue<C> {
    /// Adds a change, or drops it if the store is closed. `is_open` says whether a commit could begin at once.
    pub(super) fn enter(&mut self, change: C, is_open: impl FnOnce() -> bool) -> Entered {
        if self.closed {
            return Entered::Waiting;
        }
        self.waiting.push(change);
        if self.committer != Committer::Nobody {
            return Entered::Waiting;
        }
        if self.credit.is_left() && is_open() {
            self.committer = Committer::Caller;
            return Entered::Committer;
        }
        self.committer = Committer::Thread;
        Entered::HandedOver
    }

    /// Takes all changes, for the commit that begins now.
    pub(super) fn take(&mut self) -> Vec<C> {
        std::mem::take(&mut self.waiting)
    }

    /// Ends the commit of a caller, which took that long. Returns whether the thread has to go on: if more changes wait,
    /// or there is `other_work`.
    pub(super) fn end_of_caller(&mut self, took: Option<Duration>, other_work: bool) -> bool {
        self.learn(took);
        let goes_on = other_work || !self.waiting.is_empty();
        if !goes_on {
            self.committer = Committer::Nobody;
        }
        goes_on
    }

    /// Ends a commit of the thread, which makes the next one too if changes wait.
    pub(super) fn end_of_thread(&mut self, took: Option<Duration>) {
        self.learn(took);
        if self.waiting.is_empty() {
            self.committer = Committer::Nobody;
        }
    }

    /// Leaves the turn to the thread.
    pub(super) fn hand_over(&mut self) {
        self.committer = Committer::Thread;
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.committer == Committer::Thread
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn learn(&mut self, took: Option<Duration>) {
        let Some(took) = took else { return };
        if took <= SHORT {
            self.credit.earn();
        } else if took <= FAR_TOO_LONG {
            self.credit.lose();
        } else {
            self.credit = Credit::NONE;
        }
    }
}

#[cfg(test)]
impl<C> Queue<C> {
    pub(super) fn trust_commits(&mut self) {
        self.credit = Credit::FULL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(2);

    /// A queue in which a caller commits next.
    fn fast() -> Queue<u32> {
        let mut queue = Queue::default();
        assert_eq!(queue.enter(0, || true), Entered::HandedOver);
        assert_eq!(queue.take(), [0]);
        queue.end_of_thread(Some(SHORT));
        queue
    }

    #[test]
    fn changes_that_come_during_a_commit_of_a_caller_are_left_to_the_thread() {
        let mut queue = fast();
        assert_eq!(queue.enter(1, || true), Entered::Committer);
        assert_eq!(queue.enter(2, || true), Entered::Waiting);
        assert_eq!(queue.take(), [1, 2]);
        assert_eq!(queue.enter(3, || true), Entered::Waiting);
        assert!(queue.end_of_caller(Some(SHORT), false));
        queue.hand_over();
        assert_eq!(queue.enter(4, || true), Entered::Waiting);
        assert_eq!(queue.take(), [3, 4]);
        queue.end_of_thread(Some(SHORT));
        assert!(!queue.is_handed_over());
        assert_eq!(queue.enter(5, || true), Entered::Committer);
        assert_eq!(queue.take(), [5]);
        assert!(!queue.end_of_caller(Some(SHORT), false));
        assert_eq!(queue.enter(6, || true), Entered::Committer);
    }

    #[test]
    fn the_thread_goes_on_while_changes_wait() {
        let mut queue = Queue::default();
        assert_eq!(queue.enter(1, || true), Entered::HandedOver);
        assert_eq!(queue.take(), [1]);
        assert_eq!(queue.enter(2, || true), Entered::Waiting);
        queue.end_of_thread(Some(SHORT));
        assert!(queue.is_handed_over());
        assert_eq!(queue.take(), [2]);
    }

    #[test]
    fn other_work_is_left_to_the_thread() {
        let mut queue = fast();
        assert_eq!(queue.enter(1, || true), Entered::Committer);
        queue.take();
        assert!(queue.end_of_caller(Some(SHORT), true));
    }

    #[test]
    fn a_database_that_has_to_be_opened_first_is_left_to_the_thread() {
        let mut queue = fast();
        assert_eq!(queue.enter(1, || false), Entered::HandedOver);
    }

    #[test]
    fn callers_commit_while_commits_are_mostly_short() {
        let mut queue = fast();
        for (took, then) in [
            (SHORT, Entered::Committer),
            (LONG, Entered::HandedOver),
            (SHORT, Entered::Committer),
            (SHORT, Entered::Committer),
            (SHORT, Entered::Committer),
            (LONG, Entered::Committer),
            (LONG, Entered::HandedOver),
        ] {
            queue.committer = Committer::Nobody;
            queue.take();
            queue.learn(Some(took));
            assert_eq!(queue.enter(1, || true), then, "after {took:?}");
        }
    }

    #[test]
    fn what_comes_after_it_was_closed_is_dropped() {
        let mut queue = fast();
        queue.close();
        assert_eq!(queue.enter(1, || true), Entered::Waiting);
        assert!(queue.take().is_empty());
    }

    #[test]
    fn one_commit_that_took_far_too_long_is_enough() {
        let mut queue = fast();
        queue.trust_commits();
        queue.learn(Some(FAR_TOO_LONG + SHORT));
        assert_eq!(queue.enter(1, || true), Entered::HandedOver);
    }
}
