//! Every class of packet passes between a program on a symbol and a neighbor at the port, both ways, and the port's
//! interface accepts what programs joined.

use netns_tests::address::*;
use netns_tests::program::{packet_receiver, raw_receiver, send_packet, send_raw};
use netns_tests::{Lab, Layout, Netns, SOON, eventually};
use rstest::rstest;

/// Who sends; the other one receives.
#[derive(Debug, Clone, Copy)]
enum Sender {
    Neighbor,
    Symbol,
}

#[rstest]
#[case::llc_to_all_intermediate_systems("0x0004", "llc", "01:80:c2:00:00:15")]
#[case::eapol("0x888e", "0x888e", "01:80:c2:00:00:03")]
#[case::lldp("0x88cc", "0x88cc", "01:80:c2:00:00:0e")]
#[case::broadcast_of_an_unknown_type("0x9000", "0x9000", "ff:ff:ff:ff:ff:ff")]
fn frames_to_groups(
    #[case] protocol: &str,
    #[case] kind: &str,
    #[case] group: &str,
    #[values(Sender::Neighbor, Sender::Symbol)] sender: Sender,
) {
    let Some(lab) = up() else { return };
    let ((from, out), (to, into)) = ends(&lab, sender);
    let receiver = packet_receiver(to, &format!("{into} {protocol} join={group}"));
    // Its rule and its membership are on their way.
    eventually(SOON, &format!("the frame arrives: {}", receiver.log()), || {
        send_packet(from, &format!("{out} {group} {kind} hello"));
        let log = receiver.log();
        if log.contains("hello'") && log.contains(group) { Ok(()) } else { Err(log) }
    });
}

#[rstest]
#[case::llc("0x0004", "llc")]
#[case::eapol("0x888e", "0x888e")]
fn frames_to_a_station(
    #[case] protocol: &str,
    #[case] kind: &str,
    #[values(Sender::Neighbor, Sender::Symbol)] sender: Sender,
) {
    let Some(lab) = up() else { return };
    let ((from, out), (to, into)) = ends(&lab, sender);
    let receiver = packet_receiver(to, &format!("{into} {protocol}"));
    let mac = mac(to, into);
    eventually(SOON, "the frame arrives", || {
        send_packet(from, &format!("{out} {mac} {kind} hello"));
        let log = receiver.log();
        if log.contains("hello'") && log.contains(&mac) { Ok(()) } else { Err(log) }
    });
}

#[rstest]
#[case::a_group("01:80:c2:00:00:03", "link")]
#[case::another_station("00:00:5e:00:01:07", "self")]
fn memberships_of_packet_sockets_appear_at_the_port(#[case] mac: &str, #[case] shown: &str) {
    let Some(lab) = up() else { return };
    let has = |expected: bool| {
        eventually(SOON, &format!("{mac} at the port: {expected}"), || {
            let accepted = accepted(&lab.relay_ns);
            let found = accepted.lines().any(|line| line.contains(mac) && line.contains(shown));
            if found == expected { Ok(()) } else { Err(accepted) }
        });
    };
    let receiver = packet_receiver(lab.programs(), &format!("eth1 0x888e join={mac}"));
    has(true);
    // Frames to it arrive, whoever else's they may seem to be.
    send_packet(&lab.client, &format!("eth0 {mac} 0x888e hello"));
    receiver.await_log(&format!("got {mac} 888e b'hello'"), SOON);
    drop(receiver);
    has(false);
}

#[rstest]
#[case::ospf_v4("4 89", "224.0.0.5", CLIENT_V4, PORT_V4)]
#[case::vrrp_v4("4 112", "224.0.0.18", CLIENT_V4, PORT_V4)]
#[case::pim_v4("4 103", "224.0.0.13", CLIENT_V4, PORT_V4)]
#[case::ospf_v6("6 89", "ff02::5", CLIENT_V6, PORT_V6)]
#[case::vrrp_v6("6 112", "ff02::12", CLIENT_V6, PORT_V6)]
#[case::pim_v6("6 103", "ff02::d", CLIENT_V6, PORT_V6)]
fn raw_protocols(#[case] socket: &str, #[case] group: &str, #[case] client: &str, #[case] port: &str) {
    let Some(lab) = up() else { return };
    let (_, protocol) = socket.split_once(' ').unwrap();
    let inside = raw_receiver(lab.programs(), &format!("{socket} {group} eth1"));
    let outside = raw_receiver(&lab.client, &format!("{socket} {group} eth0"));
    eventually(SOON, "the group is joined at the port", || {
        let groups = lab.relay_ns.ok("ip maddr show dev eth1");
        if groups.split_whitespace().any(|word| word == group) { Ok(()) } else { Err(groups) }
    });
    for (receiver, sender, interface, destinations) in
        [(&inside, &lab.client, "eth0", [group, port]), (&outside, lab.programs(), "eth1", [group, client])]
    {
        for (destination, text) in destinations.into_iter().zip(["group", "station"]) {
            eventually(SOON, &format!("a packet to {destination} arrives"), || {
                send_raw(sender, &format!("{destination} {protocol} {interface} to-{text}"));
                let log = receiver.log();
                if log.contains(&format!("got b'to-{text}'")) { Ok(()) } else { Err(log) }
            });
        }
    }
    drop(inside);
    eventually(SOON, "the group is left at the port", || {
        let groups = lab.relay_ns.ok("ip maddr show dev eth1");
        if groups.split_whitespace().any(|word| word == group) { Err(groups) } else { Ok(()) }
    });
}

