//! Return paths: what an interface's own addresses send leaves by that interface.

mod lab;

use frames::route::Prefix;
use l2link_os::{IfIndex, LastResort, NetNs, Netlink, ReturnPath, ReturnRoute, ReturnTables, return_tables};
use lab::{cable, ip, namespace};

const FAR: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];

#[test]
fn answers_leave_by_the_interface_of_their_source() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    for (far, source, other) in
        [(FAR[0], "192.0.2.1", "10.0.0.1"), (FAR[1], "2001:db8:1::1", "2001:db8:a::1")]
    {
        assert_eq!(way(&netns, far, Some(source)), "sym0", "by way of the interface's router");
        assert_eq!(way(&netns, far, Some(other)), "eth0", "the host's own address");
        assert_eq!(way(&netns, far, None), "eth0", "no address yet");
    }
    // The same again changes nothing.
    let before = state(&netns);
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    assert_eq!(state(&netns), before);
}

/// The first of two equal subnets in `main` is the other interface's.
#[test]
fn another_interface_in_the_same_subnet_does_not_get_the_answers() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    ip(&netns, "addr add 192.0.2.50/24 dev eth0");
    ip(&netns, "route replace 192.0.2.0/24 dev eth0 metric 0");
    assert_eq!(way(&netns, "192.0.2.7", Some("192.0.2.1")), "eth0", "before");
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    assert_eq!(way(&netns, "192.0.2.7", Some("192.0.2.1")), "sym0");
    assert_eq!(way(&netns, "192.0.2.7", None), "eth0");
}

#[test]
fn other_networks_of_the_host_stay_reachable() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    ip(&netns, "route add 172.16.0.0/16 via 10.0.0.254");
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    assert_eq!(way(&netns, "172.16.1.1", Some("192.0.2.1")), "eth0");
    assert_eq!(way(&netns, "10.0.0.9", Some("192.0.2.1")), "eth0");
}

#[test]
fn the_last_resort_is_no_way_for_who_has_another() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    let path = ReturnPath { last_resort: Some(LastResort::Carrier), ..path() };
    assert_eq!(tables.install(symbol, &path).unwrap(), Vec::<String>::new());
    for far in FAR {
        assert_eq!(way(&netns, far, None), "eth0");
    }
    ip(&netns, "route del default");
    ip(&netns, "-6 route del default");
    for far in FAR {
        assert_eq!(way(&netns, far, None), "sym0");
    }
}

#[test]
fn the_last_resort_is_the_one_with_a_carrier() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    let other = second(&netns);
    ip(&netns, "route del default");
    let mut install = |first, second| {
        let path = ReturnPath { last_resort: Some(first), ..path() };
        assert_eq!(tables.install(symbol, &path).unwrap(), Vec::<String>::new());
        let others = ReturnPath {
            routes: vec![route("198.51.100.0/24", None), route("0.0.0.0/0", Some("198.51.100.2"))],
            last_resort: Some(second),
            ..ReturnPath::default()
        };
        assert_eq!(tables.install(other, &others).unwrap(), Vec::<String>::new());
        way(&netns, FAR[0], None)
    };
    assert_eq!(install(LastResort::Carrier, LastResort::Carrier), "sym0", "the first");
    assert_eq!(install(LastResort::NoCarrier, LastResort::Carrier), "sym1");
    assert_eq!(install(LastResort::Carrier, LastResort::NoCarrier), "sym0");
    assert_eq!(
        install(LastResort::NoCarrier, LastResort::NoCarrier),
        "sym1",
        "none is better than the other"
    );
}

#[test]
fn changes_are_made_by_difference() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    let mut path = path();
    path.sources.retain(|source| source.is_ipv4());
    path.routes.retain(|route| route.destination.address().is_ipv4());
    for route in path.routes.iter_mut().filter(|route| route.destination.length() == 0) {
        route.gateways = vec![gateway("192.0.2.3"), gateway("192.0.2.4")];
    }
    assert_eq!(tables.install(symbol, &path).unwrap(), Vec::<String>::new());
    let table = return_tables::table(symbol);
    let routes = ip(&netns, &format!("route show table {table}"));
    assert!(routes.contains("nexthop via 192.0.2.3") && routes.contains("nexthop via 192.0.2.4"), "{routes}");
    assert!(!routes.contains("192.0.2.2"), "{routes}");
    assert_eq!(ip(&netns, &format!("-6 route show table {table}")), "");
    assert!(!ip(&netns, "-6 rule").contains("2001:db8"));
}

#[test]
fn what_the_kernel_refuses_does_not_take_the_rest_along() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    let mut path = path();
    path.routes.push(route("10.99.0.0/16", Some("198.18.0.1")));
    let refused = tables.install(symbol, &path).unwrap();
    assert!(matches!(&refused[..], [one] if one.contains("10.99.0.0/16 via 198.18.0.1")), "{refused:?}");
    assert_eq!(way(&netns, FAR[0], Some("192.0.2.1")), "sym0");
}

#[test]
fn two_interfaces_have_tables_of_their_own() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    let other = second(&netns);
    let others = ReturnPath {
        sources: vec!["198.51.100.1".parse().unwrap(), "192.0.2.1".parse().unwrap()],
        routes: vec![route("198.51.100.0/24", None), route("0.0.0.0/0", Some("198.51.100.2"))],
        last_resort: None,
    };
    assert_eq!(tables.install(symbol, &path()).unwrap(), Vec::<String>::new());
    assert_eq!(tables.install(other, &others).unwrap(), Vec::<String>::new());
    assert_eq!(way(&netns, FAR[0], Some("198.51.100.1")), "sym1");
    assert_eq!(way(&netns, FAR[0], Some("192.0.2.1")), "sym0", "both have the address: the first");
    tables.remove(symbol).unwrap();
    assert_eq!(way(&netns, FAR[0], Some("192.0.2.1")), "sym1");
    assert_eq!(way(&netns, "10.0.0.9", Some("192.0.2.1")), "eth0", "the rule that both share stays");
    tables.remove(other).unwrap();
    assert_nothing_left(&netns);
}

