//! Relays of one control are one router to their neighbours: what arrives at one leaves at the other, straight over the segment.

use netns_tests::address::*;
use netns_tests::joint::{DETOUR_CLIENT_V4, DETOUR_CLIENT_V6, DETOUR_V4, DETOUR_V6};
use netns_tests::program::{Frr, Nginx};
use netns_tests::{Joint, Netns, Ping, SOON, eventually, never};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::time::{Duration, Instant};

/// Adjacency, exchange and installation with timers of a second.
const LEARNT: Duration = Duration::from_secs(40);

/// What the neighbours announce, each its own.
const NEAR: [&str; 2] = ["172.28.0.1", "2001:db8:28::1"];
const FAR: [&str; 2] = ["172.29.0.1", "2001:db8:29::1"];
/// The addresses of the ports where the traffic of `NEAR` arrives.
const INGRESS: [&str; 2] = [PORT_V4, PORT_V6];

/// Neighbours that bear with a minute of silence, as they hear nothing while the control is dead.
fn ospf(interfaces: &[&str], id: &str) -> String {
    let each = |interface: &&str| {
        format!(
            "interface {interface}\n ip ospf area 0\n ip ospf network point-to-point\n ip ospf hello-interval 1\n \
             ip ospf dead-interval 60\n ipv6 ospf6 area 0\n ipv6 ospf6 network point-to-point\n \
             ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 60\n"
        )
    };
    interfaces.iter().map(each).collect::<String>()
        + &format!(
            "interface lo\n ip ospf area 0\n ipv6 ospf6 area 0\nrouter ospf\n ospf router-id {id}\nrouter ospf6\n ospf6 router-id {id}\n"
        )
}

fn has(netns: &Netns, address: &str) -> Result<(), String> {
    let family = if address.contains(':') { "-6" } else { "-4" };
    let shown = netns.run(&format!("ip {family} route show {address} proto ospf")).stdout();
    if shown.is_empty() { Err(netns.run(&format!("ip {family} route")).stdout()) } else { Ok(()) }
}

/// FRR on the control, and on a neighbour at a port of each relay.
struct Neighbours {
    _router: Frr,
    _near: Frr,
    _far: Frr,
}

impl Neighbours {
    #[track_caller]
    fn start(joint: &Joint) -> Self {
        for (netns, [v4, v6]) in [(&joint.lab.client, NEAR), (&joint.client2, FAR)] {
            netns.ip(&[&format!("addr add {v4}/32 dev lo"), &format!("addr add {v6}/128 dev lo")]);
        }
        let folder = joint.lab.folder();
        let daemons = ["ospfd", "ospf6d"];
        let neighbours = Self {
            _router: Frr::start(joint.lab.programs(), folder, &daemons, &ospf(&["eth1", "eth2"], "1.1.1.1")),
            _near: Frr::start(&joint.lab.client, folder, &daemons, &ospf(&["eth0"], "8.8.8.8")),
            _far: Frr::start(&joint.client2, folder, &daemons, &ospf(&["eth0"], "9.9.9.9")),
        };
        for version in [0, 1] {
            eventually(LEARNT, "the neighbours know each other's networks", || {
                has(&joint.lab.client, FAR[version]).and_then(|()| has(&joint.client2, NEAR[version]))
            });
            joint.await_route(0, FAR[version], "dev l2to1");
            joint.await_route(1, NEAR[version], "dev l2to1");
        }
        neighbours
    }
}

#[track_caller]
fn reaches(from: &Netns, to: &str, own: &str) {
    eventually(SOON, &format!("{to} answers"), || {
        from.run(&format!("ping -n -c 1 -W 1 -I {own} {to}")).into_result().map(drop)
    });
}

