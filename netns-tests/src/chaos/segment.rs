//! Faults of the segment.

use super::plan::{ETHERNET_HEADER, OURS, VERSION};
use super::wire::Wire;
use super::{Chaos, Fault, Plan, Spares};
use crate::path::is_clear;
use crate::{Netns, SOON, eventually};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) const FAULTS: &[Fault] = &[
    Fault { strike: |chaos, long| plan(chaos, long, |plan| plan.loss = 1), ..Fault::named("loss of 1 %") },
    Fault { strike: |chaos, long| plan(chaos, long, |plan| plan.loss = 5), ..Fault::named("loss of 5 %") },
    Fault {
        bounded: true,
        strike: |chaos, long| plan(chaos, long, |plan| plan.loss = 20),
        ..Fault::named("loss of 20 %")
    },
    Fault { strike: |chaos, long| plan(chaos, long, |plan| plan.loss = 50), ..Fault::named("loss of 50 %") },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.burst = 1),
        ..Fault::named("bursts of 20 lost")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.reorder = 25),
        ..Fault::named("reordering of 25 %")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.duplicate = 20),
        ..Fault::named("duplication of 20 %")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.delay = Duration::from_millis(50)),
        ..Fault::named("delay of 0 to 50 ms")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.corrupt = 20),
        ..Fault::named("one wrong bit in 20 %")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.truncate = 20),
        ..Fault::named("20 % truncated")
    },
    Fault {
        bounded: true,
        strike: |chaos, long| plan(chaos, long, everything),
        ..Fault::named("all of these together")
    },
    Fault { bounded: true, strike: storm, ..Fault::named("storm") },
    Fault { bounded: true, strike: every_length, ..Fault::named("every length from 0 to 9216") },
    Fault { strike: every_ethertype, ..Fault::named("every EtherType") },
    Fault {
        bounded: true,
        strike: |chaos, long| plan(chaos, long, |plan| plan.blackhole = [true; 2]),
        ..Fault::named("blackhole")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.blackhole = [true, false]),
        ..Fault::named("blackhole to the control")
    },
    Fault {
        strike: |chaos, long| plan(chaos, long, |plan| plan.blackhole = [false, true]),
        ..Fault::named("blackhole to the relay")
    },
    Fault { bounded: true, strike: flap, ..Fault::named("link flapping 10 times a second") },
    Fault { bounded: true, strike: mtu, ..Fault::named("MTU 1500, 1280, 9000") },
    Fault { strike: renumber, ..Fault::named("renumbering the segment") },
    Fault {
        strike: |chaos, _| other_mac(chaos, Side::Control),
        ..Fault::named("another MAC of the control")
    },
    Fault {
        strike: |chaos, _| other_mac(chaos, Side::Relay),
        spares: Spares::Transit,
        ..Fault::named("another MAC of the relay")
    },
];

fn pause(long: bool) {
    sleep(if long { Duration::from_secs(10) } else { Duration::from_millis(1_500) });
}

pub(crate) fn plan(chaos: &mut Chaos, long: bool, change: impl FnOnce(&mut Plan)) {
    let mut plan = Plan::default();
    change(&mut plan);
    if is_clear() {
        // Nothing but a seal tells of a wrong bit, unless a network card does, which drops the frame.
        plan.loss += core::mem::take(&mut plan.corrupt);
    }
    chaos.wire.set(plan);
    pause(long);
}

fn everything(plan: &mut Plan) {
    *plan = Plan {
        loss: 5,
        burst: 1,
        reorder: 25,
        duplicate: 20,
        delay: Duration::from_millis(20),
        corrupt: 5,
        truncate: 5,
        ..Plan::default()
    };
}

fn storm(chaos: &mut Chaos, long: bool) {
    let before = chaos.wire.counts().made;
    plan(chaos, long, |plan| plan.storm = 100_000);
    // The wire says how many it could make.
    let made = chaos.wire.counts().made - before;
    assert!(made > 5_000, "a storm of {made} frames is none");
}

