//! How long it takes to find a packet's control: `cargo bench -p relay-core --bench dispatch`.

#![allow(clippy::disallowed_methods, reason = "what takes time is measured here")]

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use relay_core::bench::Table;
use std::hint::black_box;
use std::time::Instant;

const RULES: u32 = 100_000;
/// Half of them are pinned.
const FLOWS: u32 = 2_000_000;
/// Packets that the relay takes from a port with one system call, if there are so many.
const BATCH: usize = 32;
/// Strides through all numbers in no order that a cache could guess: an odd factor.
const STRIDE: u32 = 0x9e37_79b1;

fn lookups(criterion: &mut Criterion) {
    let mut table = Table::new(RULES, FLOWS);
    let mut group = criterion.benchmark_group(format!("{RULES} rules, {} pinned flows", table.pinned()));
    random(&mut group, "a flow of a shared service", FLOWS, &mut table, Table::flows, Table::flows);
    random(&mut group, "a listener", RULES, &mut table, Table::listeners, Table::listeners);
    group.bench_function("one hot flow", |bencher| bencher.iter(|| black_box(table.flows([7]))));
    group.finish();
    let mut table = Table::of_connections(RULES);
    let mut group = criterion.benchmark_group(format!("{RULES} rules, each of a connection"));
    random(&mut group, "a connection", RULES, &mut table, Table::flows, Table::flows);
    group.finish();
}

/// The time of one look-up among so many, alone and with those of a batch.
fn random(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    below: u32,
    table: &mut Table,
    one: impl Fn(&mut Table, [u32; 1]) -> usize,
    many: impl Fn(&mut Table, [u32; BATCH]) -> usize,
) {
    let mut n = 0_u32;
    let mut next = || {
        n = n.wrapping_add(STRIDE);
        n % below
    };
    group
        .bench_function(format!("{name}, alone"), |bencher| bencher.iter(|| black_box(one(table, [next()]))));
    group.bench_function(format!("{name}, of {BATCH} at once"), |bencher| {
        bencher.iter_custom(|count| {
            let batches = count.div_ceil(BATCH as u64);
            let begin = Instant::now();
            for _ in 0..batches {
                black_box(many(table, core::array::from_fn(|_| next())));
            }
            begin.elapsed().mul_f64(count as f64 / (batches * BATCH as u64) as f64)
        });
    });
}

criterion_group!(benches, lookups);
criterion_main!(benches);
