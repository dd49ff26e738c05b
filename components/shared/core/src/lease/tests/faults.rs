//! Faults of other programs that hand out integers from spans that they fetched before.

use super::{Backend, Holder};
use crate::lease::Lease;
use crate::{Error, Lattice, Span};
use futures::FutureExt;
use futures::channel::oneshot;
use std::cell::RefCell;
use std::collections::VecDeque;

/// A fetch of this many integers, and where its answer goes.
type Fetch = (u32, oneshot::Sender<Result<Span, Error>>);

/// A backend that answers each fetch when the test says so.
#[derive(Default)]
struct Slow(RefCell<VecDeque<Fetch>>);

impl Slow {
    async fn next(&self, count: u32) -> Result<Span, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.borrow_mut().push_back((count, answer));
        answered.await.expect("answered")
    }

    fn under_way(&self) -> usize {
        self.0.borrow().len()
    }

    /// Answers the oldest fetch with as many integers as it asked for.
    fn answer(&self, first: i64) {
        let (count, answer) = self.0.borrow_mut().pop_front().expect("a fetch");
        let span = Span::checked(first, 1, count).expect("a span");
        answer.send(Ok(span)).expect("somebody waits");
    }

    fn fail(&self) {
        let (_, answer) = self.0.borrow_mut().pop_front().expect("a fetch");
        let error = Error::Unavailable("lost".into());
        answer.send(Err(error)).expect("somebody waits");
    }
}

fn lease(most: u32) -> Lease {
    Lease::new(Lattice::new(1, 0).unwrap(), most).unwrap()
}

/// A lease of which `left` integers from 1 to 64 are left.
fn partly_used(left: u32) -> Lease {
    let lease = lease(64);
    let span = Span::checked(1, 1, 64).unwrap();
    lease.buffer.serve(span, 0, 64 - left).unwrap().unwrap();
    lease
}

/// Leaf (Meituan-Dianping/Leaf, issues 35 and 143): when the current segment was used up before the next one
/// was loaded, calls failed with "both two segments are not ready".
#[test]
fn leaf_calls_that_outrun_the_fetch_wait_for_it() {
    let lease = partly_used(1);
    let backend = Slow::default();
    let mut ahead = Box::pin(lease.ahead(|n| backend.next(n)));
    assert_eq!((&mut ahead).now_or_never(), None);
    assert_eq!(lease.take(1).expect("the last one").span.first(), 64);
    let mut waiting: Vec<_> = (0..3)
        .map(|_| Box::pin(lease.mint(1, |n| backend.next(n))))
        .collect();
    for call in &mut waiting {
        assert_eq!(call.now_or_never(), None, "it waits");
    }
    assert_eq!(backend.under_way(), 1, "nobody fetches beside it");
    backend.answer(65);
    assert_eq!(ahead.now_or_never(), Some(Ok(())));
    let first = waiting.remove(0).now_or_never().expect("answered");
    assert_eq!(first.expect("minted").first(), 65);
    // A fetch of one integer serves one call; the others fetch again.
    let mut second = waiting.remove(0);
    assert_eq!((&mut second).now_or_never(), None);
    backend.answer(66);
    assert_eq!(
        second.now_or_never().expect("answered").unwrap().first(),
        66
    );
}

/// Leaf (issue 16): the next segment could be used before its bounds were set. Here a span that
/// is not fetched yet cannot be taken from, and one that was refused is never used.
#[test]
fn leaf_a_span_is_not_used_before_it_is_complete() {
    let lease = partly_used(10);
    let backend = Slow::default();
    let mut ahead = Box::pin(lease.ahead(|n| backend.next(n)));
    assert_eq!((&mut ahead).now_or_never(), None);
    assert_eq!(lease.take(11), None);
    assert_eq!(lease.held(), 10);
    // An answer with another count than asked for.
    let (count, answer) = backend.0.borrow_mut().pop_front().unwrap();
    let wrong = Span::checked(65, 1, count + 1).unwrap();
    answer.send(Ok(wrong)).unwrap();
    assert!(matches!(ahead.now_or_never(), Some(Err(Error::Broken(_)))));
    assert_eq!(lease.held(), 10);
}

/// tinyid (didi/tinyid, pull request 17): after one failed load the flag "is loading" stayed set, and no
/// segment was loaded in the background again.
#[test]
fn tinyid_a_failed_fetch_ahead_is_made_again() {
    let lease = partly_used(33);
    let backend = Slow::default();
    let mut attempts = 0;
    while let Some(taken) = lease.take(1) {
        if !taken.ahead {
            continue;
        }
        attempts += 1;
        let mut ahead = Box::pin(lease.ahead(|n| backend.next(n)));
        assert_eq!((&mut ahead).now_or_never(), None);
        if attempts % 2 == 0 {
            // Nobody drives it any longer.
            drop(ahead);
            backend.0.borrow_mut().clear();
        } else {
            backend.fail();
            assert!(matches!(
                ahead.now_or_never(),
                Some(Err(Error::Unavailable(_)))
            ));
        }
    }
    assert_eq!(attempts, 6, "each time half of what is left is used");
}