/// Waits until the wire has sent all that was given to it.
fn drain(wire: &Wire, made: u64) {
    eventually(SOON * 3, "the wire sends what it was given", || match wire.counts().made {
        now if now >= made => Ok(()),
        now => Err(format!("{now} of {made}")),
    });
}

fn every_length(chaos: &mut Chaos, _: bool) {
    set_mtu(chaos, 9216);
    let before = chaos.wire.counts().made;
    let lengths = 9217;
    for (direction, to) in stations(chaos).into_iter().enumerate() {
        for length in 0..lengths {
            // The version of the link header is right in every second one, the rest is a pattern.
            let mut frame = [&to[..], &[2, 0xba, 0xd0, 0, 0, 1], &OURS].concat();
            frame.resize(ETHERNET_HEADER + length, 0x5a);
            if length > 0 && length % 2 == 0 {
                frame[ETHERNET_HEADER] = VERSION;
            }
            chaos.wire.inject(direction, frame);
        }
    }
    drain(&chaos.wire, before + 2 * lengths as u64);
    set_mtu(chaos, 1500);
}

fn every_ethertype(chaos: &mut Chaos, _: bool) {
    let before = chaos.wire.counts().made;
    for (direction, to) in stations(chaos).into_iter().enumerate() {
        for ethertype in (0..=u16::MAX).step_by(3) {
            let mut frame = [&to[..], &[2, 0xba, 0xd0, 0, 0, 1], &ethertype.to_be_bytes()].concat();
            frame.resize(60, 0xa5);
            chaos.wire.inject(direction, frame);
        }
    }
    drain(&chaos.wire, before + 2 * 21_846);
}

/// Who is reached in each direction: control1, then the relay.
fn stations(chaos: &Chaos) -> [[u8; 6]; 2] {
    [&chaos.lab.control_ns, &chaos.lab.relay_ns].map(|netns| super::lab::mac(netns))
}

fn flap(chaos: &mut Chaos, long: bool) {
    let end = Instant::now() + Duration::from_secs(if long { 10 } else { 2 });
    while Instant::now() < end {
        for state in ["down", "up"] {
            chaos.wire_ns.ip(&[&format!("link set w0 {state}"), &format!("link set w1 {state}")]);
            sleep(Duration::from_millis(50));
        }
    }
}

fn set_mtu(chaos: &Chaos, mtu: u32) {
    for netns in ends(chaos) {
        netns.ip(&[&format!("link set lan0 mtu {mtu}")]);
    }
}

fn mtu(chaos: &mut Chaos, long: bool) {
    for mtu in [1280, 9000, 1500] {
        set_mtu(chaos, mtu);
        pause(long);
    }
}

fn renumber(chaos: &mut Chaos, _: bool) {
    let addresses = ends(chaos).map(|netns| netns.ip_json("addr show lan0"));
    for round in 0..10 {
        for (host, netns) in ends(chaos).into_iter().enumerate() {
            netns.ip(&[
                "addr flush dev lan0",
                &format!("addr add 10.{}.0.{}/24 dev lan0", 20 + round, host + 1),
            ]);
        }
        sleep(Duration::from_millis(100));
    }
    for (netns, before) in ends(chaos).into_iter().zip(addresses) {
        netns.ip(&["addr flush dev lan0"]);
        for address in before[0]["addr_info"].as_array().into_iter().flatten() {
            let (local, length) = (address["local"].as_str().unwrap_or_default(), &address["prefixlen"]);
            netns.ip(&[&format!("addr add {local}/{length} dev lan0")]);
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Relay,
    Control,
}

fn other_mac(chaos: &mut Chaos, side: Side) {
    let netns = match side {
        Side::Relay => &chaos.lab.relay_ns,
        Side::Control => &chaos.lab.control_ns,
    };
    let before = super::lab::mac(netns).map(|byte| format!("{byte:02x}")).join(":");
    for address in ["02:00:00:00:00:77", &before] {
        netns.ip(&[&format!("link set lan0 address {address}")]);
        sleep(Duration::from_secs(1));
    }
}

/// All three machines on the segment.
fn ends(chaos: &Chaos) -> [&Netns; 3] {
    [&chaos.lab.relay_ns, &chaos.lab.control_ns, &chaos.control2_ns]
}
