use super::*;
use crate::config::{PortConfig, Unmatched};
use crate::port::PortState;
use crate::rule::Rule;
use frames::inet::{Fragment, Tcp};
use frames::message::{Group, PortAddress, PortFlags};
use frames::{Mac, PortId, SymbolId, UpTunnel};
use l2link::PeerId;
use l2link::service::ServiceSet;
use rstest::rstest;

const PORT: PortId = PortId(1);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 99]);
const NOT_FOR_PORT: Result<Vec<u32>, DropReason> = Err(DropReason::NotForPort);
const UNMATCHED: Result<Vec<u32>, DropReason> = Err(DropReason::Unmatched);

#[test]
fn exact_flow_then_address_then_any() {
    let mut relay = Tables::new();
    relay.rule(1, 1, listener(Local::Any(Family::Both), 80));
    relay.rule(1, 2, listener(local("192.0.2.1"), 80));
    relay.rule(3, 3, flow(6, "192.0.2.1", 80, "192.0.2.9", 40_000));
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_000, "192.0.2.1", 80)), Ok(vec![3]));
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_001, "192.0.2.1", 80)), Ok(vec![2]));
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_000, "192.0.2.2", 80)), Ok(vec![1]));
    assert_eq!(relay.gets(tcp("2001:db8::9", 40_000, "2001:db8::1", 80)), Ok(vec![1]));
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_000, "192.0.2.1", 81)), UNMATCHED);
}

#[test]
fn transit_and_other_stations_are_left_alone() {
    let mut relay = Tables::new();
    relay.rule(1, 1, listener(Local::Any(Family::Both), 80));
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_000, "198.51.100.1", 80)), NOT_FOR_PORT);
    let other = PacketView { destination: CLIENT_MAC, ..tcp("192.0.2.9", 40_000, "192.0.2.1", 80) };
    assert_eq!(relay.gets(other), NOT_FOR_PORT);
    let link = PacketView { ethertype: 0x88b5, layer3: Layer3::Other, ..other };
    assert_eq!(relay.gets(PacketView { destination: MAC, ..link }), NOT_FOR_PORT);
}

#[test]
fn everything_to_a_joined_ethernet_address_goes_to_who_joined_it() {
    let mut relay = Tables::new();
    let virtual_mac = Mac([0, 0, 0x5e, 0, 1, 1]);
    for peer in [1, 2] {
        relay.rule(peer, peer, ProtocolAddress::EtherType(ETHERTYPE_ARP));
    }
    // Another control's, which is for the port's own address.
    relay.rule(2, 3, listener(Local::Any(Family::V4), 80));
    let to_it = |packet| PacketView { destination: virtual_mac, ..packet };
    let web = to_it(tcp("192.0.2.9", 1, "192.0.2.254", 80));
    assert_eq!(relay.gets(web), NOT_FOR_PORT);
    let _ = relay.memberships.add(PORT, Group::Ethernet(virtual_mac), PeerId(1));
    assert_eq!(relay.gets(web), Ok(vec![1]));
    let request = Transport::Echo { kind: EchoKind::Request, id: 7 };
    assert_eq!(relay.gets(to_it(ip(1, request, "192.0.2.9", "192.0.2.254"))), Ok(vec![1]));
    assert_eq!(relay.gets(to_it(tcp("192.0.2.9", 1, "198.51.100.1", 22))), Ok(vec![1]), "routed by it");
    assert_eq!(relay.gets(to_it(arp(ArpOperation::Request, "192.0.2.254"))), Ok(vec![1]));
}