#[test]
fn a_removed_path_leaves_nothing_and_touches_nobody_elses() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    ip(&netns, "rule add from 192.0.2.1 lookup 77 priority 20000");
    ip(&netns, &format!("route add 10.77.0.0/16 via 192.0.2.2 table {}", return_tables::table(symbol)));
    let before = state(&netns);
    let path = ReturnPath { last_resort: Some(LastResort::Carrier), ..path() };
    assert_eq!(tables.install(symbol, &path).unwrap(), Vec::<String>::new());
    assert_ne!(state(&netns), before);
    tables.remove(symbol).unwrap();
    assert_eq!(state(&netns), before);
}

#[test]
fn the_rules_of_an_interface_that_is_gone_are_swept() {
    let Some(Host { netns, symbol, mut tables, _others }) = host() else { return };
    ip(&netns, "rule add from 192.0.2.1 lookup 77 priority 20000");
    let path = ReturnPath { last_resort: Some(LastResort::Carrier), ..path() };
    assert_eq!(tables.install(symbol, &path).unwrap(), Vec::<String>::new());
    let installed = state(&netns);
    tables.sweep().unwrap();
    assert_eq!(state(&netns), installed, "it is there");
    ip(&netns, "link del sym0");
    assert!(!state(&netns).contains("dev sym0"), "the kernel removes the routes");
    assert!(ip(&netns, "rule").contains("10803:"), "and leaves the rules");
    tables.sweep().unwrap();
    assert_nothing_left(&netns);
    assert!(ip(&netns, "rule").contains("lookup 77"));
}

#[test]
fn tables_are_far_from_those_of_others() {
    let first = return_tables::table(IfIndex(1));
    let last = return_tables::table(IfIndex(i32::MAX as u32));
    assert!(return_tables::is_table(first) && return_tables::is_table(last));
    for other in [0, 52, 253, 254, 255, 1_000, 51_820, 1_000_001, u32::MAX] {
        assert!(!return_tables::is_table(other), "{other}");
    }
}

struct Host {
    netns: NetNs,
    symbol: IfIndex,
    tables: ReturnTables,
    _others: [NetNs; 2],
}

/// A host whose default route leads by `eth0`, with an interface `sym0`.
fn host() -> Option<Host> {
    let (netns, router, client) = (namespace()?, namespace()?, namespace()?);
    cable(&netns, "eth0", &router, "eth0");
    cable(&netns, "sym0", &client, "eth0");
    ip(&netns, "addr add 10.0.0.1/24 dev eth0");
    ip(&netns, "addr add 2001:db8:a::1/64 dev eth0 nodad");
    ip(&netns, "route add default via 10.0.0.254");
    ip(&netns, "route add default via 2001:db8:a::254");
    ip(&netns, "addr add 192.0.2.1/24 dev sym0");
    ip(&netns, "addr add 2001:db8:1::1/64 dev sym0 nodad");
    let symbol = Netlink::open(&netns).unwrap().link_by_name("sym0").unwrap().unwrap().ifindex;
    let tables = ReturnTables::open(&netns).unwrap();
    Some(Host { netns, symbol, tables, _others: [router, client] })
}

/// One more interface.
fn second(netns: &NetNs) -> IfIndex {
    ip(netns, "link add sym1 type veth peer name end1");
    ip(netns, "link set sym1 up");
    ip(netns, "link set end1 up");
    ip(netns, "addr add 198.51.100.1/24 dev sym1");
    Netlink::open(netns).unwrap().link_by_name("sym1").unwrap().unwrap().ifindex
}

fn path() -> ReturnPath {
    ReturnPath {
        sources: ["192.0.2.1", "2001:db8:1::1"].map(|source| source.parse().unwrap()).into(),
        routes: vec![
            route("192.0.2.0/24", None),
            route("2001:db8:1::/64", None),
            route("0.0.0.0/0", Some("192.0.2.2")),
            route("::/0", Some("fe80::2")),
        ],
        last_resort: None,
    }
}

fn route(destination: &str, via: Option<&str>) -> ReturnRoute {
    let (address, length) = destination.split_once('/').unwrap();
    let destination = Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap();
    ReturnRoute { destination, gateways: via.map(gateway).into_iter().collect() }
}

fn gateway(address: &str) -> (core::net::IpAddr, bool) {
    (address.parse().unwrap(), false)
}

/// The interface by which a packet leaves.
fn way(netns: &NetNs, destination: &str, source: Option<&str>) -> String {
    let from = source.map(|source| format!(" from {source}")).unwrap_or_default();
    let found = ip(netns, &format!("route get {destination}{from}"));
    let interface = found.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    interface.unwrap_or_else(|| panic!("{found}")).to_owned()
}

fn state(netns: &NetNs) -> String {
    ["rule", "-6 rule", "route show table all", "-6 route show table all"]
        .map(|what| ip(netns, what))
        .concat()
}

fn assert_nothing_left(netns: &NetNs) {
    let rules = ["rule", "-6 rule"].map(|what| ip(netns, what)).concat();
    assert!(!["1080", "33108"].iter().any(|ours| rules.contains(ours)), "{rules}");
    let routes = ["route show table all proto 108", "-6 route show table all proto 108"];
    assert_eq!(routes.map(|what| ip(netns, what)).concat(), "");
}
