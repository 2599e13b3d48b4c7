//! Given a control and a relay, when something happens, then these messages and actions follow.

mod world;

use control_core::seen::{ClosedSocket, Connection, OpenSocket, SocketPart};
use control_core::{Failure, NamespaceId, SymbolVerdict};
use core::net::Ipv4Addr;
use core::time::Duration;
use frames::message::{FlowsRequest, Group, Message, Notice, PortAddress, PortFlags, PortUpdate, Status};
use frames::protocol_address::{ETHERTYPE_ALL, Family, Local};
use frames::{BootId, DropReason, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use world::{PORT, RelayModel, SYMBOL, World};

const NAMESPACE: NamespaceId = NamespaceId(0);
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

#[test]
fn the_start() {
    let mut world = World::new();
    world.sockets = vec![listener(6, 80)];
    world.run(Duration::from_secs(3));
    assert_eq!(
        world.relay.heard,
        ["PORT_REQUEST", "TUNNEL_REQUEST", "add ethertype 0x0806", "add tcp *:80", "RULES_END", "ROUTES_END"],
        "the end of the table is told when the sockets have been looked at, not before"
    );
    assert_eq!(world.actions, ["create", "carrier true"]);
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 active"]);
}

#[test]
fn a_listener_comes_and_goes() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80), listener(6, 80)];
    world.hint();
    assert_eq!(world.relay.heard, ["add tcp *:80"], "at once, and once for twins");
    world.sockets.clear();
    let closed =
        ClosedSocket { protocol: 6, local: Ipv4Addr::UNSPECIFIED.into(), local_port: 80, remote: None };
    world.run(Duration::from_millis(20));
    world.control.handle_socket_closed(NAMESPACE, &closed, world.now);
    world.settle();
    assert_eq!(world.relay.heard, ["add tcp *:80", "delete tcp *:80"]);
    assert_eq!(world.rules(), ["ethertype 0x0806 active"]);
}

#[test]
fn a_hint_is_of_its_namespace() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80)];
    for (namespace, heard) in [(NamespaceId(1), vec![]), (NAMESPACE, vec!["add tcp *:80"])] {
        world.control.handle_hint(Some(namespace), SocketPart::Listeners, world.now);
        world.settle();
        assert_eq!(world.relay.heard, heard, "{namespace}");
    }
}

#[test]
fn what_was_missed_is_found_by_the_safety_look() {
    let mut world = World::up();
    world.sockets = vec![listener(17, 53)];
    world.run(Duration::from_millis(1100));
    assert_eq!(world.relay.heard, ["add udp *:53"]);
}

#[test]
fn a_connection_outlives_its_listener() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80)];
    world.hint();
    world.run(Duration::from_millis(20));
    let flow = flow(6, 80, 40_000);
    let (tunnel, _) = world.relay.rules.last_key_value().map(|(tunnel, rule)| (*tunnel, *rule)).unwrap();
    world.send_up(tunnel, &tcp(40_000, 80, SYN));
    world.connections = vec![Connection { flow, time_wait: false }];
    world.sockets.clear();
    world.relay.heard.clear();
    world.hint();
    assert_eq!(world.relay.heard, ["drain tcp *:80"]);
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 draining"]);
    // Nobody could take one that comes still: it is not delivered, so that the kernel does not refuse it.
    let delivered = world.delivered.len();
    world.send_up(tunnel, &tcp(40_001, 80, SYN));
    world.send_up(tunnel, &tcp(40_000, 80, ACK));
    assert_eq!((world.delivered.len(), world.counter("drop.refusal")), (delivered + 1, 1));
    world.run(Duration::from_secs(5));
    // Whoever asks is told of it.
    let asked = FlowsRequest { request: RequestId(7), tunnel };
    let peer = world.relay.control.unwrap();
    world.relay.link.send_message(peer, &Message::FlowsRequest(asked));
    world.run(Duration::from_millis(20));
    assert_eq!(world.relay.heard, ["drain tcp *:80", "flows request 7 1 last"]);
    // The server has forgotten it but for TIME_WAIT: nobody needs an answer.
    world.connections[0].time_wait = true;
    world.run(Duration::from_secs(5));
    assert_eq!(world.rules(), ["ethertype 0x0806 active"]);
    assert_eq!(world.relay.heard.last().unwrap(), "delete tcp *:80");
}

