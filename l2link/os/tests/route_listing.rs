//! Routes as they are read from a kernel, against what the library of rtnetlink messages makes of the same bytes.

mod lab;
mod routes_fixture;

use frames::route::RouteKind;
use l2link_os::NetNs;
use l2link_os::routes::{
    Families, KernelNexthop, KernelRoute, PROTOCOL, Progress, RouteChange, RouteDump, RouteWriter,
};
use lab::{ip, shell};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload, Parseable as _,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteVia};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use routes_fixture::{FORMS, add, index, ours, refused_none, route, router};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

#[test]
fn nexthop_objects_are_read_as_what_they_stand_for() {
    let Some((netns, _other)) = router() else { return };
    for command in [
        "nexthop add id 1 via 192.0.2.9 dev eth0",
        "nexthop add id 2 via fe80::9 dev eth1",
        "nexthop add id 3 group 1,4/2,2",
        "nexthop add id 4 blackhole",
        "route add 10.1.0.0/16 nhid 1 proto 108",
        "route add 10.2.0.0/16 nhid 3 proto 108",
        "-6 route add 2001:db8:f::/48 nhid 2 proto 108",
    ] {
        ip(&netns, command);
    }
    let (eth0, eth1) = (index(&netns, "eth0"), index(&netns, "eth1"));
    let hop = |ifindex, gateway: &str, weight| KernelNexthop {
        ifindex,
        gateway: Some(gateway.parse().unwrap()),
        weight,
        onlink: false,
    };
    let routes = ours(&netns);
    let of = |prefix: &str| routes.iter().find(|route| route.key.prefix.to_string() == prefix).unwrap();
    assert_eq!(of("10.1.0.0/16").nexthops, [hop(eth0, "192.0.2.9", 1)]);
    assert_eq!(of("10.2.0.0/16").nexthops, [hop(eth0, "192.0.2.9", 4), hop(eth1, "fe80::9", 2)]);
    assert_eq!(of("2001:db8:f::/48").nexthops, [hop(eth1, "fe80::9", 1)]);

    lab::write_sysctl(&netns, "net/ipv4/nexthop_compat_mode", "0");
    let routes = ours(&netns);
    let hidden = routes.iter().find(|route| route.key.prefix.to_string() == "10.2.0.0/16").unwrap();
    assert!(!hidden.nexthops.is_empty() || hidden.unsupported.is_some(), "{hidden:?}");
}

#[test]
fn what_cannot_be_mirrored_says_why_and_the_rest_is_left_out() {
    let Some((netns, _other)) = router() else { return };
    for (form, reason) in [
        ("10.1.0.0/16 via 192.0.2.9 tos 0x10", "type of service"),
        ("-6 2001:db8:f::/48 from 2001:db8:a::/48 via 2001:db8:1::9", "some sources"),
    ] {
        add(&netns, form, "proto 108");
        let routes = ours(&netns);
        assert!(
            matches!(routes.as_slice(), [route] if route.unsupported.is_some_and(|why| why.contains(reason))),
            "{form}: {routes:?}"
        );
        shell(&netns, "ip route flush proto 108; ip -6 route flush proto 108");
    }
    add(&netns, "local 10.1.0.0/16 dev lo", "proto 108");
    add(&netns, "multicast 239.0.0.0/8 dev eth0", "proto 108");
    assert_eq!(ours(&netns), []);
}

/// What is hand-written here and what the library makes of the same bytes.
#[test]
fn the_library_reads_the_same_from_the_same_bytes() {
    let Some((netns, _other)) = router() else { return };
    for form in FORMS {
        add(&netns, form, "proto 108");
    }
    let mut compared = 0;
    for payload in payloads(&netns) {
        let message = RouteMessage::parse(payload.as_slice()).unwrap();
        let Some(route) = KernelRoute::parse(&payload) else { continue };
        assert_eq!(u8::from(message.header.protocol), route.protocol);
        assert_eq!(message.header.destination_prefix_length, route.key.prefix.length());
        let mut hops = Vec::new();
        let mut single = (0, None, 1);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => assert_eq!(ip_of(to), Some(route.key.prefix.address())),
                RouteAttribute::Table(table) => assert_eq!(*table, route.key.table),
                RouteAttribute::Priority(metric) => assert_eq!(*metric, route.key.metric),
                RouteAttribute::Oif(ifindex) => single.0 = *ifindex,
                RouteAttribute::Gateway(gateway) => single.1 = ip_of(gateway),
                RouteAttribute::Via(via) => single.1 = via_of(via),
                RouteAttribute::MultiPath(several) => {
                    for hop in several {
                        let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                            RouteAttribute::Gateway(gateway) => ip_of(gateway),
                            RouteAttribute::Via(via) => via_of(via),
                            _ => None,
                        });
                        hops.push((hop.interface_index, gateway, u16::from(hop.hops) + 1));
                    }
                }
                _ => {}
            }
        }
        if route.kind == RouteKind::Unicast && hops.is_empty() {
            hops.push(single);
        }
        let ours: Vec<_> =
            route.nexthops.iter().map(|hop| (hop.ifindex.0, hop.gateway, hop.weight)).collect();
        assert_eq!(ours, hops, "{message:?}");
        compared += usize::from(message.header.protocol == RouteProtocol::from(PROTOCOL));
    }
    assert_eq!(compared, FORMS.len());
}

