//! Calls of a sequence with leases, from one thread and from two.

use bench::calls;
use bench::lease::{holder, latency, mint};
use criterion::{BenchmarkId, Criterion, Throughput};

/// For how many calls of each thread the latency is measured.
const CALLS: u64 = 2_000_000;

fn lease(c: &mut Criterion) {
    let sequence = holder().expect("a lease");
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
    for (thread, latency) in latency(&sequence, CALLS).iter().enumerate() {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| latency.value_at_quantile(q));
        println!(
            "lease/latency, thread {thread} of 2: p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns, with the clock"
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lease(&mut criterion);
    criterion.final_summary();
}
