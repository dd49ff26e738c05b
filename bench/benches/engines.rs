//! Sequential mints on each engine, compared with the backend's native client.
//!
//! `cargo bench --bench engines -- redis` starts only Redis.

use bench::calls;
use bench::native::{Native, lattice};
use bench::stage::{Store, name};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use int_host::{Builtin, Sequence};
use std::cell::LazyCell;
use std::sync::Arc;
use testbed::{backend, runtime};

const COUNTS: [u32; 2] = [1, 100];

/// A backend with an engine and a native client on it.
struct Both {
    engine: Sequence,
    native: Arc<Native>,
    /// The last field, so that it is dropped last.
    _store: Store,
}

impl Both {
    fn start(engine: Builtin) -> Self {
        let store = Store::start(engine).unwrap_or_else(|error| panic!("{error:#}"));
        let place = store.place("native");
        let host = backend::host(store.data("timed")).expect("a host");
        let (sequence, native) = runtime::run(async {
            let source = engine.into();
            let sequence = backend::open(&host, &source, &store.dsn(), "timed").await;
            let native = Native::connect(name(engine), &place, "native").await;
            (sequence, native)
        });
        Self {
            engine: sequence.unwrap_or_else(|error| panic!("{error}")),
            native: Arc::new(native.unwrap_or_else(|error| panic!("{error:#}"))),
            _store: store,
        }
    }

    /// Checks that engine and client return correct spans.
    fn check(&self, engine: Builtin, count: u32) {
        let lattice = lattice(engine).expect("a lattice");
        let (mut engines, mut natives) = (0, 0);
        for _ in 0..3 {
            let span = runtime::run(self.engine.next(count)).expect("a span");
            assert_eq!((span.step(), span.count()), (lattice.increment(), count));
            assert_eq!(span.first() % span.step(), lattice.offset());
            assert!(span.first() > engines, "{} after {engines}", span.first());
            engines = span.last();
            let span = runtime::run(self.native.next(count)).expect("a span");
            assert_eq!((span.step(), span.count()), (lattice.increment(), count));
            assert_eq!(span.first() % span.step(), lattice.offset());
            assert!(span.first() > natives, "{} after {natives}", span.first());
            natives = span.first() + span.step() * i64::from(span.count() - 1);
        }
    }
}

fn engines(c: &mut Criterion) {
    for engine in Builtin::ALL {
        if let Some(why) = Store::missing(engine) {
            eprintln!("skipped: {}: {why}", name(engine));
            continue;
        }
        // Lazy, so that servers which the command line filters out are not started.
        let both = LazyCell::new(|| Both::start(engine));
        let mut group = c.benchmark_group(name(engine));
        for count in COUNTS {
            group.throughput(Throughput::Elements(count.into()));
            next(&mut group, engine, &both, count);
        }
    }
}

fn next<F: FnOnce() -> Both>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    engine: Builtin,
    both: &LazyCell<Both, F>,
    count: u32,
) {
    group.bench_function(BenchmarkId::new("native", count), |b| {
        both.check(engine, count);
        b.iter_custom(|times| {
            let native = Arc::clone(&both.native);
            calls::time(times, move || {
                let native = Arc::clone(&native);
                async move { native.next(count).await.expect("a span") }
            })
        });
    });
    group.bench_function(BenchmarkId::new("engine", count), |b| {
        both.check(engine, count);
        b.iter_custom(|times| {
            let sequence = both.engine.clone();
            calls::time(times, move || {
                let sequence = sequence.clone();
                async move { sequence.next(count).await.expect("a span") }
            })
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    engines(&mut criterion);
    criterion.final_summary();
}