#[test]
fn relay_services_and_echo_requests_stay_with_the_relay() {
    let mut relay = Tables::new();
    relay.rule(1, 1, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    relay.rule(2, 1, ProtocolAddress::IpProtocol { protocol: 1, local: Local::Any(Family::V4) });
    assert_eq!(relay.gets(tcp("192.0.2.9", 40_000, "192.0.2.1", 22)), NOT_FOR_PORT);
    let request = Transport::Echo { kind: EchoKind::Request, id: 7 };
    assert_eq!(relay.gets(ip(1, request, "192.0.2.9", "192.0.2.1")), NOT_FOR_PORT);
}

#[test]
fn no_copy_of_relay_services_goes_up() {
    let mut relay = Tables::keeping(&["tcp/22", "ip/ospf", "ethertype/0x88cc"]);
    relay.rule(1, 1, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    relay.rule(2, 1, ProtocolAddress::IpProtocol { protocol: 1, local: Local::Any(Family::V4) });
    let about = |local_port| {
        let (source, destination) = (address("192.0.2.1"), address("198.51.100.1"));
        let inner = IcmpInner { source, destination, protocol: 6, ports: Some((local_port, 40_000)) };
        ip(1, Transport::IcmpError(inner), "192.0.2.254", "192.0.2.1")
    };
    assert_eq!(relay.gets(about(22)), NOT_FOR_PORT);
    assert_eq!(relay.gets(about(23)), Ok(vec![1, 1]));
    assert_eq!(relay.gets(group_mac(ip(89, Transport::Other, "192.0.2.9", "224.0.0.5"))), NOT_FOR_PORT);
    assert_eq!(relay.gets(group_mac(ip(88, Transport::Other, "192.0.2.9", "224.0.0.10"))), Ok(vec![1]));
    let frame = |ethertype| PacketView { ethertype, layer3: Layer3::Other, ..group_mac(about(23)) };
    assert_eq!(relay.gets(frame(0x88cc)), NOT_FOR_PORT);
    assert_eq!(relay.gets(frame(0x88cd)), Ok(vec![1]));
}

#[test]
fn an_echo_reply_goes_to_its_flow_and_a_copy_to_raw_sockets() {
    let mut relay = Tables::new();
    relay.rule(1, 1, flow(1, "192.0.2.1", 7, "192.0.2.9", 0));
    let reply = |id| ip(1, Transport::Echo { kind: EchoKind::Reply, id }, "192.0.2.9", "192.0.2.1");
    assert_eq!(relay.gets(reply(7)), Ok(vec![1]));
    assert_eq!(relay.gets(reply(8)), UNMATCHED);
    relay.rule(2, 2, ProtocolAddress::IpProtocol { protocol: 1, local: Local::Any(Family::V4) });
    assert_eq!(relay.gets(reply(7)), Ok(vec![1, 2]));
    assert_eq!(relay.gets(reply(8)), Ok(vec![2]));
}

#[rstest]
#[case::flow(Some((40_000, 53)), Ok(vec![1]))]
#[case::listener(Some((80, 50_000)), Ok(vec![2]))]
#[case::nobody(Some((81, 50_000)), UNMATCHED)]
#[case::raw(None, Ok(vec![3]))]
fn an_icmp_error_goes_the_way_of_its_packet(
    #[case] ports: Option<(u16, u16)>,
    #[case] expected: Result<Vec<u32>, DropReason>,
) {
    let mut relay = Tables::new();
    relay.rule(1, 1, flow(17, "192.0.2.1", 40_000, "198.51.100.1", 53));
    relay.rule(2, 2, ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::V4), port: 80 });
    relay.rule(3, 3, ProtocolAddress::IpProtocol { protocol: 17, local: local("192.0.2.1") });
    let inner =
        IcmpInner { source: address("192.0.2.1"), destination: address("198.51.100.1"), protocol: 17, ports };
    // From a router on the way, not from the packet's destination.
    assert_eq!(relay.gets(ip(1, Transport::IcmpError(inner), "192.0.2.254", "192.0.2.1")), expected);
}

