//! The coalescer with an upstream that costs almost nothing.

use artisanal_core::{Coalescer, Driver, Error, Span, Upstream};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures::future::join_all;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tokio::runtime::Builder;

/// An upstream that yields once before it advances its mark, like a call to a backend.
#[derive(Clone, Default)]
struct Adder(Arc<State>);

#[derive(Default)]
struct State {
    mark: AtomicI64,
    calls: AtomicUsize,
}

impl Upstream for Adder {
    type Call<T: Send + 'static> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

    fn next(&self, _slot: usize, count: u32) -> Self::Call<Span> {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::task::yield_now().await;
            state.calls.fetch_add(1, Ordering::Relaxed);
            let by = 2 * i64::from(count);
            let below = state.mark.fetch_add(by, Ordering::Relaxed);
            Span::checked(below + 2, 2, count).ok_or_else(|| Error::Exhausted("full".into()))
        })
    }

    fn last(&self) -> Self::Call<Option<i64>> {
        let last = self.0.mark.load(Ordering::Relaxed);
        Box::pin(async move { Ok(Some(last)) })
    }

    fn set_last(&self, value: i64) -> Self::Call<()> {
        self.0.mark.fetch_max(value, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn spawn(driver: Driver<Self>) {
        tokio::spawn(driver.run());
    }
}

async fn mint(coalescer: &Coalescer<Adder>, waiters: usize) -> Vec<Span> {
    join_all((0..waiters).map(async |_| coalescer.next(1).await.expect("an integer"))).await
}

fn coalescer(c: &mut Criterion) {
    // A single thread measures the cost of the queue itself, without contention between threads.
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("coalescer");
    for waiters in [1, 100, 1024] {
        let coalescer = Coalescer::new(Adder::default(), waiters);
        let minted = runtime.block_on(mint(&coalescer, waiters));
        let firsts: Vec<_> = minted.iter().map(|span| span.first()).collect();
        let expected: Vec<_> = (1..=waiters as i64).map(|n| 2 * n).collect();
        assert_eq!(firsts, expected, "in the order they came, none twice");
        let calls = coalescer.upstream().0.calls.load(Ordering::Relaxed);
        assert!(calls <= 2, "{waiters} waiters took {calls} calls");
        group.throughput(Throughput::Elements(waiters as u64));
        group.bench_function(BenchmarkId::from_parameter(waiters), |b| {
            b.to_async(&runtime).iter(|| mint(&coalescer, waiters));
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    coalescer(&mut criterion);
    criterion.final_summary();
}
