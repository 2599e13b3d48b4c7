//! Programs that serve or find the neighbors of a port: LLDP, DHCP and router advertisements, on a symbol and with one.

use netns_tests::address::*;
use netns_tests::config::{Control, Symbol};
use netns_tests::program::{Lldpd, dhclient, dhcp_server, radvd};
use netns_tests::{Lab, Layout, Netns, SOON, eventually};
use rstest::rstest;
use std::time::Duration;

/// A DHCP client asks again after some seconds, not at once.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

#[test]
fn lldp_sees_both_ways() {
    let Some(lab) = up() else { return };
    let inside = Lldpd::start(lab.programs(), lab.folder(), "eth1", "on-the-control");
    let outside = Lldpd::start(&lab.client, lab.folder(), "eth0", "at-the-port");
    let seen = outside.await_neighbor("on-the-control", ASKED_AGAIN);
    let port = lab.relay_ns.ip_json("link show eth1")[0]["address"].as_str().unwrap().to_owned();
    assert!(seen.contains("PortDescr:    eth1") && seen.contains(&port), "{seen}");
    let seen = inside.await_neighbor("at-the-port", ASKED_AGAIN);
    assert!(seen.contains("PortDescr:    eth0"), "{seen}");
}

#[test]
fn a_dhcp_server_on_a_symbol_serves_clients_at_the_port() {
    let Some(lab) = up() else { return };
    lab.client.ip(&["addr flush dev eth0 scope global"]);
    let server =
        dhcp_server(lab.programs(), lab.folder(), "eth1", &["192.0.2.50,192.0.2.60,255.255.255.0,2m"]);
    lab.programs().await_listener("udp", 67);
    let client = dhclient(&lab.client, lab.folder(), "eth0", "-4");
    let log = client.await_log("BOUND 192.0.2.", ASKED_AGAIN);
    eventually(SOON, "the server has given it", || {
        let log = server.log();
        if log.contains("DHCPACK(eth1) 192.0.2.") { Ok(()) } else { Err(log) }
    });
    assert!(addresses(&lab.client, "eth0").contains("192.0.2.5") || log.contains("192.0.2.60"), "{log}");
    lab.client.ok(&format!("ping -c 1 -W 2 {PORT_V4}"));
}

#[test]
fn a_dhcpv6_server_on_a_symbol_serves_clients_at_the_port() {
    let Some(lab) = up() else { return };
    lab.client.ip(&["addr flush dev eth0 scope global"]);
    let server = dhcp_server(
        lab.programs(),
        lab.folder(),
        "eth1",
        &["2001:db8:1::50,2001:db8:1::60,64,2m", "192.0.2.50,192.0.2.60,255.255.255.0,2m"],
    );
    lab.programs().await_listener("udp", 547);
    let client = dhclient(&lab.client, lab.folder(), "eth0", "-6");
    client.await_log("BOUND6 2001:db8:1::", ASKED_AGAIN);
    assert!(server.log().contains("DHCPREPLY(eth1) 2001:db8:1::"), "{}", server.log());
    // Its advertisements say by whom the rest of the world is reached.
    eventually(ASKED_AGAIN, "a default route from the advertisements", || {
        let routes = lab.client.ok("ip -6 route show default");
        if routes.contains("proto ra") { Ok(()) } else { Err(routes) }
    });
    lab.client.ok(&format!("ping -c 1 -W 2 {PORT_V6}"));
}

#[test]
fn router_advertisements_of_a_symbol_configure_clients_at_the_port() {
    let Some(lab) = up() else { return };
    lab.client.ip(&["addr flush dev eth0 scope global"]);
    let _radvd = radvd(lab.programs(), lab.folder(), "eth1", "2001:db8:5::/64");
    eventually(ASKED_AGAIN, "an address of the advertised prefix", || {
        let addresses = addresses(&lab.client, "eth0");
        if addresses.contains("2001:db8:5:") { Ok(()) } else { Err(addresses) }
    });
    // Who asks gets an answer, without waiting for the next regular one.
    for _ in 0..3 {
        let answer = lab.client.ok("rdisc6 -1 -r 3 -w 2000 eth0");
        assert!(answer.contains("2001:db8:5::/64"), "{answer}");
    }
    let all_routers = lab.relay_ns.ok("ip maddr show dev eth1");
    assert!(all_routers.contains("ff02::2"), "{all_routers}");
}

#[test]
fn router_advertisements_at_the_port_reach_the_symbol() {
    let Some(lab) = up() else { return };
    let _radvd = radvd(&lab.client, lab.folder(), "eth0", "2001:db8:1::/64");
    eventually(ASKED_AGAIN, "a default route from the advertisements", || {
        let routes = lab.programs().ok("ip -6 route show default");
        if routes.contains("proto ra") { Ok(()) } else { Err(routes) }
    });
    let answer = lab.programs().ok("rdisc6 -1 -r 3 -w 2000 eth1");
    assert!(answer.contains("2001:db8:1::/64"), "{answer}");
    // The relay's kernel may have made itself an address from them; the symbol has that one, and none of its own.
    eventually(SOON, "the symbol has the port's addresses only", || {
        let of = |netns: &Netns| {
            let shown = addresses(netns, "eth1");
            let mut own: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
            own.sort_unstable();
            own.join(" ")
        };
        let (port, symbol) = (of(&lab.relay_ns), of(lab.programs()));
        if port == symbol { Ok(()) } else { Err(format!("port {port}, symbol {symbol}")) }
    });
}

#[rstest]
#[case::dhcp("-4", "BOUND 192.0.2.", "\"udp/68\"")]
#[case::dhcp_v6("-6", "BOUND6 2001:db8:1::", "\"udp/546\"")]
fn a_dhcp_client_on_a_symbol_gets_a_lease(#[case] version: &str, #[case] bound: &str, #[case] service: &str) {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    // The relay may be a client at that port itself, so it has to be said.
    let symbol = Symbol {
        netns: Some(lab.programs().name().to_owned()),
        more: format!("services = [{service}]"),
        ..Symbol::new("eth1")
    };
    lab.control.configure(&Control { symbols: vec![symbol], ..Control::default() }.to_string());
    // Nobody has given the port an address yet.
    lab.relay_ns.ip(&["addr flush dev eth1 scope global"]);
    lab.start();
    let server = dhcp_server(
        &lab.client,
        lab.folder(),
        "eth0",
        &["192.0.2.50,192.0.2.60,255.255.255.0,2m", "2001:db8:1::50,2001:db8:1::60,64,2m"],
    );
    server.await_log("DHCP, IP range 192.0.2.50", SOON);
    let client = dhclient(lab.programs(), lab.folder(), "eth1", version);
    client.await_log(bound, ASKED_AGAIN);
}

fn up() -> Option<Lab> {
    let mut lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    lab.start();
    Some(lab)
}

fn addresses(netns: &Netns, interface: &str) -> String {
    netns.ok(&format!("ip -o addr show dev {interface}"))
}
