//! BIRD 2 on a symbol and BIRD 2 at the port's other end: each routing protocol makes its adjacency and brings routes both
//! ways, whichever was there first, and the symbol's carrier ends it.

use netns_tests::address::*;
use netns_tests::program::Bird;
use netns_tests::{Lab, Layout, Netns, eventually};
use rstest::rstest;
use std::time::{Duration, Instant};

/// Within this time an adjacency is there whose timers are one second.
const ADJACENT: Duration = Duration::from_secs(20);

/// One protocol: its configuration with `IFACE`, `LOCAL`, `REMOTE`, `AS` and `PEER` to be replaced, and its name in BIRD.
struct Case {
    name: &'static str,
    config: &'static str,
    v6: bool,
}

const OSPF_V2: Case = Case {
    name: "ospf2",
    config: "protocol ospf v2 ospf2 { ipv4 { import all; export where source = RTS_STATIC; };
             area 0 { interface \"IFACE\" { type broadcast; hello 1; dead 4; wait 2; retransmit 2; }; }; }",
    v6: false,
};
const OSPF_V3: Case = Case {
    name: "ospf3",
    config: "protocol ospf v3 ospf3 { ipv6 { import all; export where source = RTS_STATIC; };
             area 0 { interface \"IFACE\" { type broadcast; hello 1; dead 4; wait 2; retransmit 2; }; }; }",
    v6: true,
};
const BGP_V4: Case = Case {
    name: "bgp4",
    config: "protocol bgp bgp4 { local LOCAL as AS; neighbor REMOTE as PEER; connect delay time 1;
             connect retry time 1; error wait time 1, 2; ipv4 { import all; export where source = RTS_STATIC; }; }",
    v6: false,
};
const BGP_V6: Case = Case {
    name: "bgp6",
    config: "protocol bgp bgp6 { local LOCAL as AS; neighbor REMOTE as PEER; connect delay time 1;
             connect retry time 1; error wait time 1, 2; ipv6 { import all; export where source = RTS_STATIC; }; }",
    v6: true,
};
const RIP: Case = Case {
    name: "rip4",
    config: "protocol rip rip4 { ipv4 { import all; export where source = RTS_STATIC; };
             interface \"IFACE\" { version 2; update time 1; timeout time 4; garbage time 4; }; }",
    v6: false,
};
const RIPNG: Case = Case {
    name: "rip6",
    config: "protocol rip ng rip6 { ipv6 { import all; export where source = RTS_STATIC; };
             interface \"IFACE\" { update time 1; timeout time 4; garbage time 4; }; }",
    v6: true,
};
/// Its IPv4 routes go by IPv6 packets as well.
const BABEL: Case = Case {
    name: "babel1",
    config: "protocol babel babel1 { ipv4 { import all; export where source = RTS_STATIC; };
             ipv6 { import all; export where source = RTS_STATIC; };
             interface \"IFACE\" { type wired; hello interval 1 s; update interval 2 s; }; }",
    v6: false,
};
const BABEL_V6: Case = Case { v6: true, ..BABEL };

#[rstest]
#[case::ospf_v2(OSPF_V2)]
#[case::ospf_v3(OSPF_V3)]
#[case::bgp_v4(BGP_V4)]
#[case::bgp_v6(BGP_V6)]
#[case::rip(RIP)]
#[case::ripng(RIPNG)]
#[case::babel_v4(BABEL)]
#[case::babel_v6(BABEL_V6)]
fn adjacent_and_routes_both_ways(#[case] case: Case, #[values(false, true)] before_the_symbol: bool) {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    if !before_the_symbol {
        lab.start();
    }
    let started = Instant::now();
    let inside = start(&lab, &case, lab.programs(), Side::Control);
    let outside = start(&lab, &case, &lab.client, Side::Neighbor);
    if before_the_symbol {
        lab.start();
    }
    let (of_control, of_neighbor) = prefixes(&case);
    inside.await_route(case.name, of_neighbor, ADJACENT);
    outside.await_route(case.name, of_control, ADJACENT);
    print(&format!("{} has routes both ways", case.name), started);
}

