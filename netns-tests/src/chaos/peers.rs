//! Faults of who else is there: devices of the same name, programs of the same port, another version of the protocol.

use super::{Chaos, Fault, Spares};
use crate::address::*;
use crate::config::Control;
use crate::program::{named_server, spread};
use crate::{Daemon, SOON, eventually};
use serde_json::json;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        bounded: true,
        strike: |chaos, long| other_versions(chaos, long),
        ..Fault::named("every frame in an older and a newer version, too")
    },
    Fault { bounded: true, strike: one_name, ..Fault::named("two controls of one name") },
    Fault {
        // What was on its way to the program that ends is lost with it.
        spares: Spares::Transit,
        strike: one_port,
        ..Fault::named("two controls claim the same port")
    },
];

fn other_versions(chaos: &mut Chaos, long: bool) {
    let counters =
        |chaos: &Chaos| [&chaos.lab.relay, &chaos.lab.control].map(|it| it.counter("drop.version"));
    let before = counters(chaos);
    super::segment::plan(chaos, long, |plan| plan.other_versions = true);
    let after = counters(chaos);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after > before + 20, "{before} frames of other versions became {after}");
    }
}

fn one_name(chaos: &mut Chaos, long: bool) {
    let netns = Rc::new(chaos.lab.netns(&format!("twin{}", chaos.wire.counts().taken)));
    chaos.lab.add_to_segment(&netns);
    let before = chaos.lab.relay.counter("drop.name-in-use");
    let folder = chaos.lab.folder().join(netns.name());
    let mut twin = Daemon::new("l2control", &netns, folder, &Control::default().to_string());
    twin.start();
    twin.await_log("ready on lan0");
    chaos.lab.relay.await_counter("drop.name-in-use", before);
    sleep(if long { Duration::from_secs(10) } else { Duration::from_secs(1) });
    twin.await_no_row("symbols", &json!({"state": "up"}));
    twin.terminate();
}

/// A server of control2's port begins on control1, shares, and ends.
fn one_port(chaos: &mut Chaos, _: bool) {
    let lab = &chaos.lab;
    let server = named_server(lab.programs(), 7000, "control1");
    let rule = json!({"port": "eth1", "protocol": "udp", "port_number": 7000, "control": "control1"});
    let _ = lab.relay.await_row("rules", &rule);
    let answers = spread(&lab.client, &format!("udp {PORT_V4} 7000 200 64"));
    for name in ["control1", "control2"] {
        let share = answers.get(name).copied().unwrap_or(0);
        assert!(share >= 40, "{name} has {share} of 200: {answers:?}");
    }
    drop(server);
    eventually(SOON, "control2 has it alone", || {
        let answers = spread(&lab.client, &format!("udp {PORT_V4} 7000 50 64"));
        if answers.len() == 1 && answers.contains_key("control2") {
            Ok(())
        } else {
            Err(format!("{answers:?}"))
        }
    });
    chaos.remark = format!("shared {answers:?}").replace(['{', '}', '"'], "");
}
