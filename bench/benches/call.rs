//! Calls from the host into a component without a backend: the memory engine.

use bench::calls;
use criterion::{BenchmarkId, Criterion, Throughput};
use int_host::{Builtin, Sequence};
use std::time::{Duration, Instant};
use testbed::{backend, runtime};

fn memory() -> Sequence {
    let host = backend::host(None).expect("a host");
    let engine = Builtin::Memory.into();
    runtime::run(backend::open(&host, &engine, "memory://", "called")).expect("the memory engine")
}

/// Sequential calls.
fn call(c: &mut Criterion) {
    let sequence = memory();
    let mut group = c.benchmark_group("call");
    for count in [1, 100, 100_000] {
        let before = runtime::run(sequence.last()).expect("last").unwrap_or(0);
        let span = runtime::run(sequence.next(count)).expect("a span");
        assert_eq!((span.first(), span.count()), (before + 2, count));
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::new("next", count), |b| {
            b.iter_custom(|times| {
                let sequence = sequence.clone();
                calls::time(times, move || {
                    let sequence = sequence.clone();
                    async move { sequence.next(count).await.expect("a span") }
                })
            });
        });
    }
    let last = runtime::run(sequence.last()).expect("last");
    assert!(last.is_some());
    group.throughput(Throughput::Elements(1));
    group.bench_function("last", |b| {
        b.iter_custom(|times| {
            let sequence = sequence.clone();
            calls::time(times, move || {
                let sequence = sequence.clone();
                async move { sequence.last().await.expect("last") }
            })
        });
    });
}

/// Concurrent calls of many tasks on one sequence, which are coalesced.
fn tasks(c: &mut Criterion) {
    let sequence = memory();
    let mut group = c.benchmark_group("tasks");
    for tasks in [1, 100, 1024] {
        let mut all = runtime::run(mint(&sequence, tasks, 100)).0;
        let minted = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), minted), (tasks * 100, tasks * 100));
        group.throughput(Throughput::Elements(tasks as u64));
        group.bench_function(BenchmarkId::new("next", tasks), |b| {
            b.iter_custom(|times| {
                let times = usize::try_from(times).expect("a number of calls");
                runtime::run(mint(&sequence, tasks, times)).1
            });
        });
    }
}

/// Lets each of `tasks` tasks mint `times` integers, one call after another.
async fn mint(sequence: &Sequence, tasks: usize, times: usize) -> (Vec<i64>, Duration) {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let sequence = sequence.clone();
            tokio::spawn(async move {
                let mut minted = Vec::with_capacity(times);
                for _ in 0..times {
                    minted.push(sequence.next(1).await.expect("an integer").first());
                }
                minted
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a task"));
    }
    (all, begin.elapsed())
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    call(&mut criterion);
    tasks(&mut criterion);
    criterion.final_summary();
}
