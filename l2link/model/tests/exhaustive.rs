//! All that can happen on small segments, within bounds; see `session_model`.
//!
//! `L2LINK_MORE_FAULTS=1` has each run have so many more faults than in every test run. `cargo test` shows what was covered with
//! `-- --nocapture`.

use rstest::rstest;
use session_model::table::Kind;
use session_model::{Begins, Bounds, Defect, Model};
use stateright::{Checker, Expectation, HasDiscoveries, Model as _};
use std::time::Instant;

const PAIR: Bounds = Bounds { controls: 1, relays: 1, faults: 3, table: Kind::Rules, begins: Begins::Apart };
const TWO_FAULTS: Bounds = Bounds { faults: 2, ..PAIR };
const SEGMENT: Bounds = Bounds { controls: 2, relays: 2, faults: 1, begins: Begins::Together, ..PAIR };

#[rstest]
#[case::a_pair(PAIR)]
#[case::a_pair_with_routes(Bounds { table: Kind::Routes, ..TWO_FAULTS })]
#[case::two_controls_and_two_relays(SEGMENT)]
#[case::two_controls_and_two_relays_with_routes(Bounds { table: Kind::Routes, ..SEGMENT })]
fn everything_that_can_happen_comes_right(#[case] bounds: Bounds) {
    let more: u8 = std::env::var("L2LINK_MORE_FAULTS").map_or(0, |text| text.parse().expect("a number"));
    let bounds = Bounds { faults: bounds.faults + more, ..bounds };
    let begin = Instant::now();
    let checker = Model { bounds, defect: None }.checker().threads(2).spawn_dfs().join();
    println!(
        "{bounds:?}: {} states, {} of them different, up to {} steps, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begin.elapsed()
    );
    checker.assert_properties();
}

#[rstest]
#[case::forgets_boot(Defect::ForgetsBoot, TWO_FAULTS)]
#[case::revives_the_dead(Defect::RevivesTheDead, TWO_FAULTS)]
#[case::forgets_the_replaced(Defect::ForgetsTheReplaced, TWO_FAULTS)]
#[case::repeats_itself(Defect::RepeatsItself, PAIR)]
#[case::never_sweeps(Defect::NeverSweeps, TWO_FAULTS)]
#[case::sweeps_others(Defect::SweepsOthers, Bounds { controls: 2, faults: 1, ..PAIR })]
#[case::nothing_is_stale(Defect::NothingIsStale, TWO_FAULTS)]
#[case::never_tries_again(Defect::NeverTriesAgain, TWO_FAULTS)]
fn a_defect_is_found(#[case] defect: Defect, #[case] bounds: Bounds) {
    let model = Model { bounds, defect: Some(defect) };
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let always =
        model.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    let mut broken = always.filter_map(|property| Some((property.name, checker.discovery(property.name)?)));
    let (name, path) = broken.next().expect("a way to what must never be");
    println!(
        "{defect:?}, {} states: not \"{name}\" by {:?}",
        checker.unique_state_count(),
        path.into_actions()
    );
}