#[test]
fn neighbours_at_two_relays_see_one_router_even_without_the_control() {
    let Some(mut joint) = Joint::up(|_, _, _| {}) else { return };
    let neighbours = Neighbours::start(&joint);
    for version in [0, 1] {
        reaches(&joint.lab.client, FAR[version], NEAR[version]);
        // One hop, whose address is that of the port where it came in.
        let shown = joint
            .lab
            .client
            .ok(&format!("traceroute -n -q 1 -w 2 -m 5 -s {} {}", NEAR[version], FAR[version]));
        let hops: Vec<&str> =
            shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, [INGRESS[version], FAR[version]], "{shown}");
    }
    transfers(&joint);

    // The control dies, and nobody notices.
    let pings: Vec<Ping> = (0..2).map(|version| Ping::start(&joint.lab.client, FAR[version])).collect();
    joint.lab.control.kill_9();
    std::thread::sleep(Duration::from_secs(2));
    transfers(&joint);
    for version in [0, 1] {
        reaches(&joint.client2, NEAR[version], FAR[version]);
    }
    joint.lab.control.start();
    joint.await_up();
    for (relay, control) in [(&joint.lab.relay, "control1"), (&joint.relay2, "control1")] {
        let _ = relay.await_row("peers", &json!({"name": control, "state": "up"}));
    }
    std::thread::sleep(Duration::from_secs(1));
    pings.into_iter().for_each(|ping| ping.lost_nothing(200));
    drop(neighbours);
}

/// Some megabytes go both ways over TCP, none of them by the control.
#[track_caller]
fn transfers(joint: &Joint) {
    let before = joint.packets_at_control();
    for (version, socat) in [(0, "TCP4"), (1, "TCP6")] {
        let receiver =
            joint.client2.spawn(&format!("socat -u {socat}-LISTEN:5000,reuseaddr SYSTEM:sha256sum"));
        joint.client2.await_listener("tcp", 5000);
        let bracketed = if version == 0 { FAR[0].to_owned() } else { format!("[{}]", FAR[1]) };
        let file = joint.lab.folder().join("data");
        let mut data = vec![0_u8; 16 << 20];
        data.chunks_mut(8).zip(0_u64..).for_each(|(chunk, n)| chunk.copy_from_slice(&n.to_be_bytes()));
        std::fs::write(&file, data).expect("write the data");
        let sum = joint.lab.client.ok(&format!("sha256sum {}", file.display()));
        let sum = sum.split_whitespace().next().expect("a sum").to_owned();
        let _ =
            joint.lab.client.ok(&format!("socat -u OPEN:{},rdonly {socat}:{bracketed}:5000", file.display()));
        let _ = receiver.await_log(&sum, SOON);
    }
    // 32 MiB are some 20,000 packets of the segment's MTU; what remains is liveness and OSPF.
    let taken = joint.packets_at_control() - before;
    assert!(taken < 2_000, "{taken} packets at the control");
}

/// A network behind the far client, by way of the second relay, and with another metric by way of the first one alone.
const BEHIND: [(&str, &str); 2] = [("198.51.100.0/24", "198.51.100.1"), ("2001:db8:2::/48", "2001:db8:2::1")];

#[track_caller]
fn two_ways(joint: &Joint) {
    let (near, far) = (&joint.lab.client, &joint.client2);
    for (prefix, address) in BEHIND {
        far.ip(&[&format!("addr add {address} dev lo")]);
        let port = if prefix.contains(':') { PORT_V6 } else { PORT_V4 };
        near.ip(&[&format!("route add {prefix} via {port}")]);
    }
    far.ip(&[
        &format!("route add default via {PORT2_V4} metric 10"),
        &format!("route add default via {PORT2_V6} metric 10"),
        &format!("route add 192.0.2.0/24 via {DETOUR_V4}"),
        &format!("route add 2001:db8:1::/64 via {DETOUR_V6}"),
    ]);
    joint.lab.programs().ip(&[
        &format!("route add {} via {CLIENT2_V4} metric 10", BEHIND[0].0),
        &format!("route add {} via {DETOUR_CLIENT_V4} metric 20", BEHIND[0].0),
        &format!("route add {} via {CLIENT2_V6} metric 10", BEHIND[1].0),
        &format!("route add {} via {DETOUR_CLIENT_V6} metric 20", BEHIND[1].0),
    ]);
    for (prefix, _) in BEHIND {
        joint.await_route(0, prefix, "dev l2to1 ");
        joint.await_route(0, prefix, "dev eth3 ");
        let row = json!({"prefix": prefix, "metric": 10, "state": "installed", "control": "control1"});
        let shown = joint.lab.relay.await_row("routes", &row);
        assert_eq!(
            (&shown["nexthops"][0]["relay"], &shown["nexthops"][0]["port"]),
            (&json!("relay2"), &json!("eth2"))
        );
    }
}