#[test]
fn a_listener_that_is_back_takes_new_flows_again() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80)];
    world.hint();
    let tunnel = *world.relay.rules.last_key_value().unwrap().0;
    world.send_up(tunnel, &tcp(40_000, 80, SYN));
    world.connections = vec![Connection { flow: flow(6, 80, 40_000), time_wait: false }];
    world.sockets.clear();
    world.hint();
    world.sockets = vec![listener(6, 80)];
    world.hint();
    assert_eq!(world.relay.heard, ["add tcp *:80", "drain tcp *:80", "add tcp *:80"]);
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 active"]);
}

#[test]
fn the_rule_travels_before_the_first_packet() {
    let mut world = World::up();
    assert_eq!(world.send(&tcp(40_000, 443, SYN)), SymbolVerdict::Sent);
    assert_eq!(world.send(&tcp(40_000, 443, ACK)), SymbolVerdict::Sent);
    let rule = "add tcp 192.0.2.1:40000 from 192.0.2.2:443";
    assert_eq!(world.relay.heard, [rule, "parcel", "parcel"]);
    // Its socket is gone: the kernel tells, a look confirms.
    let remote = Some((THERE.into(), 443));
    let closed = ClosedSocket { protocol: 6, local: HERE.into(), local_port: 40_000, remote };
    world.control.handle_socket_closed(NAMESPACE, &closed, world.now);
    world.run(Duration::from_millis(20));
    assert_eq!(world.rules(), ["ethertype 0x0806 active"]);
}

/// It was sent once more while the answer to the first one came, which ended the connection.
#[test]
fn a_last_packet_behind_the_end_of_its_socket_makes_no_rule() {
    let mut world = World::up();
    let _ = world.send(&tcp(40_000, 443, SYN));
    let remote = Some((THERE.into(), 443));
    let closed = ClosedSocket { protocol: 6, local: HERE.into(), local_port: 40_000, remote };
    world.control.handle_socket_closed(NAMESPACE, &closed, world.now);
    world.run(Duration::from_millis(20));
    world.relay.heard.clear();
    assert_eq!(world.send(&tcp(40_000, 443, ACK)), SymbolVerdict::Sent);
    assert_eq!(world.relay.heard, ["parcel"]);
    assert_eq!(world.rules(), ["ethertype 0x0806 active"]);
    // The next connection from the same port is another one.
    assert_eq!(world.send(&tcp(40_000, 443, SYN)), SymbolVerdict::Sent);
    assert_eq!(world.relay.heard[1..], ["add tcp 192.0.2.1:40000 from 192.0.2.2:443", "parcel"]);
}

#[test]
fn a_packet_of_a_listener_needs_no_rule_of_its_own() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80)];
    world.hint();
    world.relay.heard.clear();
    assert_eq!(world.send(&tcp(80, 40_000, ACK)), SymbolVerdict::Sent);
    assert_eq!(world.send(&tcp(81, 40_000, RST)), SymbolVerdict::Sent);
    assert_eq!(world.relay.heard, ["parcel", "parcel"]);
}

#[test]
fn an_unconnected_datagram_socket_gets_a_listener_rule_in_place_of_the_flow() {
    let mut world = World::up();
    world.sockets = vec![listener(17, 5000)];
    assert_eq!(world.send(&udp(5000, 53)), SymbolVerdict::Sent);
    world.settle();
    assert_eq!(
        world.relay.heard,
        [
            "add udp 192.0.2.1:5000 from 192.0.2.2:53",
            "parcel",
            "add udp *:5000",
            "delete udp 192.0.2.1:5000 from 192.0.2.2:53"
        ]
    );
}

#[test]
fn a_datagram_socket_that_is_connected_keeps_its_packets_without_having_spoken() {
    let mut world = World::up();
    world.sockets = vec![listener(17, 5000)];
    world.hint();
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "udp *:5000 active"]);
    world.relay.heard.clear();
    world.sockets.clear();
    world.connections = vec![Connection { flow: flow(17, 5000, 53), time_wait: false }];
    world.hint();
    let flow = "udp 192.0.2.1:5000 from 192.0.2.2:53";
    assert_eq!(world.relay.heard, [format!("add {flow}"), "delete udp *:5000".to_owned()]);
    world.connections.clear();
    world.run(Duration::from_secs(3));
    assert_eq!(world.rules(), ["ethertype 0x0806 active"], "it is closed, though nobody told");
}

