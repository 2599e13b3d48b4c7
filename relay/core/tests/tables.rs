//! What controls say leads to the rules that the model of a relay's table has (`session_model::table`), whatever the order.

mod segment;

use frames::ProtocolAddress;
use frames::message::{Message, Status};
use proptest::prelude::*;
use segment::{Segment, tcp_listener};
use session_model::table::{Entry, Kind, Message as Said, Table};

#[derive(Debug, Clone, Copy)]
enum Step {
    Say(Said),
    /// The control is killed, and its next process is there before it is missed.
    Restart,
    /// The control ends in order, and starts again.
    Close,
}

/// Of which of the two controls, and what.
fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let entry = prop_oneof![Just(1), Just(2)];
    let step = prop_oneof![
        4 => entry.clone().prop_map(|entry| Step::Say(Said::Add(entry))),
        2 => entry.prop_map(|entry| Step::Say(Said::Delete(entry))),
        2 => Just(Step::Say(Said::End)),
        2 => Just(Step::Restart),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec((0..NAMES.len(), step), 1..24)
}

const NAMES: [&str; 2] = ["control1", "control2"];

/// control2 may have tcp/80 only.
fn listener(place: usize, entry: Entry) -> ProtocolAddress {
    tcp_listener(if place == 0 { 79 + u16::from(entry) } else { 80 })
}

fn entries(segment: &Segment, name: &str) -> Vec<u32> {
    let rules = segment.relay.show_rules().into_iter().filter(|rule| rule.control == name);
    let mut tunnels: Vec<u32> = rules.map(|rule| rule.up_tunnel).collect();
    tunnels.sort_unstable();
    tunnels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rules_are_those_of_the_model(steps in steps()) {
        let mut segment = Segment::with_control();
        segment.join("control2");
        let mut tables = [Table::default(); 2];
        let mut boot = 1_000;
        for (place, step) in steps {
            let table = &mut tables[place];
            match step {
                // Two rules of control2 would be one.
                Step::Say(Said::Add(2) | Said::Delete(2)) if place == 1 => {}
                Step::Say(said) => {
                    table.apply(said, None);
                    match said {
                        Said::Add(entry) => {
                            let status = segment.rule(place, entry.into(), listener(place, entry));
                            prop_assert_eq!(status, Status::OK);
                        }
                        Said::Delete(entry) => segment.delete(place, entry.into()),
                        Said::End => segment.say(place, &Message::RulesEnd),
                    }
                }
                Step::Restart | Step::Close => {
                    let replaced = matches!(step, Step::Restart);
                    if !replaced {
                        segment.close(place);
                    }
                    table.down(Kind::Rules, replaced);
                    if !replaced {
                        prop_assert_eq!(entries(&segment, NAMES[place]), Vec::<u32>::new());
                    }
                    boot += 1;
                    segment.restart(place, NAMES[place], boot);
                    segment.ask(place);
                    table.up(None);
                }
            }
            for (name, table) in NAMES.iter().zip(&tables) {
                let expected: Vec<u32> = [1, 2].into_iter().filter(|entry| table.in_force & entry != 0).map(u32::from).collect();
                prop_assert_eq!(entries(&segment, name), expected, "{} after {:?}", name, step);
            }
        }
    }
}