#[rstest]
#[case::subnet_broadcast("192.0.2.255")]
#[case::limited_broadcast("255.255.255.255")]
#[case::v4_group("224.0.0.251")]
#[case::v4_group_beyond_the_link("239.1.2.3")]
#[case::v6_group("ff02::1234")]
#[case::v6_group_beyond_the_link("ff05::1234")]
fn datagrams_to_many(#[case] destination: &str, #[values(Sender::Neighbor, Sender::Symbol)] sender: Sender) {
    let Some(lab) = up() else { return };
    let ((from, out), (to, into)) = ends(&lab, sender);
    let receiver = to.python(UDP_RECEIVER, &[destination, into]);
    receiver.await_log("listening", SOON);
    eventually(SOON, "the datagram arrives", || {
        let _ = from.run_python(UDP_SENDER, &[destination, out]).expect_success();
        let log = receiver.log();
        if log.contains("got b'hello'") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_socket_on_a_macvlan_of_the_symbol_is_reached() {
    // As the sockets of VRRP daemons are.
    let Some(lab) = up() else { return };
    lab.programs().ip(&[
        "link add vrrp.7 link eth1 address 00:00:5e:00:01:07 type macvlan mode private",
        "link set vrrp.7 up",
        "addr add 192.0.2.107/32 dev vrrp.7",
    ]);
    let receiver = lab.programs().python(UDP_RECEIVER, &["239.1.2.3", "vrrp.7", "bound"]);
    receiver.await_log("listening", SOON);
    eventually(SOON, "the datagram arrives", || {
        let _ = lab.client.run_python(UDP_SENDER, &["239.1.2.3", "eth0"]).expect_success();
        let log = receiver.log();
        if log.contains("got b'hello'") { Ok(()) } else { Err(log) }
    });
    drop(receiver);
    lab.relay.await_rules(&[]);
}

#[test]
fn address_resolution_works_both_ways() {
    let Some(lab) = up() else { return };
    let (port, client) = (mac(&lab.relay_ns, "eth1"), mac(&lab.client, "eth0"));
    for (netns, interface, v4, v6, answer) in [
        (lab.programs(), "eth1", CLIENT_V4, CLIENT_V6, &client),
        (&lab.client, "eth0", PORT_V4, PORT_V6, &port),
    ] {
        netns.ip(&[&format!("neigh flush dev {interface}")]);
        let shown = netns.ok(&format!("ndisc6 -q -1 {v6} {interface}"));
        assert_eq!(shown.trim().to_lowercase(), *answer);
        netns.ip(&[&format!("neigh flush dev {interface}")]);
        netns.ok(&format!("ping -c 1 -W 2 {v4}"));
        netns.ok(&format!("ping -c 1 -W 2 {v6}"));
        for address in [v4, v6] {
            let neighbor = netns.ok(&format!("ip neigh show {address} dev {interface}"));
            assert!(neighbor.contains(answer.as_str()), "{address}: {neighbor}");
        }
    }
}

#[test]
fn another_address_on_the_symbol_is_answered_for_by_the_control() {
    // An address that the relay does not have is the control's to answer for.
    let Some(lab) = up() else { return };
    let port = mac(&lab.relay_ns, "eth1");
    lab.programs().ip(&["addr add 192.0.2.50/24 dev eth1", "addr add 2001:db8:1::50/64 dev eth1 nodad"]);
    for address in ["192.0.2.50", "2001:db8:1::50"] {
        lab.client.ip(&[&format!("neigh flush to {address}")]);
        // What is sent then is transit to the relay, and no business of this test.
        let _ = lab.client.run(&format!("ping -c 1 -W 1 {address}"));
        let neighbor = lab.client.ok(&format!("ip neigh show {address} dev eth0"));
        assert!(neighbor.contains(&port), "{address}: {neighbor}");
    }
    eventually(SOON, "the port listens for questions for it", || {
        let groups = lab.relay_ns.ok("ip maddr show dev eth1");
        if groups.contains("ff02::1:ff00:50") { Ok(()) } else { Err(groups) }
    });
}

fn up() -> Option<Lab> {
    let mut lab = Lab::build(Layout { router: true, ..Layout::default() })?;
    lab.start();
    Some(lab)
}

/// The sending and the receiving end, each with its interface.
fn ends(lab: &Lab, sender: Sender) -> ((&Netns, &str), (&Netns, &str)) {
    let (neighbor, symbol) = ((&lab.client, "eth0"), (lab.programs(), "eth1"));
    match sender {
        Sender::Neighbor => (neighbor, symbol),
        Sender::Symbol => (symbol, neighbor),
    }
}

fn mac(netns: &Netns, interface: &str) -> String {
    netns.ip_json(&format!("link show {interface}"))[0]["address"].as_str().unwrap().to_owned()
}

/// Every Ethernet address that the port accepts besides its own.
fn accepted(relay: &Netns) -> String {
    relay.ok("ip maddr show dev eth1") + &relay.ok("bridge fdb show dev eth1")
}

const UDP_RECEIVER: &str = "
import socket, struct, sys
destination, interface, *bound = sys.argv[1:]
v6 = ':' in destination
family = socket.AF_INET6 if v6 else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
if bound:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
s.bind(('', 7000))
index = socket.if_nametoindex(interface)
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, destination) + struct.pack('i', index))
elif not destination.endswith('255'):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('4s4si', socket.inet_aton(destination), bytes(4), index))
print('listening')
while True:
    print('got', s.recv(100))
";

const UDP_SENDER: &str = "
import socket, sys
destination, interface = sys.argv[1:]
v6 = ':' in destination
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b'hello', (destination, 7000))
";
