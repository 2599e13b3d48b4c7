//! Whole segments over bad links; see `l2link::sim`.

use l2link::sim::{Report, run, run_traced};

/// Seeds of every test run. Further ones: `L2LINK_SEED=first-last`.
const SEEDS: core::ops::Range<u64> = 0..1_000;

#[test]
fn segments_come_right() {
    let mut sum = Report::default();
    for seed in SEEDS {
        let report = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        sum.frames += report.frames;
        sum.messages += report.messages;
        sum.parcels += report.parcels;
        sum.ups += report.ups;
        sum.downs += report.downs;
    }
    println!("{} segments: {sum:?}", SEEDS.end - SEEDS.start);
    assert!(
        sum.messages > 100_000 && sum.parcels > 10_000,
        "the simulator sends too little to show anything"
    );
    assert!(sum.downs > 1_000, "the network is not bad enough to show anything");
}

/// Runs the seed or seeds (`first-last`) that `L2LINK_SEED` names; a single one is told line by line.
#[test]
fn replay() {
    let Ok(text) = std::env::var("L2LINK_SEED") else { return };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let number = |text: &str| text.parse::<u64>().expect("L2LINK_SEED is a number, or two with a hyphen");
    let (first, last) = (number(first), number(last));
    for seed in first..=last {
        let mut tell = |at: l2link::Time, line: std::fmt::Arguments<'_>| println!("{:>10} {line}", at.0);
        let outcome = if first == last { run_traced(seed, Some(&mut tell)) } else { run(seed) };
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = || {
        let mut lines = Vec::new();
        let mut tell =
            |at: l2link::Time, line: std::fmt::Arguments<'_>| lines.push(format!("{} {line}", at.0));
        run_traced(7, Some(&mut tell)).unwrap();
        lines
    };
    assert_eq!(trace(), trace());
}
