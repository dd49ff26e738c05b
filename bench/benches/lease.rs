//! Calls of a sequence with leases, from one thread and from two.

use bench::calls;
use criterion::{BenchmarkId, Criterion, Throughput};
use hdrhistogram::Histogram;
use int_host::{Builtin, Sequence};
use std::hint::black_box;
use std::time::{Duration, Instant};
use testbed::{backend, runtime};

/// The size of the largest span: the greatest one, so that the engine is called as seldom as possible.
const MOST: u32 = 100_000;

/// A new holder on the engine `memory`.
fn holder() -> Sequence {
    runtime::run(async {
        let host = backend::host(None).expect("a host");
        let opened = backend::open(&host, &Builtin::Memory.into(), "memory://", "lease").await;
        let leased = opened.expect("a sequence").lease(MOST).expect("a lease");
        // Until spans have their full size.
        for _ in 0..4 * MOST {
            leased.next(1).await.expect("an integer");
        }
        leased
    })
}

/// Mints one integer, and fetches if that is necessary.
#[inline]
fn next(sequence: &Sequence) -> i64 {
    let taken = sequence.take(1);
    let span = taken.unwrap_or_else(|| runtime::run(sequence.next(1)).expect("an integer"));
    span.first()
}

/// Lets each of `threads` threads mint its share of `times` integers, one after the other.
fn mint(sequence: &Sequence, threads: u64, times: u64) -> Duration {
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

/// Prints the latency of single calls while another thread mints, too. A call takes less time than reading the
/// clock, which is included.
fn latency(sequence: &Sequence) {
    const CALLS: u64 = 2_000_000;
    let measure = || {
        let mut latency = Histogram::<u64>::new(3).expect("a histogram");
        for _ in 0..CALLS {
            let begin = Instant::now();
            black_box(next(sequence));
            let took = begin.elapsed().as_nanos();
            latency.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
        latency
    };
    let histograms: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(measure)).collect();
        let joined = threads.into_iter().map(|t| t.join().expect("no panic"));
        joined.collect()
    });
    for (thread, latency) in histograms.iter().enumerate() {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| latency.value_at_quantile(q));
        println!(
            "lease/latency, thread {thread} of 2: p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns, with the clock"
        );
    }
}

fn lease(c: &mut Criterion) {
    let sequence = holder();
    let mut group = c.benchmark_group("lease");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("take, threads", threads), |b| {
            b.iter_custom(|times| mint(&sequence, threads, times));
        });
    }
    group.bench_function("next", |b| {
        b.iter_custom(|times| {
            let sequence = sequence.clone();
            calls::time(times, move || {
                let sequence = sequence.clone();
                async move { sequence.next(1).await.expect("an integer") }
            })
        });
    });
    group.finish();
    latency(&sequence);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lease(&mut criterion);
    criterion.final_summary();
}
