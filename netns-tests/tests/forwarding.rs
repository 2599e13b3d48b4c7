//! Packets from port to port are the relay's kernel's, and it is an ordinary router to the clients.

use netns_tests::address::*;
use netns_tests::config::{Port, Relay};
use netns_tests::{Daemon, Lab, Layout, Ping, Process, SOON, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::fs;

/// Networks behind the second client.
const FAR: &str = "10.2.0.1";
const FAR6: &str = "2001:db8:b2::1";

/// A router with routes to the networks behind the second client.
fn routed() -> Option<Lab> {
    let lab = Lab::router(|_, _| {})?;
    lab.client2().ip(&[&format!("addr add {FAR}/32 dev lo"), &format!("addr add {FAR6}/128 dev lo")]);
    lab.programs().ip(&[
        &format!("route add 10.2.0.0/16 via {CLIENT2_V4}"),
        &format!("route add 2001:db8:b2::/48 via {CLIENT2_V6}"),
    ]);
    for prefix in ["10.2.0.0/16", "2001:db8:b2::/48"] {
        lab.await_route_state(prefix, "installed");
    }
    Some(lab)
}

/// `tcpdump` of all that an interface carries.
fn capture(lab: &Lab, interface: &str, file: &str) -> Process {
    let path = lab.folder().join(file);
    let process = lab
        .relay_ns
        .spawn(&format!("tcpdump -n -U --immediate-mode -s 0 -i {interface} -w {}", path.display()));
    let _ = process.await_log("listening on", SOON);
    process
}

/// Packets of a capture in which these bytes are.
fn with_mark(lab: &Lab, file: &str, mark: &[u8]) -> usize {
    let bytes = fs::read(lab.folder().join(file)).expect("a capture");
    // A file of libpcap: a header of 24 bytes, then packets of 16 bytes header, whose third word is the captured length.
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut count = 0;
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        let packet = &rest[16..(16 + length).min(rest.len())];
        count += usize::from(packet.windows(mark.len()).any(|window| window == mark));
        rest = &rest[16 + packet.len()..];
    }
    count
}

#[test]
fn transit_never_crosses_the_segment() {
    let Some(lab) = routed() else { return };
    let captures = [capture(&lab, "lan0", "segment.pcap"), capture(&lab, "eth2", "port.pcap")];
    let data = |daemon: &Daemon| daemon.counter("rx.DATA.frames");
    let before = (data(&lab.relay), data(&lab.control));
    for far in [FAR, FAR6] {
        let answered = lab.client.ok(&format!("ping -n -c 50 -i 0.01 -s 64 -p 7472616e73697421 {far}"));
        assert!(answered.contains(" 0% packet loss"), "{answered}");
    }
    let mark = b"transit!transit!";
    eventually(SOON, "requests and answers pass the port", || match with_mark(&lab, "port.pcap", mark) {
        200 => Ok(()),
        count => Err(format!("{count} packets")),
    });
    for mut capture in captures {
        capture.signal(Signal::SIGINT);
        let _ = capture.wait(SOON);
    }
    assert_eq!(with_mark(&lab, "segment.pcap", mark), 0);
    // Neighbour discovery does cross it.
    let after = (data(&lab.relay), data(&lab.control));
    assert!(after.0 < before.0 + 20 && after.1 < before.1 + 20, "{before:?} {after:?}");
}

#[rstest]
#[case::v4(FAR, PORT_V4, "-4")]
#[case::v6(FAR6, PORT_V6, "-6")]
fn traceroute_shows_an_ordinary_hop(#[case] far: &str, #[case] hop: &str, #[case] version: &str) {
    let Some(lab) = routed() else { return };
    let shown = lab.client.ok(&format!("traceroute {version} -n -w 2 -q 1 {far}"));
    let hops: Vec<_> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, [hop, far], "{shown}");
    let shown = lab.client.ok(&format!("tracepath {version} -n {far}"));
    assert!(
        shown.contains(hop) && shown.contains(&format!("{far} ")) && shown.contains("reached"),
        "{shown}"
    );
}

#[rstest]
#[case::v4(FAR, PORT_V4, "-4")]
#[case::v6(FAR6, PORT_V6, "-6")]
fn a_small_mtu_behind_the_relay_is_learnt(#[case] far: &str, #[case] hop: &str, #[case] version: &str) {
    let Some(lab) = routed() else { return };
    lab.relay_ns.ip(&["link set eth2 mtu 1300"]);
    lab.client2().ip(&["link set eth0 mtu 1300"]);
    let refused = lab.client.run(&format!("ping {version} -n -M do -s 1400 -c 2 -W 1 {far}"));
    let said = format!("{}{}", refused.stdout(), refused.stderr());
    assert!(!refused.success() && said.contains("1300") && said.contains(hop), "{said}");
    let route = lab.client.ok(&format!("ip route get {far}"));
    assert!(route.contains("mtu 1300"), "{route}");
    let shown = lab.client.ok(&format!("tracepath {version} -n {far}"));
    assert!(shown.contains("pmtu 1300") && shown.contains("reached"), "{shown}");
}

