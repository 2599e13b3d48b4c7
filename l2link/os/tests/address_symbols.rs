//! What address symbols need of the kernel: packets with a header of their own, routing by source, no ARP.

mod lab;

use l2link_os::{Conversations, Dad, InterfaceAddress, IpSocket, NetNs, Netlink, NotSent, Tap};
use lab::{cable, eventually, ip, namespace, write_sysctl};
use std::net::IpAddr;

const SOURCE_V4: &str = "192.0.2.10";
const SOURCE_V6: &str = "2001:db8::10";

/// A relay with the port eth0, and the host at its other end.
fn relay() -> Option<(NetNs, NetNs)> {
    let (netns, other) = (namespace()?, namespace()?);
    cable(&netns, "eth0", &other, "eth0");
    for (netns, host) in [(&netns, "10"), (&other, "2")] {
        ip(netns, &format!("addr add 192.0.2.{host}/24 dev eth0"));
        // Even without detection of duplicates an address is tentative for a moment otherwise.
        ip(netns, &format!("addr add 2001:db8::{host}/64 dev eth0 nodad"));
    }
    Some((netns, other))
}

fn socket(netns: &NetNs, source: &str) -> IpSocket {
    let mut netlink = Netlink::open(netns).unwrap();
    let scope = netlink.link_by_name("eth0").unwrap().unwrap().ifindex;
    netns.run(|| IpSocket::open(source.parse().unwrap(), scope)).unwrap().unwrap()
}

/// An IP packet of protocol 253 (RFC 3692: for experiments) with so much payload.
fn packet(source: &str, destination: &str, payload: usize) -> (Vec<u8>, IpAddr) {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + payload).unwrap().to_be_bytes();
            let begin = [0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 253, 0, 0];
            [&begin[..], &source.octets(), &destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload).unwrap().to_be_bytes();
            let begin = [0x60, 0, 0, 0, length[0], length[1], 253, 64];
            [&begin[..], &source.octets(), &destination.octets()].concat()
        }
        _ => panic!("of two versions"),
    };
    packet.resize(packet.len() + payload, 0x5a);
    (packet, destination)
}

#[test]
fn packets_leave_by_the_machines_routes_and_sizes_count() {
    let Some((netns, _other)) = relay() else { return };
    for (source, near, far) in
        [(SOURCE_V4, "192.0.2.2", "198.51.100.9"), (SOURCE_V6, "2001:db8::2", "2001:db8:9::9")]
    {
        let socket = socket(&netns, source);
        let send = |destination, payload| {
            let (packet, destination) = packet(source, destination, payload);
            netns.run(|| socket.send(&packet, destination)).unwrap()
        };
        let sent = || ip(&netns, "-s link show eth0");
        let before = sent();
        assert!(send(near, 100).is_ok());
        assert_ne!(sent(), before);
        assert!(matches!(send(near, 1_490), Err(NotSent::TooLarge)), "larger than the interface");
        assert!(matches!(send(far, 100), Err(NotSent::NoRoute)));
        let mtu = |destination: &str| netns.run(|| socket.mtu_towards(destination.parse().unwrap())).unwrap();
        assert_eq!(mtu(near).unwrap(), 1_500);
        ip(&netns, &format!("route add {far} via {near} mtu 1400"));
        assert_eq!(mtu(far).unwrap(), 1_400);
        assert!(matches!(send(far, 1_420), Err(NotSent::TooLarge)), "larger than the route");
    }
}

/// Linux tells a local source by ICMP what a system call cannot.
#[test]
fn the_kernel_says_that_a_neighbor_does_not_answer() {
    let Some((netns, _other)) = relay() else { return };
    for (version, source, absent) in [("ipv4", SOURCE_V4, "192.0.2.99"), ("ipv6", SOURCE_V6, "2001:db8::99")]
    {
        write_sysctl(&netns, &format!("net/{version}/neigh/eth0/retrans_time_ms"), "50");
        let socket = socket(&netns, source);
        let (packet, destination) = packet(source, absent, 100);
        netns.run(|| socket.send(&packet, destination)).unwrap().unwrap();
        let mut buffer = [0; 2_000];
        let length = eventually("an ICMP error", || {
            let length = socket.next_error(&mut buffer).unwrap()?;
            // Neighbor discovery comes by the same socket.
            let kind = if version == "ipv4" { buffer[20] } else { buffer[40] };
            matches!((version, kind), ("ipv4", 3) | ("ipv6", 1)).then_some(length)
        });
        let view = frames::inet::classify(&frame(&buffer[..length])).unwrap().to_string();
        assert!(view.contains("error about") && view.contains(absent), "{view}");
    }
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2; 12][..], &ethertype, packet].concat()
}

#[test]
fn an_address_that_is_not_there_sends_nothing() {
    let Some((netns, _other)) = relay() else { return };
    let opened = netns.run(|| IpSocket::open("192.0.2.77".parse().unwrap(), l2link_os::IfIndex(0))).unwrap();
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
}

/// Behind an interface without ARP every host is a neighbor, with the interface's own Ethernet address.
#[test]
fn without_arp_packets_leave_at_once() {
    let Some(netns) = namespace() else { return };
    let mut netlink = Netlink::open(&netns).unwrap();
    let mut tap = Tap::create(&netns, "vip", None).unwrap();
    let ifindex = netlink.link_by_name("vip").unwrap().unwrap().ifindex;
    netlink.set_no_arp(ifindex).unwrap();
    netlink.set_up(ifindex, true).unwrap();
    tap.set_carrier(true).unwrap();
    let mac = netlink.link_by_name("vip").unwrap().unwrap().mac.unwrap();
    for (source, prefix, far) in
        [("203.0.113.10", 32, "198.51.100.9"), ("2001:db8:5::10", 128, "2001:db8:9::9")]
    {
        let source: IpAddr = source.parse().unwrap();
        // An address of the control's own comes behind it, and is not what programs send from.
        let other: IpAddr = if source.is_ipv4() { "10.99.0.2" } else { "2001:db8:99::2" }.parse().unwrap();
        for address in [source, other] {
            netlink.add_address(InterfaceAddress { ifindex, address, prefix }, Dad::Off).unwrap();
        }
        netlink.route_all(ifindex, source).unwrap();
        netlink.route_all(ifindex, source).unwrap();
        tap.discard().unwrap();
        netns
            .run(|| {
                let any = if source.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                std::net::UdpSocket::bind(any).unwrap().send_to(b"x", (far, 9)).unwrap();
            })
            .unwrap();
        let frame = eventually("a packet", || {
            let frame = tap.read(&mut Conversations::default(), l2link::Time(0)).unwrap()?[10..].to_vec();
            frames::inet::classify(&frame).unwrap().to_string().contains(" udp").then_some(frame)
        });
        assert_eq!(frame[..6], mac.0);
        let text = frames::inet::classify(&frame).unwrap().to_string();
        assert!(text.contains(&source.to_string()) && text.contains(far), "{text}");
    }
}