#[test]
fn neighbor_discovery_goes_to_every_symbol_unless_the_relay_answers() {
    let mut relay = Tables::new();
    for peer in [1, 2] {
        relay.rule(peer, peer, ProtocolAddress::EtherType(ETHERTYPE_ARP));
    }
    let all = Ok(vec![1, 2]);
    assert_eq!(relay.gets(arp(ArpOperation::Reply, "192.0.2.1")), all);
    assert_eq!(relay.gets(arp(ArpOperation::Request, "192.0.2.50")), all);
    assert_eq!(relay.gets(arp(ArpOperation::Request, "192.0.2.1")), NOT_FOR_PORT);
    assert_eq!(relay.gets(arp(ArpOperation::Request, "203.0.113.1")), NOT_FOR_PORT, "the relay's elsewhere");
    let nd = |transport| group_mac(ip(58, transport, "2001:db8::9", "ff02::1"));
    let target = |text: &str| text.parse().unwrap();
    assert_eq!(relay.gets(nd(Transport::NeighborAdvertisement(target("2001:db8::9")))), all);
    assert_eq!(relay.gets(nd(Transport::NeighborSolicitation(target("2001:db8::50")))), all);
    assert_eq!(relay.gets(nd(Transport::NeighborSolicitation(target("2001:db8::1")))), NOT_FOR_PORT);
    assert_eq!(relay.gets(nd(Transport::Icmp(134))), all);
    assert_eq!(relay.gets(group_mac(ip(58, Transport::Icmp(133), "2001:db8::9", "ff02::2"))), all);
    assert_eq!(relay.gets(nd(Transport::Icmp(130))), UNMATCHED, "multicast listener queries");
    assert_eq!(relay.gets(group_mac(ip(1, Transport::Icmp(134), "192.0.2.9", "224.0.0.1"))), UNMATCHED);
}

#[test]
fn a_lease_reaches_a_client_that_has_no_address_yet() {
    let mut relay = Tables::new();
    let offer = ip(17, ports(67, 68), "192.0.2.254", "192.0.2.60");
    assert_eq!(relay.gets(offer), UNMATCHED);
    relay.rule(1, 1, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    relay.rule(2, 2, ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::V4), port: 68 });
    assert_eq!(relay.gets(offer), Ok(vec![1, 2]));
    assert_eq!(relay.gets(ip(17, ports(67, 69), "192.0.2.254", "192.0.2.60")), NOT_FOR_PORT);
    assert_eq!(relay.gets(ip(17, ports(66, 68), "192.0.2.254", "192.0.2.60")), NOT_FOR_PORT);
    let other = PacketView { destination: CLIENT_MAC, ..offer };
    assert_eq!(relay.gets(other), NOT_FOR_PORT);
}

#[test]
fn groups_reach_every_listener() {
    let mut relay = Tables::new();
    let udp = |local, port| ProtocolAddress::Listener { protocol: 17, local, port };
    relay.rule(1, 1, udp(Local::Any(Family::V4), 520));
    relay.rule(2, 2, udp(Local::Any(Family::Both), 520));
    relay.rule(3, 3, udp(local("224.0.0.9"), 520));
    relay.rule(4, 4, udp(local("192.0.2.1"), 520));
    let to = |destination| group_mac(ip(17, ports(520, 520), "192.0.2.9", destination));
    assert_eq!(relay.gets(to("224.0.0.9")), Ok(vec![1, 2, 3]));
    assert_eq!(relay.gets(to("192.0.2.255")), Ok(vec![1, 2]));
    assert_eq!(relay.gets(to("255.255.255.255")), Ok(vec![1, 2]));
}