#[rstest]
#[case::ospf_v2(OSPF_V2)]
#[case::ospf_v3(OSPF_V3)]
fn a_lost_carrier_ends_the_adjacency_at_once(#[case] case: Case) {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.start();
    let inside = start(&lab, &case, lab.programs(), Side::Control);
    let _outside = start(&lab, &case, &lab.client, Side::Neighbor);
    let (_, of_neighbor) = prefixes(&case);
    inside.await_route(case.name, of_neighbor, ADJACENT);
    // The relay's own end stays up: only the cable is out.
    lab.client.ip(&["link set eth0 down"]);
    let lost = Instant::now();
    inside.await_no_route(of_neighbor, ADJACENT);
    print(&format!("{} gave the route up after the loss of the carrier", case.name), lost);
    lab.client.ip(&["link set eth0 up", &format!("addr replace {CLIENT_V6}/64 dev eth0 nodad")]);
    inside.await_route(case.name, of_neighbor, ADJACENT);
}

#[test]
fn stopped_killed_and_started_again() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.start();
    let outside = start(&lab, &OSPF_V2, &lab.client, Side::Neighbor);
    let (of_control, of_neighbor) = prefixes(&OSPF_V2);
    for killed in [false, true] {
        let mut inside = start(&lab, &OSPF_V2, lab.programs(), Side::Control);
        inside.await_route(OSPF_V2.name, of_neighbor, ADJACENT);
        outside.await_route(OSPF_V2.name, of_control, ADJACENT);
        if killed {
            inside.process.kill_9();
            // What it left in the kernel is its successor's to sweep.
        } else {
            let _ = inside.process.terminate(ADJACENT);
        }
        outside.await_no_route(of_control, ADJACENT);
        eventually(ADJACENT, "the relay takes the group away from the port", || {
            let groups = lab.relay_ns.ok("ip maddr show dev eth1");
            if groups.contains("224.0.0.5") { Err(groups) } else { Ok(()) }
        });
        lab.relay.await_rules(&[]);
    }
}

#[derive(Clone, Copy)]
enum Side {
    Control,
    Neighbor,
}

/// What the control and the neighbor announce.
fn prefixes(case: &Case) -> (&'static str, &'static str) {
    if case.v6 { ("2001:db8:a::/48", "2001:db8:b::/48") } else { ("198.51.100.0/25", "198.51.100.128/25") }
}

fn start(lab: &Lab, case: &Case, netns: &Netns, side: Side) -> Bird {
    let (of_control, of_neighbor) = prefixes(case);
    let (inside, outside) = if case.v6 { (PORT_V6, CLIENT_V6) } else { (PORT_V4, CLIENT_V4) };
    let (id, interface, local, remote, number, peer, prefix) = match side {
        Side::Control => ("192.0.2.1", "eth1", inside, outside, "65001", "65002", of_control),
        Side::Neighbor => ("192.0.2.2", "eth0", outside, inside, "65002", "65001", of_neighbor),
    };
    let version = if case.v6 { "ipv6" } else { "ipv4" };
    let protocol = case
        .config
        .replace("IFACE", interface)
        .replace("LOCAL", local)
        .replace("REMOTE", remote)
        .replace("as AS", &format!("as {number}"))
        .replace("as PEER", &format!("as {peer}"));
    let own = format!("protocol static {{ {version}; route {prefix} blackhole; }}\n");
    Bird::start(netns, lab.folder(), id, &(own + &protocol))
}

#[expect(clippy::print_stdout, reason = "measured, not asserted")]
fn print(what: &str, since: Instant) {
    println!("{what}: after {:.1} s", since.elapsed().as_secs_f64());
}
