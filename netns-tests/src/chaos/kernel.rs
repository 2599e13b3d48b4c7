//! Faults of what is in the kernels: somebody takes our things away, or moves the ports.

use super::{Chaos, Fault, Spares};
use crate::address::*;
use crate::lab::{cable, number};
use crate::{Download, SOON, eventually};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        bounded: true,
        spares: Spares::Healthy,
        strike: routes,
        ..Fault::named("routes deleted by another tool")
    },
    Fault { strike: rules, ..Fault::named("routing rules deleted by another tool") },
    Fault {
        bounded: true,
        spares: Spares::Transit,
        strike: table,
        ..Fault::named("nftables flushed by another tool")
    },
    Fault {
        spares: Spares::Healthy,
        strike: device,
        ..Fault::named("symbol's device deleted by another tool")
    },
    Fault { spares: Spares::Healthy, strike: removed, ..Fault::named("port removed and made anew") },
    Fault { spares: Spares::Healthy, strike: renamed, ..Fault::named("port renamed and back") },
    Fault { spares: Spares::Healthy, strike: bridged, ..Fault::named("port moved into a bridge and back") },
    Fault { spares: Spares::Healthy, strike: port_flap, ..Fault::named("port flapping 10 times a second") },
];

fn routes(chaos: &mut Chaos, _: bool) {
    let ours = chaos.lab.relay_ns.ok("ip route show proto 108");
    assert!(!ours.is_empty(), "no route to delete");
    chaos.lab.relay_ns.ok("ip route flush table main proto 108");
}

fn rules(chaos: &mut Chaos, _: bool) {
    let ours = chaos.programs2.ok("ip rule");
    assert!(ours.contains("1080"), "no rule to delete: {ours}");
    for priority in [10801, 10802, 10803] {
        for netns in [chaos.lab.programs(), &chaos.programs2] {
            // As many as there are of this priority.
            while netns.run(&format!("ip rule del priority {priority}")).success() {}
        }
    }
}

/// Until the table is back the relay's kernel resets connections of which it gets a packet: that is told, and no more.
fn table(chaos: &mut Chaos, _: bool) {
    let ours = chaos.lab.relay_ns.ok("nft list tables");
    assert!(ours.contains("l2relay"), "no table to delete: {ours}");
    let url = format!("http://{PORT_V4}/large");
    let mut fast = Download::start(chaos.lab.client.command("curl").args(["-sSf", &url]));
    fast.await_begin();
    let flushed = Instant::now();
    chaos.lab.relay_ns.ok("nft flush ruleset");
    eventually(SOON, "the table is back", || match chaos.lab.relay_ns.ok("nft list tables") {
        tables if tables.contains("l2relay") => Ok(()),
        tables => Err(tables),
    });
    let took = flushed.elapsed().as_millis();
    sleep(Duration::from_millis(500));
    let end = if fast.is_running() { "went on" } else { "broke off" };
    chaos.remark = format!("back after {took} ms, commands included; a download at full speed {end}");
}

fn device(chaos: &mut Chaos, _: bool) {
    chaos.lab.programs().ip(&["link del eth2"]);
}

/// The second port, by which transit comes in.
fn removed(chaos: &mut Chaos, _: bool) {
    let lab = &chaos.lab;
    lab.relay_ns.ip(&["link del eth2"]);
    sleep(Duration::from_secs(1));
    cable(&lab.relay_ns, "eth2", lab.client2(), "eth0");
    number(&lab.relay_ns, "eth2", PORT2_V4, PORT2_V6);
    number(lab.client2(), "eth0", CLIENT2_V4, CLIENT2_V6);
    lab.client2()
        .ip(&[&format!("route add default via {PORT2_V4}"), &format!("route add default via {PORT2_V6}")]);
}

fn renamed(chaos: &mut Chaos, _: bool) {
    let relay = &chaos.lab.relay_ns;
    relay.ip(&["link set eth2 down", "link set eth2 name other", "link set other up"]);
    sleep(Duration::from_secs(1));
    relay.ip(&["link set other down", "link set other name eth2", "link set eth2 up"]);
    // The kernel takes IPv6 addresses from an interface that goes down.
    relay.ip(&[&format!("addr replace {PORT2_V6}/64 dev eth2 nodad")]);
}

fn bridged(chaos: &mut Chaos, _: bool) {
    let relay = &chaos.lab.relay_ns;
    relay.ip(&["link add br9 type bridge", "link set br9 up", "link set eth2 master br9"]);
    sleep(Duration::from_secs(2));
    relay.ip(&["link set eth2 nomaster", "link del br9"]);
}

fn port_flap(chaos: &mut Chaos, long: bool) {
    for _ in 0..if long { 100 } else { 20 } {
        for state in ["down", "up"] {
            chaos.lab.client2().ip(&[&format!("link set eth0 {state}")]);
            sleep(Duration::from_millis(50));
        }
    }
    // The kernel takes what depends on an interface that goes down.
    chaos.lab.client2().ip(&[
        &format!("addr replace {CLIENT2_V6}/64 dev eth0 nodad"),
        &format!("route replace default via {PORT2_V4}"),
        &format!("route replace default via {PORT2_V6}"),
    ]);
}
