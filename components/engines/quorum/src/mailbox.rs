//! Messages from tasks that go on beside an operation.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Waker};

/// The messages that nobody has taken yet, and who waits for them. A message need not wake the one who waits: to wake
/// another task of the component takes several calls of the host.
pub(crate) struct Mailbox<M> {
    messages: RefCell<VecDeque<M>>,
    waiting: RefCell<Option<Waker>>,
    /// Whether each message wakes the one who waits.
    eager: Cell<bool>,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self {
            messages: RefCell::default(),
            waiting: RefCell::default(),
            eager: Cell::default(),
        }
    }
}

impl<M> Mailbox<M> {
    /// Adds a message; `urgent` if it wakes the one who waits in any case.
    pub(crate) fn put(&self, message: M, urgent: bool) {
        self.messages.borrow_mut().push_back(message);
        if urgent || self.eager.get() {
            let waiting = self.waiting.take();
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// The oldest message.
    pub(crate) fn take(&self) -> Option<M> {
        self.messages.borrow_mut().pop_front()
    }

    /// Wakes this task for the next urgent message, or if it is `eager`, for the next one of any kind.
    pub(crate) fn wait(&self, context: &Context<'_>, eager: bool) {
        self.eager.set(eager);
        self.waiting.replace(Some(context.waker().clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_urgent_messages_wake_one_who_is_not_eager() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let mailbox = Mailbox::default();
        for (eager, urgent, wakes) in [
            (false, false, 0),
            (false, true, 1),
            (true, false, 1),
            (true, true, 1),
        ] {
            let before = woken.0.load(Ordering::Relaxed);
            mailbox.wait(&context, eager);
            mailbox.put((eager, urgent), urgent);
            let times = woken.0.load(Ordering::Relaxed) - before;
            assert_eq!(times, wakes, "eager: {eager}, urgent: {urgent}");
            assert_eq!(mailbox.take(), Some((eager, urgent)));
            assert_eq!(mailbox.take(), None);
        }
    }

    #[test]
    fn messages_come_in_order_and_wake_once() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mailbox = Mailbox::default();
        mailbox.wait(&Context::from_waker(&waker), true);
        for message in 1..=3 {
            mailbox.put(message, true);
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let taken: Vec<_> = std::iter::from_fn(|| mailbox.take()).collect();
        assert_eq!(taken, [1, 2, 3]);
    }
}
