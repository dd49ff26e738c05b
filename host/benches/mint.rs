//! What one mint costs, layer by layer: the arithmetic, the call into a component and back, and
//! the queue in front of it. Every measured answer is checked before it is timed.

use criterion::{BenchmarkId, Criterion, Throughput};
use engine_guest::Lattice;
use int_host::{Builtin, Config, Host, Options, Sequence};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn lattice(c: &mut Criterion) {
    let lattice = Lattice::new(2, 1).expect("a lattice");
    let span = lattice.span(2000, 1000).expect("a span");
    assert_eq!((span.first, span.step, span.count), (1, 2, 1000));
    c.bench_function("lattice/span", |b| {
        b.iter(|| lattice.span(black_box(1 << 40), black_box(1000)))
    });
}

fn memory(runtime: &Runtime) -> Sequence {
    let host = Host::new(Options::default()).expect("a host");
    runtime
        .block_on(host.open(Builtin::Memory.into(), Config::default()))
        .expect("the memory engine")
}

/// One call at a time: host, guest, host.
fn call(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let sequence = memory(&runtime);
    let mut group = c.benchmark_group("call");
    for count in [1, 100, 100_000] {
        let before = runtime
            .block_on(sequence.last())
            .expect("last")
            .unwrap_or(0);
        let span = runtime.block_on(sequence.next(count)).expect("a span");
        assert_eq!((span.first, span.count), (before + 2, count));
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::new("next", count), |b| {
            b.to_async(&runtime).iter(|| sequence.next(count));
        });
    }
}

/// Many tasks on one sequence: how far coalescing carries.
fn tasks(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let sequence = memory(&runtime);
    let mut group = c.benchmark_group("tasks");
    for tasks in [1, 100, 1024] {
        let mut all = runtime.block_on(mint(&sequence, tasks, 100)).0;
        let minted = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(
            (all.len(), minted),
            (tasks * 100, tasks * 100),
            "no integer twice"
        );
        group.throughput(Throughput::Elements(tasks as u64));
        group.bench_function(BenchmarkId::new("next", tasks), |b| {
            b.iter_custom(|rounds| {
                let rounds = usize::try_from(rounds).expect("a count of rounds");
                runtime.block_on(mint(&sequence, tasks, rounds)).1
            });
        });
    }
}

/// Lets every task mint `rounds` integers, one by one.
async fn mint(sequence: &Sequence, tasks: usize, rounds: usize) -> (Vec<i64>, Duration) {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let sequence = sequence.clone();
            tokio::spawn(async move {
                let mut minted = Vec::with_capacity(rounds);
                for _ in 0..rounds {
                    minted.push(sequence.next(1).await.expect("an integer").first);
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
    lattice(&mut criterion);
    call(&mut criterion);
    tasks(&mut criterion);
    criterion.final_summary();
}
