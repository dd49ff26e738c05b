//! Calls of a sequence with leases, in this process.

use crate::calls;
use hdrhistogram::Histogram;
use int_host::{Builtin, Sequence};
use std::hint::black_box;
use std::time::{Duration, Instant};
use testbed::{backend, runtime};

/// The size of the largest span: the greatest one, so that the engine is called as seldom as possible.
const MOST: u32 = 100_000;

/// A new holder on the engine `memory`.
///
/// # Errors
/// When the sequence cannot be opened.
pub fn holder() -> anyhow::Result<Sequence> {
    runtime::run(async {
        let host = backend::host(None)?;
        let opened = backend::open(&host, &Builtin::Memory.into(), "memory://", "lease").await?;
        let leased = opened.lease(MOST)?;
        // Until spans have their full size.
        for _ in 0..4 * MOST {
            leased.next(1).await?;
        }
        Ok(leased)
    })
}

/// Mints one integer, and fetches if that is necessary.
///
/// # Panics
/// When the engine fails, which `memory` does not.
#[inline]
pub fn next(sequence: &Sequence) -> i64 {
    let taken = sequence.take(1);
    let span = taken.unwrap_or_else(|| runtime::run(sequence.next(1)).expect("an integer"));
    span.first()
}

/// Lets each of `threads` threads mint its share of `times` integers, one after the other.
///
/// # Panics
/// When integers are out of order.
pub fn mint(sequence: &Sequence, threads: u64, times: u64) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for share in calls::shares(threads, times) {
            scope.spawn(move || {
                let mut before = 0;
                for _ in 0..share {
                    let integer = next(sequence);
                    assert!(integer > before, "{integer} after {before}");
                    before = integer;
                }
                black_box(before);
            });
        }
    });
    begin.elapsed()
}

/// The latency of so many single calls of each of two threads, in nanoseconds. A call takes less time than reading the
/// clock, which is included.
///
/// # Panics
/// As [`next`].
pub fn latency(sequence: &Sequence, calls: u64) -> Vec<Histogram<u64>> {
    let measure = || {
        let mut latency = Histogram::<u64>::new(3).expect("a histogram");
        for _ in 0..calls {
            let begin = Instant::now();
            black_box(next(sequence));
            let took = begin.elapsed().as_nanos();
            latency.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
        latency
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(measure)).collect();
        let joined = threads.into_iter().map(|t| t.join().expect("no panic"));
        joined.collect()
    })
}