#[test]
fn raw_and_packet_sockets_get_copies_and_no_symbol_gets_two() {
    let mut relay = Tables::new();
    relay.rule(1, 1, listener(Local::Any(Family::V4), 80));
    relay.rule(1, 2, ProtocolAddress::IpProtocol { protocol: 6, local: Local::Any(Family::V4) });
    relay.rule(2, 3, ProtocolAddress::IpProtocol { protocol: 6, local: local("192.0.2.1") });
    relay.rule(2, 4, ProtocolAddress::EtherType(0x0800));
    relay.rule(3, 5, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    assert_eq!(relay.gets(tcp("192.0.2.9", 1, "192.0.2.1", 80)), Ok(vec![1, 3]));
    assert_eq!(relay.gets(tcp("192.0.2.9", 1, "192.0.2.1", 81)), Ok(vec![2, 3]));
    let lldp = PacketView {
        destination: Mac([1, 0x80, 0xc2, 0, 0, 0x0e]),
        ethertype: 0x88cc,
        layer3: Layer3::Other,
        ..tcp("192.0.2.9", 1, "192.0.2.1", 80)
    };
    assert_eq!(relay.gets(lldp), Ok(vec![5]));
    relay.rule(4, 6, ProtocolAddress::EtherType(0x88cc));
    assert_eq!(relay.gets(lldp), Ok(vec![5, 6]));
}

#[test]
fn who_only_watches_gets_nothing_that_its_kernel_would_answer() {
    let mut relay = Tables::new();
    relay.rule(1, 1, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    relay.rule(2, 2, listener(Local::Any(Family::V4), 80));
    assert_eq!(
        relay.gets(tcp("192.0.2.9", 40_000, "192.0.2.1", 80)),
        Ok(vec![2]),
        "another control's connection"
    );
    assert_eq!(
        relay.gets(tcp("192.0.2.9", 443, "192.0.2.1", 50_000)),
        UNMATCHED,
        "the relay's own connection"
    );
    assert_eq!(relay.gets(ip(89, Transport::Other, "192.0.2.9", "192.0.2.1")), UNMATCHED);
    assert_eq!(relay.gets(group_mac(ip(89, Transport::Other, "192.0.2.9", "224.0.0.5"))), Ok(vec![1]));
}

#[test]
fn ospf_by_multicast_reaches_the_raw_socket() {
    let mut relay = Tables::new();
    relay.rule(1, 1, ProtocolAddress::IpProtocol { protocol: 89, local: Local::Any(Family::V4) });
    assert_eq!(relay.gets(group_mac(ip(89, Transport::Other, "192.0.2.9", "224.0.0.5"))), Ok(vec![1]));
    assert_eq!(relay.gets(ip(89, Transport::Other, "192.0.2.9", "192.0.2.1")), Ok(vec![1]));
}

#[rstest]
#[case(tcp("192.0.2.9", 1, "192.0.2.1", 80), PuntClass::Transport)]
#[case(tcp("192.0.2.9", 1, "192.0.2.1", 81), PuntClass::Raw)]
#[case(group_mac(ip(17, ports(1, 80), "192.0.2.9", "224.0.0.1")), PuntClass::Group)]
#[case(arp(ArpOperation::Reply, "192.0.2.1"), PuntClass::Neighbor)]
#[case(ip(1, Transport::Icmp(9), "192.0.2.9", "192.0.2.1"), PuntClass::Icmp)]
fn classes(#[case] packet: PacketView, #[case] expected: PuntClass) {
    let mut relay = Tables::new();
    relay.rule(1, 1, listener(Local::Any(Family::V4), 80));
    relay.rule(1, 2, ProtocolAddress::EtherType(ETHERTYPE_ALL));
    relay.rule(1, 3, ProtocolAddress::IpProtocol { protocol: 6, local: Local::Any(Family::V4) });
    assert_eq!(relay.class(packet), Ok(expected));
}

/// A relay with one port that has 192.0.2.1/24 and 2001:db8::1/64, and tcp/22 for itself; 203.0.113.1 is elsewhere.
struct Tables {
    ports: Ports,
    dispatch: Dispatch,
    memberships: Memberships,
    targets: Targets,
}

impl Tables {
    fn new() -> Self {
        Self::keeping(&["tcp/22"])
    }

    fn keeping(relay_services: &[&str]) -> Self {
        let mut ports = Ports::new(vec![PortConfig {
            interface: "eth1".into(),
            relay_services: ServiceSet::parse(relay_services).unwrap(),
            unmatched: Unmatched::Drop,
            conflicts: crate::config::Conflicts::Share,
            allow: Vec::new(),
        }]);
        let state = PortState {
            ifindex: 2,
            mac: MAC,
            mtu: 1500,
            speed: 0,
            flags: PortFlags::UP | PortFlags::CARRIER,
            routes: Vec::new(),
            addresses: vec![
                PortAddress::new(address("192.0.2.1"), 24),
                PortAddress::new(address("192.0.2.2"), 24),
                PortAddress::new(address("2001:db8::1"), 64),
            ],
        };
        assert!(ports.set_state(PORT, Some(state)));
        assert!(ports.set_elsewhere(&[address("203.0.113.1")]));
        Self {
            ports,
            dispatch: Dispatch::default(),
            memberships: Memberships::default(),
            targets: Targets::default(),
        }
    }

    fn rule(&mut self, peer: u32, tunnel: u32, protocol_address: ProtocolAddress) {
        let rule = Rule {
            peer: PeerId(peer),
            tunnel: UpTunnel(tunnel),
            symbol: SymbolId(1),
            port: PORT,
            protocol_address,
            weight: 1,
            stale: false,
            since: 0,
            packets: 0,
            bytes: 0,
        };
        assert!(self.dispatch.add(rule).is_ok());
    }

    fn class(&mut self, view: PacketView) -> Result<PuntClass, DropReason> {
        let port = self.ports.get(PORT).unwrap();
        let mut selector = Selector {
            link_ethertype: 0x88b5,
            ports: &self.ports,
            dispatch: &self.dispatch,
            memberships: &self.memberships,
            targets: &mut self.targets,
            sought: None,
            decision: None,
        };
        selector.check_for_port(port, &view).and_then(|()| selector.select(port, &view)).map_err(Left::reason)
    }

    /// The up tunnels that get the packet, in order.
    fn gets(&mut self, view: PacketView) -> Result<Vec<u32>, DropReason> {
        self.class(view)?;
        let mut tunnels: Vec<_> = self.targets.iter().map(|target| target.tunnel.0).collect();
        tunnels.sort_unstable();
        Ok(tunnels)
    }
}

fn tcp(source: &str, source_port: u16, destination: &str, destination_port: u16) -> PacketView {
    ip(6, ports(source_port, destination_port), source, destination)
}

fn ports(source: u16, destination: u16) -> Transport {
    Transport::Ports { source, destination, tcp: Tcp::NONE }
}

fn ip(protocol: u8, transport: Transport, source: &str, destination: &str) -> PacketView {
    let fragment: Option<Fragment> = None;
    let ip = Ip { source: address(source), destination: address(destination), protocol, fragment, transport };
    let ethertype = if ip.source.is_ipv4() { 0x0800 } else { 0x86dd };
    PacketView { destination: MAC, source: CLIENT_MAC, ethertype, layer3: Layer3::Ip(ip) }
}

fn group_mac(view: PacketView) -> PacketView {
    PacketView { destination: Mac([1, 0, 0x5e, 0, 0, 5]), ..view }
}

fn arp(operation: ArpOperation, target: &str) -> PacketView {
    let layer3 =
        Layer3::Arp { operation, sender: "192.0.2.9".parse().unwrap(), target: target.parse().unwrap() };
    PacketView { destination: Mac::BROADCAST, source: CLIENT_MAC, ethertype: 0x0806, layer3 }
}

fn listener(local: Local, port: u16) -> ProtocolAddress {
    ProtocolAddress::Listener { protocol: 6, local, port }
}

fn flow(protocol: u8, local: &str, local_port: u16, remote: &str, remote_port: u16) -> ProtocolAddress {
    ProtocolAddress::Flow {
        protocol,
        local: address(local),
        local_port,
        remote: address(remote),
        remote_port,
    }
}

fn local(text: &str) -> Local {
    Local::Address(address(text))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
