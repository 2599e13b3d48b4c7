//! What Linux does to routes without a word, and that [`RouteMonitor`] says so nevertheless.

mod lab;

use frames::route::{Prefix, RouteKey};
use l2link_os::NetNs;
use l2link_os::routes::{Change, Families, RouteDump, RouteEvent, RouteMonitor};
use lab::{cable, ip, namespace, settle, shell};
use rstest::rstest;

/// Each change takes `10.1.0.0/16` away, and no notification of a route says so.
#[rstest]
#[case::link_down("route add 10.1.0.0/16 via 192.0.2.9", "link set eth0 down")]
#[case::link_deleted("route add 10.1.0.0/16 via 192.0.2.9", "link del eth0")]
#[case::link_moved("route add 10.1.0.0/16 dev eth0", "link set eth0 netns AWAY")]
#[case::address_of_the_gateway("route add 10.1.0.0/16 via 192.0.2.9", "addr del 192.0.2.1/24 dev eth0")]
#[case::nexthop_object("route add 10.1.0.0/16 nhid 1", "nexthop del id 1")]
#[case::nexthop_group("route add 10.1.0.0/16 nhid 10", "nexthop del id 10")]
#[case::nexthop_object_and_link("route add 10.1.0.0/16 nhid 1", "link set eth0 down")]
fn an_ipv4_route_goes_silently_and_a_redump_is_asked_for(#[case] route: &str, #[case] change: &str) {
    let (Some((netns, _other)), Some(away)) = (router(), namespace()) else { return };
    ip(&netns, route);
    assert!(listed(&netns, "10.1.0.0", 16), "{route}");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    ip(&netns, &change.replace("AWAY", &lab::path(&away)));
    let events = drain(&mut monitor);
    assert!(!listed(&netns, "10.1.0.0", 16), "{change}");
    assert!(!told_gone(&events, "10.1.0.0", 16), "Linux tells of it by now: {events:?}");
    assert!(redumps(&events, Families::ipv4), "{events:?}");
}

/// Of this one Linux tells, other than of a gateway's.
#[test]
fn an_ipv4_route_with_a_preferred_source_does_not_go_silently() {
    let Some((netns, _other)) = router() else { return };
    ip(&netns, "addr add 203.0.113.1/32 dev lo");
    ip(&netns, "route add 10.1.0.0/16 dev eth0 src 203.0.113.1");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    ip(&netns, "addr del 203.0.113.1/32 dev lo");
    let events = drain(&mut monitor);
    assert!(told_gone(&events, "10.1.0.0", 16), "{events:?}");
}

/// Linux tells of these by itself.
#[rstest]
#[case::link_down("-6 route add 2001:db8:f::/48 via 2001:db8:1::9", "link set eth0 down")]
#[case::link_deleted("-6 route add 2001:db8:f::/48 via 2001:db8:1::9", "link del eth0")]
#[case::nexthop_object("-6 route add 2001:db8:f::/48 nhid 3", "nexthop del id 3")]
#[case::ipv6_disabled("-6 route add 2001:db8:f::/48 via 2001:db8:1::9", "SYSCTL")]
fn an_ipv6_route_does_not_go_silently(#[case] route: &str, #[case] change: &str) {
    let Some((netns, _other)) = router() else { return };
    ip(&netns, route);
    assert!(listed(&netns, "2001:db8:f::", 48), "{route}");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    match change {
        "SYSCTL" => lab::write_sysctl(&netns, "net/ipv6/conf/eth0/disable_ipv6", "1"),
        change => drop(ip(&netns, change)),
    }
    let events = drain(&mut monitor);
    assert!(!listed(&netns, "2001:db8:f::", 48), "{change}");
    assert!(told_gone(&events, "2001:db8:f::", 48), "{events:?}");
}

/// The exception: a route by a group stays, and loses one of its ways without a word.
#[rstest]
#[case::nexthop_object("nexthop del id 3")]
#[case::link_down("link set eth0 down")]
fn an_ipv6_route_by_a_group_shrinks_silently_and_a_redump_is_asked_for(#[case] change: &str) {
    let Some((netns, _other)) = router() else { return };
    ip(&netns, "-6 route add 2001:db8:f::/48 nhid 20");
    assert_eq!(ways(&netns, "2001:db8:f::", 48), 2);
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    ip(&netns, change);
    let events = drain(&mut monitor);
    assert_eq!(ways(&netns, "2001:db8:f::", 48), 1, "{change}");
    let wanted = key("2001:db8:f::", 48, 1024);
    let told = events.iter().any(|event| match event {
        RouteEvent::Set { route, .. } => route.key == wanted,
        RouteEvent::Gone { key, .. } => *key == wanted,
        RouteEvent::Redump(_) | RouteEvent::Interfaces => false,
    });
    assert!(!told, "Linux tells of it by now: {events:?}");
    assert!(redumps(&events, Families::ipv6), "{events:?}");
}

