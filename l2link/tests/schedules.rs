//! Every way in which a few faults can strike the start of a small segment; see `l2link::sim::exhaust`.
//!
//! `L2LINK_MORE_FAULTS=1` has each schedule have so many more faults than in every test run: 20 minutes each. `cargo test` shows
//! what was covered with `-- --nocapture`.

use l2link::sim::{Bounds, exhaust};
use rstest::rstest;

#[rstest]
#[case::one_pair(Bounds { relays: 1, controls: 1, frames: 24, faults: 2, keys: false })]
#[case::one_pair_with_keys(Bounds { relays: 1, controls: 1, frames: 24, faults: 1, keys: true })]
#[case::two_controls_and_two_relays(Bounds { relays: 2, controls: 2, frames: 96, faults: 1, keys: false })]
fn every_schedule_comes_right(#[case] bounds: Bounds) {
    let more = std::env::var("L2LINK_MORE_FAULTS").map_or(0, |text| text.parse().expect("a number"));
    let bounds = Bounds { faults: bounds.faults + more, ..bounds };
    let covered = exhaust(bounds).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{bounds:?}: {covered:?}");
    assert!(covered.downs > 0, "no fault had any effect");
}