#[test]
fn a_datagram_socket_that_was_connected_when_it_was_seen_has_its_packets() {
    let mut world = World::up();
    world.connections = vec![Connection { flow: flow(17, 5000, 53), time_wait: false }];
    world.hint();
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "udp 192.0.2.1:5000 from 192.0.2.2:53 active"]);
}

#[test]
fn what_somebody_did_to_the_interface_is_shown_until_it_is_undone() {
    let mut world = World::up();
    let shown = |world: &World| {
        let row = world.control.show_symbols().remove(0);
        (row.state, row.reason, row.carrier)
    };
    let lacks = "its interface lacks 192.0.2.1/24";
    world.control.handle_symbol_altered(SYMBOL, Some(lacks), world.now);
    assert_eq!(shown(&world), ("up".to_owned(), Some(lacks.to_owned()), true));
    world.control.handle_symbol_altered(SYMBOL, None, world.now);
    assert_eq!(shown(&world), ("up".to_owned(), None, true));
    world.control.handle_symbol_altered(SYMBOL, Some(lacks), world.now);
    world.control.handle_symbol_failed(SYMBOL, Failure::Removed, world.now);
    world.run(Duration::from_secs(2));
    assert_eq!(shown(&world), ("up".to_owned(), None, true), "it was made anew");
}

#[test]
fn a_flow_without_a_socket_ends_when_idle() {
    let mut world = World::up();
    assert_eq!(world.send(&udp(5000, 53)), SymbolVerdict::Sent);
    world.run(Duration::from_secs(25));
    assert_eq!(world.relay.rules.len(), 2);
    world.run(Duration::from_secs(15));
    assert_eq!(world.rules(), ["ethertype 0x0806 active"]);
}

#[test]
fn a_hidden_port_neither_listens_nor_sends() {
    let mut world = World::up();
    world.sockets = vec![listener(17, 68)];
    world.hint();
    assert_eq!(world.send(&udp(68, 67)), SymbolVerdict::Drop(DropReason::NotExposed));
    assert!(world.relay.heard.is_empty());
    assert_eq!(world.counter("drop.not-exposed"), 1);
}

#[test]
fn parcels_reach_the_symbol_by_their_up_tunnel_only() {
    let mut world = World::up();
    let (tunnel, _) = world.relay.rules.first_key_value().map(|(tunnel, rule)| (*tunnel, *rule)).unwrap();
    world.send_up(tunnel, &udp(53, 5000));
    assert_eq!(world.delivered.len(), 1);
    world.send_up(UpTunnel(tunnel.0 + 1), &udp(53, 5000));
    assert_eq!(world.delivered.len(), 1);
    assert_eq!(world.counter("drop.unknown-tunnel"), 1);
}

#[test]
fn a_refused_rule_is_shown_and_asked_again_in_the_next_session() {
    let mut world = World::up();
    let ssh = listener(6, 22);
    world.relay.refuse_rules.insert(ssh.address);
    world.sockets = vec![ssh];
    world.hint();
    world.run(Duration::from_secs(2));
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:22 refused"]);
    assert_eq!(world.relay.heard, ["add tcp *:22"], "asked once");
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(3));
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:22 active"]);
}

#[test]
fn a_rule_that_found_no_place_is_asked_for_again() {
    let mut world = World::up();
    let http = listener(6, 80);
    world.relay.refuse_rules.insert(http.address);
    world.relay.refusal = Status::TABLE_FULL;
    world.sockets = vec![http];
    world.hint();
    world.run(Duration::from_secs(9));
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 refused"]);
    world.relay.refuse_rules.clear();
    world.run(Duration::from_secs(2));
    assert_eq!(world.rules(), ["ethertype 0x0806 active", "tcp *:80 active"]);
}

#[test]
fn rules_that_wait_for_a_busy_relay_are_bounded() {
    let mut world = World::up();
    let scan = |number: u32| {
        let [.., a, b] = number.to_be_bytes();
        let mut frame = tcp(40_000, 443, SYN);
        frame[32..34].copy_from_slice(&[a, b]);
        frame
    };
    // Nothing is acknowledged, as time stands still.
    let sent = (0..65_000).take_while(|number| world.send(&scan(*number)) == SymbolVerdict::Sent).count();
    assert!((40_000..65_000).contains(&sent), "{sent}");
    assert_eq!(world.send(&scan(0)), SymbolVerdict::Sent, "it has its rule");
    world.settle();
    assert_eq!(world.send(&scan(65_001)), SymbolVerdict::Sent);
}