#[test]
fn a_replaced_nexthop_asks_for_both_families() {
    let Some((netns, _other)) = router() else { return };
    ip(&netns, "route add 10.1.0.0/16 nhid 10");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    ip(&netns, "nexthop replace id 10 group 1");
    let events = drain(&mut monitor);
    assert!(redumps(&events, Families::ipv4) && redumps(&events, Families::ipv6), "{events:?}");
}

#[test]
fn carrier_loss_takes_nexthop_objects_and_their_routes_silently() {
    let Some((netns, other)) = router() else { return };
    ip(&netns, "route add 10.1.0.0/16 via 192.0.2.9");
    ip(&netns, "route add 10.2.0.0/16 nhid 1");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    // The monitor learns that the interface is up.
    ip(&netns, "link set eth0 mtu 1400");
    drain(&mut monitor);
    ip(&other, "link set eth0 down");
    // Linux lets up to a second pass before it tells of a carrier that changes often.
    let mut events = Vec::new();
    lab::eventually("the carrier's event", || {
        events.extend(drain(&mut monitor));
        events.contains(&RouteEvent::Interfaces).then_some(())
    });
    assert!(shell(&netns, "ip route show 10.1.0.0/16").contains("linkdown"), "a plain route stays");
    assert!(!listed(&netns, "10.2.0.0", 16), "one by a nexthop object goes");
    assert!(!told_gone(&events, "10.2.0.0", 16), "Linux tells of it by now: {events:?}");
    assert!(redumps(&events, Families::ipv4), "{events:?}");
}

#[test]
fn harmless_events_ask_for_no_redump() {
    let Some((netns, _other)) = router() else { return };
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    for change in [
        "link set eth0 mtu 1400",
        "link set eth0 address 02:00:00:00:00:01",
        "addr add 203.0.113.7/24 dev eth0",
        "link add br0 type bridge",
        "link set br0 up",
        "nexthop add id 7 via 192.0.2.7 dev eth0",
        "route add 10.9.0.0/16 via 192.0.2.9",
        "route del 10.9.0.0/16 via 192.0.2.9",
    ] {
        ip(&netns, change);
        let events = drain(&mut monitor);
        // The bridge is new, and down: it cannot have had a route that the monitor's owner knows.
        assert!(change.contains("add br0") || !redumps(&events, |_| true), "{change}: {events:?}");
    }
}

#[test]
fn routes_are_told_as_they_come_change_and_go() {
    let Some((netns, _other)) = router() else { return };
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    let mut last = |change: &str| {
        ip(&netns, change);
        drain(&mut monitor).pop().unwrap()
    };
    let wanted = key("10.1.0.0", 16, 20);
    for (change, how) in [
        ("route add 10.1.0.0/16 via 192.0.2.9 metric 20 proto 77", Change::New),
        ("route replace 10.1.0.0/16 via 192.0.2.8 metric 20 proto 77", Change::Replaced),
        ("route append 10.1.0.0/16 via 192.0.2.7 metric 20 proto 77", Change::Appended),
    ] {
        let RouteEvent::Set { route, how: told } = last(change) else { panic!("{change}") };
        assert_eq!((route.key, route.protocol, told), (wanted, 77, how), "{change}");
    }
    let event = last("route del 10.1.0.0/16 via 192.0.2.8");
    assert_eq!(event, RouteEvent::Gone { key: wanted, protocol: 77, nexthops: 1 });
}