#[rstest]
#[case::v4("10.3.0.1", "via 192.0.2.3")]
#[case::v6("2001:db8:b3::1", "via fe80::3")]
fn a_better_router_on_the_same_link_is_told(#[case] far: &str, #[case] learnt: &str) {
    let Some(lab) = routed() else { return };
    // A second router on the first port's link, behind a bridge that the client's cable becomes part of.
    let other = lab.netns("other");
    let bridge = lab.netns("bridge");
    lab.client.ip(&[&format!("link set eth0 netns {}", bridge.name())]);
    // Only the link-local address of one's own gateway can redirect (RFC 4861, section 8.1).
    let shown = lab.relay_ns.ok("ip -6 -brief addr show dev eth1 scope link");
    let router = shown.split_whitespace().find_map(|word| word.strip_suffix("/64")).expect("an address");
    bridge.ip(&["link add br0 type bridge", "link set br0 up", "link set eth0 master br0 up"]);
    for (netns, cable, v4, v6) in [
        (&lab.client, "cable1", "192.0.2.2", "2001:db8:1::2"),
        (&other, "cable2", "192.0.2.3", "2001:db8:1::3"),
    ] {
        bridge.ip(&[
            &format!("link add {cable} type veth peer name eth0 netns {}", netns.name()),
            &format!("link set {cable} master br0 up"),
        ]);
        netns.ip(&[
            "link set eth0 up",
            &format!("addr add {v4}/24 dev eth0"),
            &format!("addr add {v6}/64 dev eth0 nodad"),
            &format!("route add default via {PORT_V4}"),
            &format!("route add default via {router} dev eth0"),
        ]);
    }
    other.ip(&[
        "addr add 10.3.0.1/32 dev lo",
        "addr add 2001:db8:b3::1/128 dev lo",
        "addr add fe80::3/64 dev eth0 nodad",
    ]);
    lab.programs()
        .ip(&["route add 10.3.0.0/16 via 192.0.2.3", "route add 2001:db8:b3::/48 via fe80::3 dev eth1"]);
    for prefix in ["10.3.0.0/16", "2001:db8:b3::/48"] {
        lab.await_route_state(prefix, "installed");
    }
    lab.client.sysctl("net.ipv4.conf.all.accept_redirects=1");
    eventually(SOON, "the client goes by the other router itself", || {
        lab.client.run(&format!("ping -n -c 1 -W 1 {far}")).into_result()?;
        let route = lab.client.ok(&format!("ip route get {far}"));
        if route.contains(learnt) { Ok(()) } else { Err(route) }
    });
}

/// Settings that are the relay's while its controls may route.
const SWITCHES: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

fn settings(lab: &Lab) -> String {
    let names = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.lan0.accept_ra \
                 net.ipv4.conf.lan0.forwarding net.ipv6.conf.eth1.accept_ra net.ipv6.conf.eth1.forwarding";
    lab.relay_ns.ok(&format!("sysctl {names}"))
}

#[rstest]
#[case::in_order(false)]
#[case::after_a_crash(true)]
fn forwarding_is_on_while_the_relay_is_there(#[case] crash: bool) {
    let Some(mut lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    lab.relay.configure(&Relay::router().to_string());
    let before = settings(&lab);
    assert!(before.contains("ip_forward = 0") && before.contains("lan0.accept_ra = 1"), "{before}");
    lab.relay.start();
    lab.relay.await_log("ready on lan0");
    let meanwhile = settings(&lab);
    for switch in SWITCHES {
        assert!(meanwhile.contains(&format!("{switch} = 1")), "{meanwhile}");
    }
    assert!(
        meanwhile.contains("lan0.accept_ra = 2") && meanwhile.contains("eth1.accept_ra = 1"),
        "{meanwhile}"
    );
    if crash {
        lab.relay.kill_9();
        assert_eq!(settings(&lab), meanwhile, "transit goes on without the daemon");
        lab.relay.start();
        lab.relay.await_row("ports", &serde_json::json!({"name": "eth1"}));
    }
    // For a successor everything stays, and the successor knows what was before.
    lab.relay.leave();
    assert_eq!(settings(&lab), meanwhile);
    lab.relay.start();
    lab.relay.await_row("ports", &serde_json::json!({"name": "eth1"}));
    lab.relay.terminate();
    assert_eq!(settings(&lab), before);
}

#[rstest]
#[case::nobody_may_route(Relay { ports: vec![Port::new("eth1"), Port::new("eth2")], ..Relay::default() })]
#[case::switched_off(Relay { routes: "forwarding = false".into(), ..Relay::router() })]
fn forwarding_stays_as_it_is(#[case] relay: Relay) {
    let Some(mut lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    lab.relay.configure(&relay.to_string());
    let before = settings(&lab);
    lab.relay.start();
    lab.relay.await_row("ports", &serde_json::json!({"name": "eth1"}));
    assert_eq!(settings(&lab), before);
}

#[test]
fn transit_goes_on_through_both_deaths() {
    let Some(mut lab) = routed() else { return };
    let ping = Ping::start(&lab.client, FAR);
    lab.control.kill_9();
    lab.relay.kill_9();
    lab.relay.start();
    lab.control.start();
    lab.await_symbols();
    lab.await_route_state("10.2.0.0/16", "installed");
    ping.lost_nothing(10);
}