/// tinyid (issue 47): a call that found the segment used up loaded one beside the load in the background,
/// and the later segment was used before the earlier one.
#[test]
fn tinyid_two_fetches_never_swap_their_spans() {
    let lease = partly_used(1);
    let backend = Slow::default();
    let mut ahead = Box::pin(lease.ahead(|n| backend.next(n)));
    assert_eq!((&mut ahead).now_or_never(), None);
    lease.take(1).expect("the last one");
    let mut call = Box::pin(lease.mint(5, |n| backend.next(n)));
    assert_eq!((&mut call).now_or_never(), None);
    assert_eq!(backend.under_way(), 1);
    // The span ahead arrives and is too small for the call, which fetches another one after it.
    backend.answer(65);
    assert_eq!(ahead.now_or_never(), Some(Ok(())));
    assert_eq!((&mut call).now_or_never(), None);
    backend.answer(100);
    let minted = call.now_or_never().expect("answered").expect("minted");
    assert_eq!(minted.first(), 100);
    assert_eq!(lease.skipped(), 1, "65 would come after 100");
    assert_eq!(lease.take(1), None);
}

/// tinyid: servers with several databases, each with its own step and offset, handed out segments with the
/// step of another one. Here the lattice belongs to the lease, and a span of another one is refused.
#[test]
fn tinyid_a_span_of_another_lattice_is_refused() {
    let odd = Lattice::new(4, 1).unwrap();
    let lease = Lease::new(odd, 10).unwrap();
    for wrong in [(2, 4), (1, 2), (5, 8)] {
        let (first, step) = wrong;
        let fetch = |n| async move { Ok(Span::checked(first, step, n).unwrap()) };
        let minted = lease.mint(3, fetch).now_or_never().expect("at once");
        assert!(matches!(minted, Err(Error::Broken(_))), "{wrong:?}");
    }
    assert_eq!(lease.held(), 0);
}

/// Vitess (vitessio/vitess, issue 3116): after the mastership went to another tablet and came back, the
/// first one continued with its old cache beyond what it had reserved, and the values overlapped.
#[test]
fn vitess_3116_two_holders_in_turn_never_overlap() {
    let backend = Backend::default();
    let holders = [Holder::of(&backend, 10), Holder::of(&backend, 7)];
    let mut seen = std::collections::HashSet::new();
    for turn in 0..60 {
        for _ in 0..turn % 13 {
            let minted = holders[turn % 2].first();
            assert!(seen.insert(minted), "{minted} came twice");
        }
    }
}

/// Vitess (issue 5590): the code assumed that nobody else changes `next_id`, and went on counting from its
/// own value. Here each span begins where the backend says; a backend that was lowered is noticed.
#[test]
fn vitess_5590_a_mark_that_somebody_changed_is_followed_or_refused() {
    let backend = Backend::default();
    let holder = Holder::of(&backend, 4);
    for _ in 0..20 {
        holder.first();
    }
    backend.mark.set(1_000_000);
    let held = holder.lease.held();
    for _ in 0..held {
        assert!(holder.first() < 1_000_000);
    }
    assert_eq!(holder.first(), 1_000_002);
    backend.mark.set(500);
    let refused = loop {
        match holder.next(1) {
            Ok(span) => assert!(span.first() > 1_000_000),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Broken(_)), "{refused}");
    backend.mark.set(2_000_000);
    assert_eq!(holder.first(), 2_000_002, "it continues once it is raised");
}

/// YugabyteDB (yugabyte/yugabyte-db, issue 16497): `setval` left the cached values of the server in place, and
/// `nextval` returned them.
#[test]
fn yugabyte_16497_a_raise_empties_both_buffers() {
    let backend = Backend::default();
    let holder = Holder::of(&backend, 64);
    while holder.lease.held() < 64 {
        holder.first();
    }
    // Also a raise to the value that it has: later integers are greater than that.
    for ahead in [0, 1, 1_000_001] {
        let value = backend.mark.get() + ahead;
        holder.set_last(value).expect("raised");
        assert_eq!(holder.lease.held(), 0);
        assert!(holder.first() > value);
    }
    assert!(holder.lease.skipped() >= 64);
    assert!(matches!(holder.set_last(5), Err(Error::TooSmall(_))));
}

/// The same, while a span is being fetched that was minted before the raise.
#[test]
fn yugabyte_16497_a_fetch_under_way_does_not_refill_them() {
    let lease = partly_used(10);
    let backend = Slow::default();
    let mut ahead = Box::pin(lease.ahead(|n| backend.next(n)));
    assert_eq!((&mut ahead).now_or_never(), None);
    lease.after_raise(1000, &Ok(()));
    backend.answer(65);
    assert_eq!(ahead.now_or_never(), Some(Ok(())));
    assert_eq!((lease.held(), lease.take(1)), (0, None));
    // A call that began before the raise may get what it fetched; nothing of that is kept.
    let mut call = Box::pin(lease.mint(1, |n| backend.next(n)));
    assert_eq!((&mut call).now_or_never(), None);
    lease.after_raise(2000, &Err(Error::Unavailable("lost".into())));
    backend.answer(1001);
    assert_eq!(call.now_or_never().unwrap().unwrap().first(), 1001);
    assert_eq!(lease.held(), 0);
}

/// YugabyteDB (technical advisory 22935): the cache was keyed by the number of the sequence alone, so sequences
/// of two databases shared it. Here a lease is part of an open sequence and has no key at all.
#[test]
fn yugabyte_22935_sequences_with_the_same_key_share_nothing() {
    let databases = [Backend::default(), Backend::at(1_000_000)];
    let lattices = [(2, 0), (2, 1), (3, 0)].map(|(i, o)| Lattice::new(i, o).unwrap());
    for lattice in lattices {
        for (backend, least) in databases.iter().zip([0, 1_000_000]) {
            let holder = Holder::on(backend, 10, lattice);
            for _ in 0..50 {
                let minted = holder.next(1).expect("minted");
                assert!(minted.first() > least && lattice.holds(minted));
                assert!(least > 0 || minted.first() < 1_000_000);
            }
        }
    }
}