#[test]
fn a_dump_goes_in_steps_and_by_protocol() {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    let changes: Vec<_> = (0..5_000_u32)
        .map(|number| {
            let prefix = Ipv4Addr::from(0x0b00_0000 + (number << 8));
            let protocol = if number % 2 == 0 { PROTOCOL } else { 77 };
            RouteChange::Add(KernelRoute { protocol, ..route(prefix.into(), 24, eth0, "192.0.2.9") })
        })
        .collect();
    refused_none(RouteWriter::open(&netns).unwrap().apply(&changes).unwrap());
    for protocol in [PROTOCOL, 77] {
        let (mut steps, mut routes) = (0, 0);
        let mut dump = RouteDump::start(&netns, Families::Ipv4, Some(protocol)).unwrap();
        loop {
            let before = routes;
            let progress = dump
                .step(100, |route| {
                    assert_eq!(route.protocol, protocol);
                    routes += 1;
                })
                .unwrap();
            steps += 1;
            // What is left of one datagram of 32 KiB, of some 60 bytes a route.
            assert!(routes - before < 100 + 700, "{}", routes - before);
            if progress != Progress::More {
                assert_eq!(progress, Progress::Done);
                break;
            }
        }
        assert_eq!(routes, 2_500);
        assert!(steps > 4, "{steps}");
    }
}

/// A kernel assumption that owners of routes must know: when routes go that an IPv6 dump has passed, and one comes, the
/// dump leaves out as many as are fewer now, and nothing says so (`fib6_dump_table` begins anew and counts). IPv4 goes by
/// keys.
#[rstest::rstest]
#[case::ipv4(Families::Ipv4, 0)]
#[case::ipv6(Families::Ipv6, 999)]
fn an_ipv6_dump_under_changes_leaves_out_routes_without_a_word(
    #[case] families: Families,
    #[case] left_out: usize,
) {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    let prefix = |number: u16| match families {
        Families::Ipv6 => (IpAddr::from([0x2001, 0xdb8, 0xf, number, 0, 0, 0, 0]), 64, "2001:db8:1::9"),
        Families::Ipv4 | Families::Both => {
            (Ipv4Addr::from(0x0b00_0000 + (u32::from(number) << 8)).into(), 24, "192.0.2.9")
        }
    };
    let routes: Vec<_> = (0..5_000)
        .map(|number| {
            let (address, length, gateway) = prefix(number);
            let mut route = route(address, length, eth0, gateway);
            route.key.metric = 20;
            route
        })
        .collect();
    let mut writer = RouteWriter::open(&netns).unwrap();
    let adds: Vec<_> = routes.iter().cloned().map(RouteChange::Add).collect();
    refused_none(writer.apply(&adds).unwrap());

    let mut seen = BTreeSet::new();
    let mut dump = RouteDump::start(&netns, families, Some(PROTOCOL)).unwrap();
    while seen.len() < 2_000 {
        assert_eq!(dump.step(100, |route| seen.extend([route.key])).unwrap(), Progress::More);
    }
    let passed: Vec<_> = seen.iter().take(1_000).copied().collect();
    let deletes: Vec<_> = passed.iter().map(|key| RouteChange::Delete(*key, PROTOCOL)).collect();
    refused_none(writer.apply(&deletes).unwrap());
    let mut added = routes[0].clone();
    added.key.metric = 30;
    refused_none(writer.apply(&[RouteChange::Add(added)]).unwrap());
    let end = loop {
        match dump.step(100, |route| seen.extend([route.key])).unwrap() {
            Progress::More => {}
            end => break end,
        }
    };
    assert_eq!(end, Progress::Done);
    let missed = routes.iter().filter(|route| !seen.contains(&route.key)).count();
    assert_eq!(missed, left_out);
    // Another one when all is quiet has them all.
    assert_eq!(ours(&netns).len(), 4_001);
}

/// The bodies of all routes, as the kernel lists them.
fn payloads(netns: &NetNs) -> Vec<Vec<u8>> {
    let mut socket = netns.run(|| Socket::new(NETLINK_ROUTE)).unwrap().unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(RouteMessage::default()));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
    let mut payloads = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().unwrap();
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let length = NetlinkBuffer::new_checked(rest).unwrap().length() as usize;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]).unwrap();
            if let NetlinkPayload::Done(_) = message.payload {
                return payloads;
            }
            payloads.push(NetlinkBuffer::new(&rest[..length]).payload().to_vec());
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn via_of(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some((*address).into()),
        RouteVia::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
