//! The time to open a sequence: with the component compiled, and loaded from the cache.

use criterion::{BenchmarkId, Criterion};
use int_host::{Builtin, Config, Host, Options, Sequence};
use std::path::PathBuf;
use testbed::runtime;

/// Creates a host like that of the command line, and opens a sequence.
fn open(engine: Builtin, cache: Option<PathBuf>) -> Sequence {
    let mut options = Options::default();
    options.cache = cache;
    options.instances = 2;
    let config = Config {
        // The backend is not contacted before the first mint.
        dsn: match engine {
            Builtin::Redis => "redis://127.0.0.1:6379".to_owned(),
            _ => String::new(),
        },
        ..Config::default()
    };
    let host = Host::new(options).expect("a host");
    runtime::run(host.open(engine, config)).expect("a sequence")
}

fn check(engine: Builtin, sequence: &Sequence) {
    let lattice = sequence.lattice();
    assert_eq!((lattice.increment(), lattice.offset()), (2, 0));
    if engine == Builtin::Memory {
        let span = runtime::run(sequence.next(1)).expect("an integer");
        assert_eq!(span.first(), 2);
    }
}

fn opening(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    // Each sample takes about a second.
    group.sample_size(10);
    for engine in [Builtin::Memory, Builtin::Redis] {
        let name = engine.about().name;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Some(folder.path().to_owned());
        // The first call fills the cache, the second one uses it.
        check(engine, &open(engine, cache.clone()));
        check(engine, &open(engine, cache.clone()));
        check(engine, &open(engine, None));
        group.bench_function(BenchmarkId::new("cached", name), |b| {
            b.iter(|| open(engine, cache.clone()));
        });
        group.bench_function(BenchmarkId::new("cold", name), |b| {
            b.iter(|| open(engine, None));
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    opening(&mut criterion);
    criterion.final_summary();
}
