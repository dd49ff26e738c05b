//! Clients of a quorum of three nodes, without a buffer and with one of 1024 integers.
//!
//! The cases are those of the benchmark of RRSeq, so that both can be run on one machine; see `docs/quorum.md`.

use bench::calls;
use criterion::{BenchmarkId, Criterion, Throughput};
use int_host::{Builtin, Sequence, runtime};
use std::cell::LazyCell;
use std::hint::black_box;
use std::time::{Duration, Instant};
use testbed::backend;
use testbed::quorum::{Options, Quorum};
use testbed::target;
use tokio::runtime::Runtime;

/// What the nodes keep their marks in: durable files, or memory.
const STORES: [(&str, &[&str]); 2] = [("durable", &[]), ("memory", &["--engine", "memory"])];

/// The integers of a lease; None without one.
const BUFFERS: [Option<u32>; 2] = [None, Some(1024)];

/// A quorum, and a sequence for each of [`BUFFERS`].
struct Stage {
    sequences: [Sequence; 2],
    runtime: Runtime,
    /// The last field, so that it is dropped last.
    _nodes: Quorum,
}

impl Stage {
    fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let nodes = Quorum::with(Options {
            nodes: vec![arguments; 3],
            ..Options::default()
        });
        let nodes = nodes.unwrap_or_else(|error| panic!("{error}"));
        let host = backend::host(None).expect("a host");
        let open = async |buffer: Option<u32>| {
            let key = buffer.map_or("single".to_owned(), |size| format!("buffer-{size}"));
            let opened = backend::open(&host, &Builtin::Quorum.into(), &nodes.dsn(), &key).await;
            let sequence = opened.unwrap_or_else(|error| panic!("{error}"));
            match buffer {
                None => sequence,
                Some(size) => sequence.lease(size).expect("a lease"),
            }
        };
        let [single, buffered] = BUFFERS;
        // As programs that mint have it, and as `int-host` itself.
        let runtime = runtime::start(&runtime::Options::default()).expect("a runtime");
        let sequences = runtime.block_on(async { [open(single).await, open(buffered).await] });
        Self {
            sequences,
            runtime,
            _nodes: nodes,
        }
    }
}

/// Lets each of `callers` tasks mint its share of `times` integers, one after the other.
fn mint(runtime: &Runtime, sequence: &Sequence, callers: u64, times: u64) -> Duration {
    let call = |share: u64| {
        let sequence = sequence.clone();
        async move {
            for _ in 0..share {
                let span = match sequence.take(1) {
                    Some(span) => span,
                    None => sequence.next(1).await.expect("an integer"),
                };
                black_box(span);
            }
        }
    };
    runtime.block_on(async {
        let begin = Instant::now();
        let shares = calls::shares(callers, times);
        let tasks: Vec<_> = shares.map(|share| tokio::spawn(call(share))).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        begin.elapsed()
    })
}

fn quorum(c: &mut Criterion) {
    for (store, arguments) in STORES {
        // Lazy, so that nodes which the command line filters out are not started.
        let stage = LazyCell::new(|| Stage::start(arguments));
        let mut group = c.benchmark_group(format!("quorum/{store}"));
        group.throughput(Throughput::Elements(1));
        for (index, buffer) in BUFFERS.into_iter().enumerate() {
            for callers in [1, 2] {
                let name = format!("buffer {}, callers", buffer.unwrap_or(0));
                group.bench_function(BenchmarkId::new(name, callers), |b| {
                    b.iter_custom(|times| {
                        mint(&stage.runtime, &stage.sequences[index], callers, times)
                    });
                });
            }
        }
        group.finish();
    }
}

fn main() {
    // It may have to be built, and the time of that must not count as a call's.
    target::int_host().unwrap_or_else(|error| panic!("{error}"));
    let mut criterion = Criterion::default().configure_from_args();
    quorum(&mut criterion);
    criterion.final_summary();
}