/// Linux takes ways from and adds ways to an IPv6 route of one key one by one; each event says how many.
#[test]
fn siblings_of_an_ipv6_route_are_told_one_by_one() {
    let Some((netns, _other)) = router() else { return };
    ip(&netns, "-6 route add 2001:db8:f::/48 nexthop via 2001:db8:1::9 nexthop via 2001:db8:2::9");
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    let wanted = key("2001:db8:f::", 48, 1024);
    ip(&netns, "-6 route append 2001:db8:f::/48 via 2001:db8:1::8");
    let events = drain(&mut monitor);
    let Some(RouteEvent::Set { route, how: Change::Appended }) = events.last() else { panic!("{events:?}") };
    assert_eq!(route.key, wanted);
    assert_eq!(ways(&netns, "2001:db8:f::", 48), 3);

    ip(&netns, "-6 route del 2001:db8:f::/48 via 2001:db8:1::9");
    let events = drain(&mut monitor);
    let gone = |nexthops| RouteEvent::Gone { key: wanted, protocol: 3, nexthops };
    assert_eq!(events, [gone(1)]);
    assert_eq!(ways(&netns, "2001:db8:f::", 48), 2);

    ip(&netns, "-6 route del 2001:db8:f::/48");
    let events = drain(&mut monitor);
    let nexthops: usize = events
        .iter()
        .map(|event| match event {
            RouteEvent::Gone { key, nexthops, .. } if *key == wanted => *nexthops,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!((nexthops, ways(&netns, "2001:db8:f::", 48)), (2, 0));
}

#[test]
fn an_overrun_is_counted_and_asks_for_both_families() {
    let Some((netns, _other)) = router() else { return };
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..400_000_u32)
        .map(|number| format!("route add {} via 192.0.2.9\n", std::net::Ipv4Addr::from(0x0a00_0000 + number)))
        .collect();
    std::fs::write(file.path(), lines).unwrap();
    ip(&netns, &format!("-batch {}", file.path().display()));
    let events = drain(&mut monitor);
    assert!(events.contains(&RouteEvent::Redump(Families::Both)));
    assert!(events.len() < 400_000, "the buffer held them all: this test tests nothing");
    assert!(monitor.overruns() > 0);
    assert_eq!(monitor.overruns(), 0, "taken");
    // It goes on as before.
    ip(&netns, "route add 11.0.0.0/8 via 192.0.2.9");
    let events = drain(&mut monitor);
    assert!(
        matches!(events.as_slice(), [RouteEvent::Set { route, .. }] if route.key == key("11.0.0.0", 8, 0))
    );
}

/// A router with two interfaces, addresses, and nexthop objects: 1 and 2 in group 10, 3 and 4 in group 20.
fn router() -> Option<(NetNs, NetNs)> {
    let (netns, other) = (namespace()?, namespace()?);
    for (interface, v4, v6) in
        [("eth0", "192.0.2.1/24", "2001:db8:1::1/64"), ("eth1", "198.51.100.1/24", "2001:db8:2::1/64")]
    {
        cable(&netns, interface, &other, interface);
        ip(&netns, &format!("addr add {v4} dev {interface}"));
        ip(&netns, &format!("addr add {v6} dev {interface} nodad"));
    }
    for object in [
        "id 1 via 192.0.2.9 dev eth0",
        "id 2 via 198.51.100.9 dev eth1",
        "id 10 group 1/2",
        "id 3 via 2001:db8:1::9 dev eth0",
        "id 4 via 2001:db8:2::9 dev eth1",
        "id 20 group 3/4",
    ] {
        ip(&netns, &format!("nexthop add {object}"));
    }
    // Link-local addresses come a moment after the link.
    settle();
    Some((netns, other))
}

fn drain(monitor: &mut RouteMonitor) -> Vec<RouteEvent> {
    settle();
    std::iter::from_fn(|| monitor.next_event().unwrap()).collect()
}

fn key(prefix: &str, length: u8, metric: u32) -> RouteKey {
    let prefix = Prefix::new(prefix.parse().unwrap(), length).unwrap();
    RouteKey { table: RouteKey::MAIN, prefix, metric }
}

fn ways(netns: &NetNs, prefix: &str, length: u8) -> usize {
    let prefix = Prefix::new(prefix.parse().unwrap(), length).unwrap();
    let mut ways = 0;
    let mut dump = RouteDump::start(netns, Families::Both, None).unwrap();
    while dump
        .step(1_000, |route| {
            if route.key.prefix == prefix {
                ways += route.nexthops.len();
            }
        })
        .unwrap()
        == l2link_os::routes::Progress::More
    {}
    ways
}

fn listed(netns: &NetNs, prefix: &str, length: u8) -> bool {
    ways(netns, prefix, length) > 0
}

fn told_gone(events: &[RouteEvent], prefix: &str, length: u8) -> bool {
    let wanted = Prefix::new(prefix.parse().unwrap(), length).unwrap();
    events.iter().any(|event| matches!(event, RouteEvent::Gone { key, .. } if key.prefix == wanted))
}

fn redumps(events: &[RouteEvent], family: impl Fn(Families) -> bool) -> bool {
    events.iter().any(|event| matches!(event, RouteEvent::Redump(families) if family(*families)))
}