#[test]
fn the_age_of_a_session_is_known_while_it_is_up() {
    let mut world = World::up();
    let age = |world: &World| world.control.show_peers(world.now)[0].session_age_ms;
    assert!(age(&world).is_some_and(|age| (1_000..=3_000).contains(&age)));
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_millis(500));
    world.relay.link.close(frames::session::CloseReason::SHUTDOWN, world.now);
    world.settle();
    assert_eq!(age(&world), None);
}

#[test]
fn attributes_that_change_while_the_interface_is_made() {
    let mut world = World::new();
    world.relay.changes_at_once = true;
    world.run(Duration::from_secs(3));
    assert_eq!(world.actions, ["create", "update up", "carrier true"], "brought in line when it is there");
}

#[test]
fn a_refused_port_is_asked_for_again() {
    let mut world = World::new();
    world.relay.refuse_port = true;
    world.run(Duration::from_secs(3));
    assert_eq!(world.symbol_state(), "refused");
    let reason = world.control.show_symbols()[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("relay relay1: not permitted: not in the list"));
    assert_eq!(world.relay.heard, ["PORT_REQUEST", "RULES_END", "ROUTES_END"]);
    // When the relay says that something changed …
    world.relay.send(&Message::Notice(Notice { status: Status::OK, text: "permissions changed" }));
    world.settle();
    assert_eq!(world.relay.heard, ["PORT_REQUEST", "RULES_END", "ROUTES_END", "PORT_REQUEST"]);
    // … and from time to time.
    world.relay.refuse_port = false;
    world.run(Duration::from_secs(11));
    assert_eq!(world.symbol_state(), "up");
}

#[test]
fn a_relay_that_restarts_hears_everything_again() {
    let mut world = World::up();
    world.sockets = vec![listener(6, 80)];
    world.hint();
    assert_eq!(world.send(&tcp(40_000, 443, SYN)), SymbolVerdict::Sent);
    world.settle();
    let tunnels: Vec<UpTunnel> = world.relay.rules.keys().copied().collect();
    world.relay = RelayModel::new(BootId(3), world.now);
    world.run(Duration::from_secs(3));
    assert_eq!(world.actions, ["carrier false", "carrier true"]);
    assert_eq!(world.relay.rules.keys().copied().collect::<Vec<_>>(), tunnels);
    let heard = &world.relay.heard;
    assert_eq!(heard.first().map(String::as_str), Some("PORT_REQUEST"));
    assert_eq!(
        heard[2..],
        [
            "add ethertype 0x0806",
            "add tcp *:80",
            "add tcp 192.0.2.1:40000 from 192.0.2.2:443",
            "RULES_END",
            "ROUTES_END"
        ]
    );
}

#[test]
fn the_ports_state_is_the_symbols_carrier() {
    let mut world = World::up();
    let addresses = [PortAddress::new(HERE.into(), 24)];
    for (generation, flags) in
        [(2, PortFlags::PRESENT | PortFlags::UP), (3, world.relay.flags), (2, PortFlags::PRESENT)]
    {
        let attributes =
            frames::message::PortAttributes { flags, ..world.relay.attributes(generation, &addresses) };
        world.relay.send(&Message::PortUpdate(PortUpdate { port: PORT, attributes }));
        world.settle();
    }
    assert_eq!(world.actions, ["update no-carrier", "carrier false", "update up", "carrier true"]);
    assert_eq!(world.symbol_state(), "up", "what is older is ignored");
}

#[test]
fn an_interface_that_cannot_be_made_is_tried_again() {
    let mut world = World::new();
    world.failure = Some(Failure::Refused("interface eth1 exists already".into()));
    world.run(Duration::from_secs(3));
    assert_eq!(world.symbol_state(), "refused");
    assert!(world.relay.heard.contains(&"RULES_END".to_owned()), "the relay need not wait for it");
    world.failure = Some(Failure::NamespaceAbsent);
    world.run(Duration::from_secs(2));
    assert_eq!(world.symbol_state(), "waiting");
    world.failure = None;
    world.run(Duration::from_secs(2));
    assert_eq!(world.symbol_state(), "up");
    world.control.handle_symbol_failed(world::SYMBOL, Failure::Removed, world.now);
    world.run(Duration::from_secs(2));
    assert_eq!(world.symbol_state(), "up");
}

