//! What the kernel does with a packet of this machine's own before an interface has it.

mod lab;
mod routes_fixture;

use l2link_os::{NetNs, NextHop, OutputPath};
use lab::{ip, namespace, shell};
use routes_fixture::{index, router};
use rstest::rstest;
use std::net::IpAddr;

/// The router's neighbor at `eth0`, whom it knows.
const NEIGHBOR: &str = "02:00:00:00:00:09";

fn known() -> Option<(NetNs, NetNs)> {
    let (netns, other) = router()?;
    for neighbor in ["192.0.2.9", "2001:db8:1::9"] {
        ip(&netns, &format!("neigh add {neighbor} lladdr {NEIGHBOR} dev eth0"));
    }
    Some((netns, other))
}

fn next_hop(netns: &NetNs, source: &str, destination: &str) -> Option<NextHop> {
    let mut path = OutputPath::open(netns).unwrap();
    path.next_hop(address(source), address(destination)).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn expected(netns: &NetNs, path_mtu: Option<u32>) -> Option<NextHop> {
    Some(NextHop { interface: index(netns, "eth0"), mac: NEIGHBOR.parse().unwrap(), path_mtu })
}

#[rstest]
#[case::v4("192.0.2.1", "192.0.2.9", "203.0.113.5", "203.0.113.0/24 via 192.0.2.9")]
#[case::v6("2001:db8:1::1", "2001:db8:1::9", "2001:db8:f::5", "2001:db8:f::/48 via 2001:db8:1::9")]
fn a_neighbor_gets_what_is_for_it_or_beyond_it(
    #[case] source: &str,
    #[case] near: &str,
    #[case] far: &str,
    #[case] route: &str,
) {
    let Some((netns, _other)) = known() else { return };
    assert_eq!(next_hop(&netns, source, near), expected(&netns, None));
    ip(&netns, &format!("route add {route}"));
    assert_eq!(next_hop(&netns, source, far), expected(&netns, None));
    ip(&netns, &format!("route change {route} mtu 1300"));
    assert_eq!(next_hop(&netns, source, far), expected(&netns, Some(1300)));
    ip(&netns, &format!("neigh del {near} dev eth0"));
    assert_eq!(next_hop(&netns, source, far), None, "the kernel does not know the neighbor");
    ip(&netns, &format!("neigh add {near} lladdr {NEIGHBOR} nud stale dev eth0"));
    assert_eq!(next_hop(&netns, source, far), expected(&netns, Some(1300)), "the kernel uses it");
    ip(&netns, &format!("neigh change {near} nud failed dev eth0"));
    assert_eq!(next_hop(&netns, source, far), None, "it did not answer");
}

#[test]
fn rules_by_the_source_are_heeded() {
    let Some((netns, _other)) = known() else { return };
    ip(&netns, "neigh add 198.51.100.9 lladdr 02:00:00:00:00:08 dev eth1");
    ip(&netns, "route add 203.0.113.0/24 via 192.0.2.9");
    ip(&netns, "route add 203.0.113.0/24 via 198.51.100.9 table 77");
    ip(&netns, "rule add from 198.51.100.1 table 77");
    assert_eq!(next_hop(&netns, "192.0.2.1", "203.0.113.5"), expected(&netns, None));
    let other = next_hop(&netns, "198.51.100.1", "203.0.113.5").unwrap();
    assert_eq!((other.interface, other.mac), (index(&netns, "eth1"), "02:00:00:00:00:08".parse().unwrap()));
}

#[rstest]
#[case::own("192.0.2.1")]
#[case::broadcast("192.0.2.255")]
#[case::group("224.0.0.5")]
#[case::encapsulated("203.0.113.5")]
fn what_is_no_neighbors_has_no_next_hop(#[case] destination: &str) {
    let Some((netns, _other)) = known() else { return };
    // The neighbor is known each time.
    let interface = if destination == "192.0.2.1" { "lo" } else { "eth0" };
    ip(&netns, &format!("neigh add {destination} lladdr {NEIGHBOR} dev {interface}"));
    ip(&netns, "route add 203.0.113.0/24 encap seg6 mode encap segs 2001:db8:1::9 dev eth0");
    ip(&netns, "route add 224.0.0.0/4 dev eth0");
    assert_eq!(next_hop(&netns, "192.0.2.1", destination), None);
}

/// Which of them it is depends on more than the addresses.
#[rstest]
#[case::v4("192.0.2.1", "203.0.113.5", "203.0.113.0/24", ["192.0.2.9", "198.51.100.9"])]
#[case::v6("2001:db8:1::1", "2001:db8:f::5", "2001:db8:f::/48", ["2001:db8:1::9", "2001:db8:2::9"])]
fn one_of_several_nexthops_is_none(
    #[case] source: &str,
    #[case] destination: &str,
    #[case] network: &str,
    #[case] gateways: [&str; 2],
) {
    let Some((netns, _other)) = known() else { return };
    ip(&netns, &format!("neigh add {} lladdr {NEIGHBOR} dev eth1", gateways[1]));
    let [first, second] = gateways;
    ip(&netns, &format!("route add {network} nexthop via {first} nexthop via {second}"));
    assert_eq!(next_hop(&netns, source, destination), None);
    ip(&netns, &format!("route del {network}"));
    ip(&netns, &format!("nexthop add id 1 via {first} dev eth0"));
    ip(&netns, &format!("nexthop add id 2 via {second} dev eth1"));
    ip(&netns, "nexthop add id 3 group 1/2");
    ip(&netns, &format!("route add {network} nhid 3"));
    assert_eq!(next_hop(&netns, source, destination), None, "as an object");
    ip(&netns, &format!("route replace {network} nhid 1"));
    assert_eq!(next_hop(&netns, source, destination), expected(&netns, None), "an object that is one");
}

/// What is remembered of a neighbor does not outlive it.
#[test]
fn a_neighbor_that_changes_is_asked_for_again() {
    let Some((netns, _other)) = known() else { return };
    let mut path = OutputPath::open(&netns).unwrap();
    let mut mac = || {
        let next_hop = path.next_hop(address("192.0.2.1"), address("192.0.2.9")).unwrap();
        next_hop.map(|next_hop| next_hop.mac.to_string())
    };
    assert_eq!((mac(), mac()), (Some(NEIGHBOR.into()), Some(NEIGHBOR.into())));
    ip(&netns, "neigh change 192.0.2.9 lladdr 02:00:00:00:00:07 dev eth0");
    assert_eq!(mac().as_deref(), Some("02:00:00:00:00:07"));
    ip(&netns, "neigh del 192.0.2.9 dev eth0");
    assert_eq!(mac(), None);
}

#[test]
fn one_without_a_route_is_an_error() {
    let Some((netns, _other)) = known() else { return };
    let mut path = OutputPath::open(&netns).unwrap();
    let error = path.next_hop(address("192.0.2.1"), address("203.0.113.5")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
}

#[rstest]
#[case::nothing("true", true)]
#[case::a_chain_at_no_hook("nft 'add table inet t; add chain inet t c'", true)]
#[case::input(&chain("inet", "filter hook input priority 0"), true)]
#[case::forward(&chain("ip", "filter hook forward priority 0"), true)]
#[case::of_a_bridge(&chain("bridge", "filter hook output priority 0"), true)]
#[case::of_arp(&chain("arp", "filter hook output priority 0"), true)]
#[case::output(&chain("inet", "filter hook output priority 0"), false)]
#[case::marking(&chain("ip6", "route hook output priority 0"), false)]
#[case::translation(&chain("ip", "nat hook postrouting priority 100"), false)]
#[case::iptables("iptables-nft -A OUTPUT -j ACCEPT", false)]
#[case::older_iptables("iptables-legacy -A OUTPUT -j ACCEPT", false)]
#[case::older_ip6tables("ip6tables-legacy -A OUTPUT -j ACCEPT", false)]
#[case::ipsec(
    "ip xfrm policy add src 192.0.2.0/24 dst 203.0.113.0/24 dir out tmpl proto esp mode transport",
    false
)]
fn what_looks_at_packets_on_their_way_out_is_seen(#[case] command: &str, #[case] unfiltered: bool) {
    let Some(netns) = namespace() else { return };
    let mut path = OutputPath::open(&netns).unwrap();
    assert!(path.is_unfiltered().unwrap() && !path.has_changed());
    shell(&netns, command);
    let is_told = !command.contains("legacy") && command != "true";
    assert_eq!((path.has_changed(), path.has_changed()), (is_told, false));
    assert_eq!(path.is_unfiltered().unwrap(), unfiltered);
}

fn chain(family: &str, place: &str) -> String {
    format!("nft 'add table {family} t; add chain {family} t c {{ type {place}; }}'")
}
