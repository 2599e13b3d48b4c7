//! What a pair survives, as far as there is time for it in every test run; `tools/chaos` has the rest.

use netns_tests::chaos::{Chaos, faults, table};

/// Any would do. One that fails is worth keeping.
const SEED: u64 = 1;

#[test]
fn a_pair_survives_the_faults_of_every_day() {
    let Some(mut chaos) = Chaos::up(SEED) else { return };
    chaos.may_lose = 50;
    let figures: Vec<_> =
        faults().iter().filter(|fault| fault.bounded).map(|fault| chaos.suffer(fault, false)).collect();
    chaos.down();
    println!("{}", table(&figures));
    assert!(figures.len() >= 10, "only {} faults", figures.len());
}
