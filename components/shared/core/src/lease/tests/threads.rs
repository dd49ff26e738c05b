//! Many threads on one lease.

use crate::lease::Lease;
use crate::{Error, Lattice, Span};
use futures::executor::block_on;
use std::sync::atomic::{AtomicI64, Ordering};

/// How many threads mint, and how many integers each of them takes.
const THREADS: usize = 4;
const EACH: usize = 10_000;

struct Counter {
    lattice: Lattice,
    mark: AtomicI64,
    lease: Lease,
}

impl Counter {
    async fn fetch(&self, count: u32) -> Result<Span, Error> {
        let stride = self.lattice.stride(count).expect("a small stride");
        let mark = self.mark.fetch_add(stride, Ordering::SeqCst) + stride;
        self.lattice
            .span(mark, count)
            .ok_or_else(|| Error::Other("no span".into()))
    }

    fn next(&self, count: u32) -> Span {
        let Some(taken) = self.lease.take(count) else {
            return block_on(self.lease.mint(count, |n| self.fetch(n))).expect("minted");
        };
        if taken.ahead {
            block_on(self.lease.ahead(|n| self.fetch(n))).expect("fetched");
        }
        taken.span
    }
}

fn counter(most: u32) -> Counter {
    let lattice = Lattice::new(3, 1).expect("a lattice");
    Counter {
        lattice,
        mark: AtomicI64::new(0),
        lease: Lease::new(lattice, most).expect("a lease"),
    }
}

/// Runs the threads while this one does `meanwhile`, and returns what each of them minted, in order.
fn mint(counter: &Counter, counts: &[u32], meanwhile: impl FnOnce()) -> Vec<Vec<Span>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let counts = counts.iter().cycle().skip(thread);
                    counts.take(EACH).map(|n| counter.next(*n)).collect()
                })
            })
            .collect();
        meanwhile();
        let minted = threads.into_iter().map(|t| t.join().expect("no panic"));
        minted.collect()
    })
}

fn check(counter: &Counter, minted: Vec<Vec<Span>>) {
    for spans in &minted {
        for pair in spans.windows(2) {
            assert!(pair[0].last() < pair[1].first(), "{pair:?} is not in order");
        }
    }
    let mut all: Vec<_> = minted.into_iter().flatten().collect();
    all.sort_unstable_by_key(Span::first);
    for pair in all.windows(2) {
        assert!(pair[0].last() < pair[1].first(), "{pair:?} overlap");
    }
    assert!(all.iter().all(|span| counter.lattice.holds(*span)));
    let mark = counter.mark.load(Ordering::SeqCst);
    assert!(all.last().is_some_and(|span| span.last() <= mark));
}

#[test]
fn integers_are_unique_and_each_thread_has_them_in_order() {
    // Small leases are switched all the time.
    for most in [1, 2, 3, 10, 1000] {
        for counts in [&[1][..], &[1, 2], &[1, 1, 7, 1, 100]] {
            let counter = counter(most);
            let minted = mint(&counter, counts, || {});
            check(&counter, minted);
        }
    }
}

#[test]
fn single_integers_of_a_lone_holder_leave_hardly_a_gap() {
    let counter = counter(100);
    let minted = mint(&counter, &[1], || {});
    check(&counter, minted);
    let taken = (THREADS * EACH) as u64;
    let fetched = u64::try_from(counter.mark.load(Ordering::SeqCst)).expect("positive") / 3;
    assert_eq!(counter.lease.skipped(), 0);
    // What is missing was taken by threads that slept until their span was replaced twice.
    let missing = fetched - taken - counter.lease.held();
    assert!(missing <= taken / 100, "{missing} of {taken}");
}

#[test]
fn a_raise_is_obeyed_by_every_thread() {
    let counter = counter(50);
    let raised = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let least = raised.load(Ordering::SeqCst);
                    let minted = counter.next(1).first();
                    assert!(minted > least, "{minted} after a raise to {least}");
                }
            });
        }
        for _ in 0..500 {
            let value = counter.mark.load(Ordering::SeqCst) + 1000;
            if counter.mark.fetch_max(value, Ordering::SeqCst) <= value {
                counter.lease.after_raise(value, &Ok(()));
                raised.fetch_max(value, Ordering::SeqCst);
            }
            std::thread::yield_now();
        }
    });
}
