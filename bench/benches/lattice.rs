//! The lattice arithmetic of every span.

use artisanal_core::Lattice;
use criterion::Criterion;
use std::hint::black_box;

fn lattice(c: &mut Criterion) {
    let lattice = Lattice::new(2, 1).expect("a lattice");
    let span = lattice.span(2000, 1000).expect("a span");
    assert_eq!((span.first(), span.step(), span.count()), (1, 2, 1000));
    assert_eq!(lattice.stride(1000), Some(2000));
    let mut group = c.benchmark_group("lattice");
    group.bench_function("span", |b| {
        b.iter(|| black_box(lattice).span(black_box(1 << 40), black_box(1000)));
    });
    group.bench_function("stride", |b| {
        b.iter(|| black_box(lattice).stride(black_box(1000)));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lattice(&mut criterion);
    criterion.final_summary();
}