#[test]
fn an_orderly_exit_gives_the_port_back() {
    let mut world = World::up();
    world.control.handle_shutdown();
    world.settle();
    assert_eq!(world.relay.heard, ["PORT_RELEASE"]);
    assert_eq!(world.actions, ["remove"]);
    world.control.handle_close(world.now);
    world.settle();
    assert_eq!(world.relay.control, None);
}

#[test]
fn the_fast_path_is_told_of_what_others_may_follow() {
    let mut world = World::up();
    let known = |world: &World, flags| {
        let parcel = [&[0; 10], &tcp(40_000, 80, flags)[..]].concat();
        world.control.fast_flow(SymbolId(1), &parcel)
    };
    assert_eq!(world.send(&tcp(40_000, 80, SYN)), SymbolVerdict::Sent);
    assert_eq!(known(&world, SYN), None, "it opens a connection");
    assert_eq!(known(&world, RST), None, "it ends one");
    let before = world.control.changes();
    assert_eq!(world.send(&tcp(40_000, 80, ACK)), SymbolVerdict::Sent);
    let decided = known(&world, ACK).unwrap();
    assert_eq!(decided.flow.source, (HERE.into(), 40_000));
    assert_eq!(decided.flow.destination, (THERE.into(), 80));
    assert_eq!(decided.frame, 54);
    assert_eq!(world.control.changes(), before, "packets change nothing");
    world.sockets = vec![listener(6, 80)];
    world.hint();
    assert_ne!(world.control.changes(), before, "a listener may take over what was a flow");
    let before = world.control.changes();
    world.sockets.clear();
    world.hint();
    assert_ne!(world.control.changes(), before, "a listener has gone");

    let before = world.control.changes();
    world.sockets = vec![OpenSocket { address: ProtocolAddress::EtherType(ETHERTYPE_ALL), interface: None }];
    world.hint();
    assert_ne!(world.control.changes(), before);
    assert_eq!(known(&world, ACK), None, "it is to see what leaves");
    world.sockets.clear();
    world.hint();
    assert_eq!(known(&world, ACK), Some(decided));
}

#[test]
fn small_packets_that_share_a_frame_are_each_delivered() {
    let mut world = World::up();
    world.sockets = vec![listener(17, 53)];
    world.hint();
    let tunnel = *world.relay.rules.last_key_value().unwrap().0;
    let packets = [40_000, 40_001, 40_002].map(|port| udp(port, 53));
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(world.send_up_all(tunnel, &packets), 1);
    let delivered: Vec<&[u8]> = world.delivered.iter().map(|parcel| &parcel[10..]).collect();
    assert_eq!(delivered, packets);
}

#[test]
fn groups_that_programs_join_are_joined_at_the_port() {
    let mut world = World::up();
    let group = |last| Group::Ip([224, 0, 0, last].into());
    world.groups = vec![group(5), group(251)];
    world.control.handle_memberships_changed(NAMESPACE, world.now);
    world.settle();
    assert_eq!(world.relay.heard, ["MEMBERSHIP_ADD", "MEMBERSHIP_ADD"]);
    world.groups.pop();
    world.control.handle_memberships_changed(NAMESPACE, world.now);
    world.run(Duration::from_millis(20));
    assert_eq!(world.relay.heard[2..], ["MEMBERSHIP_DELETE"]);
    // Where the kernel tells of no change it is found all the same.
    world.groups.clear();
    world.run(Duration::from_secs(2));
    assert_eq!(world.relay.heard[3..], ["MEMBERSHIP_DELETE"]);
}

fn listener(protocol: u8, port: u16) -> OpenSocket {
    let address = ProtocolAddress::Listener { protocol, local: Local::Any(Family::Both), port };
    OpenSocket { address, interface: None }
}

fn flow(protocol: u8, local_port: u16, remote_port: u16) -> ProtocolAddress {
    ProtocolAddress::Flow { protocol, local: HERE.into(), local_port, remote: THERE.into(), remote_port }
}

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    ipv4(6, &segment)
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    ipv4(17, &[source.to_be_bytes(), destination.to_be_bytes(), [0, 8], [0, 0]].concat())
}

/// RFC 791, 3.1, in an Ethernet frame. Checksums are nobody's business here.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend([0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(HERE.octets());
    frame.extend(THERE.octets());
    frame.extend(payload);
    frame
}
