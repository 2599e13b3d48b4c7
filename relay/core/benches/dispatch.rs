//! How long it takes to find a packet's control: `cargo bench -p relay-core --bench dispatch`.

use criterion::{Criterion, criterion_group, criterion_main};
use relay_core::bench::Table;
use std::hint::black_box;

const RULES: u32 = 100_000;
/// Half of them are pinned.
const FLOWS: u32 = 2_000_000;
/// Strides through all numbers in no order that a cache could guess: an odd factor.
const STRIDE: u32 = 0x9e37_79b1;

fn lookups(criterion: &mut Criterion) {
    let mut table = Table::new(RULES, FLOWS);
    let pinned = table.pinned();
    let mut group = criterion.benchmark_group(format!("{RULES} rules, {pinned} pinned flows"));
    let mut n = 0_u32;
    let mut next = move |below: u32| {
        n = n.wrapping_add(STRIDE);
        n % below
    };
    group.bench_function("a flow of a shared service", |bencher| {
        bencher.iter(|| black_box(table.flow(next(FLOWS))));
    });
    group.bench_function("a listener", |bencher| bencher.iter(|| black_box(table.listener(next(RULES)))));
    group.bench_function("one hot flow", |bencher| bencher.iter(|| black_box(table.flow(7))));
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
