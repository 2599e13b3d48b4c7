//! A router in a namespace, and its routes, for tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::lab::{cable, ip, namespace, settle};
use frames::route::{Prefix, RouteKey, RouteKind};
use l2link_os::routes::{Families, KernelNexthop, KernelRoute, PROTOCOL, Progress, RouteDump, RouteFailure};
use l2link_os::{IfIndex, NetNs, Netlink};
use std::net::IpAddr;

/// As `ip route add` takes them, with `eth0` and `eth1`.
pub(crate) const FORMS: [&str; 22] = [
    "10.1.0.0/16 via 192.0.2.9",
    "10.2.0.0/16 dev eth0",
    "10.3.0.0/16 via 192.0.2.9 metric 77",
    "10.4.0.0/16 via 192.0.2.9 table 100",
    "10.5.0.0/16 via 192.0.2.9 table 100000",
    "10.6.0.0/16 via 192.0.2.9 mtu 1300",
    "10.7.0.0/16 via 203.0.113.200 dev eth0 onlink",
    "10.8.0.0/16 via inet6 fe80::9 dev eth0",
    "10.9.0.0/16 nexthop via 192.0.2.9 weight 3 nexthop via 198.51.100.9 weight 256",
    "10.10.0.0/16 nexthop via inet6 fe80::9 dev eth0 nexthop via 203.0.113.200 dev eth1 onlink",
    "blackhole 10.11.0.0/16",
    "unreachable 10.12.0.0/16 metric 5",
    "prohibit 10.13.0.0/16",
    "default via 192.0.2.9",
    "10.14.0.1 scope link nexthop dev eth0 nexthop dev eth1",
    "-6 2001:db8:f1::/48 via 2001:db8:1::9",
    "-6 2001:db8:f2::/48 dev eth0 metric 7",
    "-6 2001:db8:f3::/48 via fe80::9 dev eth0 table 100000 mtu 1400",
    "-6 2001:db8:f4::/48 nexthop via fe80::9 dev eth0 weight 2 nexthop via 2001:db8:2::9 weight 7",
    "-6 blackhole 2001:db8:f5::/48",
    "-6 unreachable 2001:db8:f6::/48 metric 9",
    "-6 default via 2001:db8:dead::9 dev eth0 onlink",
];

/// A router with two interfaces and addresses.
pub(crate) fn router() -> Option<(NetNs, NetNs)> {
    let (netns, other) = (namespace()?, namespace()?);
    for (interface, v4, v6) in
        [("eth0", "192.0.2.1/24", "2001:db8:1::1/64"), ("eth1", "198.51.100.1/24", "2001:db8:2::1/64")]
    {
        cable(&netns, interface, &other, interface);
        ip(&netns, &format!("addr add {v4} dev {interface}"));
        ip(&netns, &format!("addr add {v6} dev {interface} nodad"));
    }
    // Link-local addresses come a moment after the link.
    settle();
    Some((netns, other))
}

pub(crate) fn add(netns: &NetNs, form: &str, more: &str) {
    match form.strip_prefix("-6 ") {
        Some(form) => ip(netns, &format!("-6 route add {}", before_nexthops(form, more))),
        None => ip(netns, &format!("route add {}", before_nexthops(form, more))),
    };
}

/// `ip` takes everything after `nexthop` for the nexthop's.
pub(crate) fn before_nexthops(form: &str, more: &str) -> String {
    match form.split_once(" nexthop ") {
        Some((route, nexthops)) => format!("{route} {more} nexthop {nexthops}"),
        None => format!("{form} {more}"),
    }
}

pub(crate) fn ours(netns: &NetNs) -> Vec<KernelRoute> {
    let mut routes = Vec::new();
    let mut dump = RouteDump::start(netns, Families::Both, Some(PROTOCOL)).unwrap();
    loop {
        match dump.step(1_000, |route| routes.push(route)).unwrap() {
            Progress::More => {}
            end => {
                assert_eq!(end, Progress::Done);
                break;
            }
        }
    }
    routes.sort_by_key(|route| route.key);
    routes
}

pub(crate) fn refused_none(failures: Vec<RouteFailure>) {
    assert!(failures.is_empty(), "{failures:?}");
}

pub(crate) fn index(netns: &NetNs, interface: &str) -> IfIndex {
    Netlink::open(netns).unwrap().link_by_name(interface).unwrap().unwrap().ifindex
}

pub(crate) fn key(prefix: IpAddr, length: u8, metric: u32) -> RouteKey {
    RouteKey { table: RouteKey::MAIN, prefix: Prefix::new(prefix, length).unwrap(), metric }
}

pub(crate) fn route(prefix: IpAddr, length: u8, ifindex: IfIndex, gateway: &str) -> KernelRoute {
    let gateway = Some(gateway.parse().unwrap());
    KernelRoute {
        key: key(prefix, length, 0),
        kind: RouteKind::Unicast,
        protocol: PROTOCOL,
        mtu: 0,
        nexthops: vec![KernelNexthop { ifindex, gateway, weight: 1, onlink: false }],
        unsupported: None,
    }
}