#[test]
fn a_lost_relay_is_out_of_use_in_time_and_back_without_the_control() {
    let Some(mut joint) = Joint::up(|_, _, _| {}) else { return };
    two_ways(&joint);
    let _ = joint.lab.relay.l2ctl("verify").expect_success();
    for (_, address) in BEHIND {
        reaches(&joint.lab.client, address, "eth0");
    }
    joint.lab.control.kill_9();
    // Lost and back: stopped for a while, it keeps its memory.
    joint.relay2.process().signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    eventually(SOON, "the routes by the lost relay are withdrawn", || {
        let shown = joint.lab.relay_ns.run("ip route show dev l2to1").stdout();
        let links = joint.lab.relay_ns.ok("ip -br link");
        if shown.is_empty() && !links.contains("l2to1") { Ok(()) } else { Err(shown) }
    });
    // Three keepalives of 100 ms, and what a busy machine takes.
    assert!(stopped.elapsed() < Duration::from_millis(1_500), "{:?}", stopped.elapsed());
    for (_, address) in BEHIND {
        reaches(&joint.lab.client, address, "eth0");
    }
    let refused = json!({"prefix": "203.0.113.0/24", "state": "refused"});
    let row = joint.lab.relay.await_row("routes", &refused);
    assert!(
        row["reason"].as_str().is_some_and(|reason| reason.contains("no session with relay relay2")),
        "{row}"
    );
    joint.relay2.process().signal(Signal::SIGCONT);
    joint.await_joined();
    for (prefix, address) in BEHIND {
        joint.await_route(0, prefix, "dev l2to1 ");
        reaches(&joint.lab.client, address, "eth0");
    }
    // Killed, it has forgotten whom it knew, until the control tells it again.
    joint.relay2.kill_9();
    eventually(SOON, "the routes by the killed relay are withdrawn", || {
        let shown = joint.lab.relay_ns.run("ip route show dev l2to1").stdout();
        if shown.is_empty() { Ok(()) } else { Err(shown) }
    });
    joint.relay2.start();
    joint.lab.control.start();
    joint.await_up();
    for (prefix, address) in BEHIND {
        joint.await_route(0, prefix, "dev l2to1 ");
        reaches(&joint.lab.client, address, "eth0");
    }
}

#[test]
fn a_control_that_is_gone_for_good_takes_the_relays_apart() {
    let joint = Joint::up(|relay, relay2, _| {
        relay.routes = "hold_seconds = 2".into();
        relay2.routes.clone_from(&relay.routes);
    });
    let Some(mut joint) = joint else { return };
    two_ways(&joint);
    joint.lab.control.kill_9();
    for netns in [&joint.lab.relay_ns, &joint.relay2_ns] {
        eventually(SOON, "nothing leads to the other relay", || {
            let links = netns.ok("ip -br link");
            let routes = netns.ok("ip route show proto 108");
            if links.contains("l2to") || !routes.is_empty() {
                Err(format!("{links}{routes}"))
            } else {
                Ok(())
            }
        });
    }
    never(Duration::from_secs(3), "the relays meet again", || {
        let peers = joint.lab.relay.show("peers")?;
        let met = peers.iter().any(|peer| peer["role"] == "relay" && peer["state"] == "up");
        if met { Err(format!("{peers:?}")) } else { Ok(()) }
    });
    joint.lab.control.start();
    joint.await_up();
    joint.await_route(0, BEHIND[0].0, "dev l2to1 ");
    // In order, everything goes at once.
    joint.lab.relay.terminate();
    joint.relay2.terminate();
    for netns in [&joint.lab.relay_ns, &joint.relay2_ns] {
        let left =
            netns.ok("ip -br link") + &netns.ok("ip route show proto 108") + &netns.ok("nft list ruleset");
        assert!(!left.contains("l2to") && !left.contains("proto 108") && !left.contains("l2relay"), "{left}");
    }
}

#[rstest]
#[case::v4(0, "-4")]
#[case::v6(1, "-6")]
fn what_is_too_large_for_the_far_port_is_answered_by_the_near_one(
    #[case] version: usize,
    #[case] family: &str,
) {
    let Some(joint) = Joint::up(|_, _, _| {}) else { return };
    two_ways(&joint);
    for (netns, interface) in [(&*joint.lab.relay_ns, "eth1"), (&joint.lab.client, "eth0")] {
        netns.ip(&[&format!("link set {interface} mtu 9000")]);
    }
    let address = BEHIND[version].1;
    let refused =
        || joint.lab.client.run(&format!("ping {family} -n -c 1 -W 1 -M do -s 4000 {address}")).stdout();
    eventually(SOON, "the path's MTU is told", || {
        let said = refused();
        let told = said.contains("mtu = 1500") || said.contains("mtu: 1500") || said.contains("mtu=1500");
        if told { Ok(()) } else { Err(said) }
    });
    // What may be cut, and what fits, comes through.
    let _ = joint.lab.client.ok(&format!("ping {family} -n -c 1 -W 2 -M dont -s 4000 {address}"));
    // A smaller one at the far port follows.
    for (netns, interface) in [(&*joint.relay2_ns, "eth2"), (&joint.client2, "eth0")] {
        netns.ip(&[&format!("link set {interface} mtu 1400")]);
    }
    joint.await_route(0, BEHIND[version].0, "mtu 1400");
}

#[test]
fn the_other_relays_port_answers_and_serves_as_if_it_were_here() {
    let Some(joint) = Joint::up(|_, _, _| {}) else { return };
    two_ways(&joint);
    let near = &joint.lab.client;
    near.ip(&[
        &format!("route add 203.0.113.0/24 via {PORT_V4}"),
        &format!("route add 2001:db8:3::/64 via {PORT_V6}"),
    ]);
    for address in [PORT2_V4, PORT2_V6] {
        reaches(near, address, "eth0");
    }
    // A server of the control is reached at the port of a relay by way of the other one.
    let listen = [format!("{PORT2_V4}:80"), format!("[{PORT2_V6}]:80")];
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let _nginx = Nginx::start(joint.lab.programs(), joint.lab.folder(), &listen);
    for url in [format!("http://{PORT2_V4}/"), format!("http://[{PORT2_V6}]/")] {
        eventually(SOON, &format!("{url} is served"), || {
            near.run(&format!("curl -sSf -m 5 {url}")).into_result().map(drop)
        });
    }
    // Nobody listens there, and nobody says so, as at any port.
    let silent = near.run(&format!("curl -sS -m 1 http://{PORT2_V4}:81/"));
    assert_eq!(silent.code(), Some(28), "{}", silent.stderr());
}

#[test]
fn an_interface_to_a_relay_that_somebody_removes_comes_again() {
    let Some(joint) = Joint::up(|_, _, _| {}) else { return };
    two_ways(&joint);
    for change in ["link del l2to1", "link set l2to1 down"] {
        joint.lab.relay_ns.ip(&[change]);
        for (prefix, address) in BEHIND {
            joint.await_route(0, prefix, "dev l2to1 ");
            reaches(&joint.lab.client, address, "eth0");
        }
    }
}

#[test]
fn a_packet_from_a_relay_never_goes_to_a_relay() {
    let Some(joint) = Joint::up(|_, _, _| {}) else { return };
    two_ways(&joint);
    let lost = [("198.18.99.0/24", "198.18.99.1"), ("2001:db8:99::/48", "2001:db8:99::1")];
    // Somebody sets routes by hand that send it to and fro.
    for netns in [&joint.lab.relay_ns, &joint.relay2_ns] {
        netns.ip(&[
            &format!("route add {} via 192.0.0.8 dev l2to1 onlink", lost[0].0),
            &format!("route add {} via fe80::1 dev l2to1", lost[1].0),
        ]);
    }
    for ((prefix, address), port) in lost.into_iter().zip([PORT_V4, PORT_V6]) {
        joint.lab.client.ip(&[&format!("route add {prefix} via {port}")]);
        let before = joint.relay2.counter("drop.relay-loop");
        eventually(SOON, &format!("a packet to {prefix} is dropped"), || {
            let _ = joint.lab.client.run(&format!("ping -n -c 1 -W 1 {address}"));
            match joint.relay2.counter("drop.relay-loop") - before {
                0 => Err("none was".to_owned()),
                1 => Ok(()),
                several => panic!("one packet was dropped {several} times"),
            }
        });
        assert_eq!(joint.lab.relay.counter("drop.relay-loop"), 0, "{prefix}");
    }
}
