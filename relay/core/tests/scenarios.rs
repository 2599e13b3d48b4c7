//! Given a segment, an input, what comes of it.

mod segment;

use frames::DropReason;
use frames::data::Tunnel;
use frames::message::{
    FlowsRequest, Group, Message, Notice, PortRelease, PortRequest, RoutesDone, RuleDelete, RuleReply,
    Status, TunnelReply,
};
use frames::protocol_address::{Family, Local};
use frames::{DownTunnel, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use relay_core::{Action, Event, PortState, PortVerdict};
use segment::{PORT, SYMBOL, Segment, ipv4, port_state, tcp, tcp_listener, udp_listener};
use std::time::Duration;

#[test]
fn a_permitted_control_gets_port_tunnel_and_packets() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.told(), ["port-changed", "peer-up", "symbol-up"]);
    assert_eq!(segment.controls[0].port, Some(PORT));
    let granted = &segment.controls[0].messages[0];
    for part in ["PortReply", "generation: 2", "mtu: 1500", "name: \"eth1\""] {
        assert!(granted.contains(part), "{part} in {granted}");
    }
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    assert_eq!(segment.told(), ["rule-added"]);

    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels, [(Tunnel(7), tcp(40_000, 80))]);
    assert_eq!(segment.arrive(&tcp(40_000, 81)), PortVerdict::Drop(DropReason::Unmatched));
    assert_eq!(segment.dropped(DropReason::Unmatched), 1);

    let down = segment.controls[0].down.unwrap();
    segment.send_down(0, down.into(), &outward(80, 40_000));
    assert_eq!(segment.transmitted, [(PORT, outward(80, 40_000))]);
    let tunnels = segment.relay.show_tunnels();
    assert_eq!(tunnels.len(), 2);
    assert!(tunnels.iter().all(|row| row.packets == 1 && row.bytes == 54), "{tunnels:?}");

    segment.delete(0, 7);
    assert_eq!(segment.told(), ["rule-deleted"]);
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Drop(DropReason::Unmatched));
    assert!(segment.controls[0].messages.last().unwrap().starts_with("RuleDeleted"));
}

#[test]
fn a_full_size_packet_crosses_in_pieces() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(5_000)), Status::OK);
    let mut payload = vec![0xa5; 60_000];
    payload[..8].copy_from_slice(&[0x30, 0x39, 0x13, 0x88, 0xea, 0x60, 0, 0]);
    let packet = ipv4(17, 1, 0, false, &payload);
    assert_eq!(segment.arrive(&packet), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels, [(Tunnel(7), packet)]);
}

#[test]
fn who_is_not_on_the_list_is_told_what_to_write() {
    let mut segment = Segment::with_control();
    let place = segment.join("control3");
    assert_eq!(segment.controls[place].port, None);
    let reply = &segment.controls[place].messages[0];
    for part in ["relay1", "eth1", "control3", "[[port.allow]]", "Status(2)"] {
        assert!(reply.contains(part), "{part} in {reply}");
    }
    assert_eq!(segment.told().last(), Some(&"symbol-refused"));
    let row = segment.relay.show_symbols().pop().unwrap();
    assert_eq!((row.control.as_str(), row.state, row.down_tunnel), ("control3", "refused", None));
    assert!(row.reason.unwrap().contains("[[port.allow]]"));
    assert_eq!(segment.rule(place, 1, tcp_listener(80)), Status::BAD_REQUEST, "no symbol, no rule");
}

#[test]
fn an_unknown_port_is_refused_with_those_that_there_are() {
    let mut segment = Segment::with_control();
    segment
        .say(0, &Message::PortRequest(PortRequest { request: RequestId(5), symbol: SYMBOL, name: "eth9" }));
    let reply = segment.controls[0].messages.last().unwrap();
    assert!(reply.contains("Status(1)") && reply.contains("eth9; it offers eth1"), "{reply}");
    assert_eq!(segment.relay.show_tunnels().len(), 0, "the symbol's old port went with the refusal");
}

#[test]
fn services_are_permitted_one_by_one() {
    let mut segment = Segment::with_control();
    let place = segment.join("control2");
    assert_eq!(segment.rule(place, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(place, 2, tcp_listener(81)), Status::NOT_PERMITTED);
    assert_eq!(segment.rule(0, 1, tcp_listener(22)), Status::RESERVED);
    let refused: Vec<_> =
        segment.relay.show_rules().into_iter().filter(|row| row.state == "refused").collect();
    assert_eq!(refused.len(), 2);
    assert_eq!((refused[0].control.as_str(), refused[0].port_number), ("control1", Some(22)));
    assert!(refused[0].reason.as_ref().unwrap().contains("relay_services"));
    segment.delete(place, 2);
    segment.delete(0, 1);
    assert!(segment.relay.show_rules().iter().all(|row| row.state == "active"));
}

/// To a neighbor of the port.
fn outward(source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut frame = tcp(source_port, destination_port);
    frame[..12].rotate_left(6);
    frame
}

#[test]
fn a_tunnel_of_another_control_is_nobodys() {
    let mut segment = Segment::with_control();
    let place = segment.join("control2");
    let down = segment.controls[0].down.unwrap();
    segment.send_down(place, down.into(), &tcp(80, 40_000));
    segment.send_down(place, Tunnel(77), &tcp(80, 40_000));
    assert!(segment.transmitted.is_empty());
    assert_eq!(segment.dropped(DropReason::UnknownTunnel), 2);
}

#[test]
fn small_packets_that_share_a_frame_each_leave() {
    let mut segment = Segment::with_control();
    let down = segment.controls[0].down.unwrap();
    let packets = [40_000, 40_001, 40_002].map(|port| outward(80, port));
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(segment.send_down_all(0, down.into(), &packets), 1);
    let transmitted: Vec<(PortId, &[u8])> =
        segment.transmitted.iter().map(|(port, packet)| (*port, packet.as_slice())).collect();
    assert_eq!(transmitted, [(PORT, packets[0]), (PORT, packets[1]), (PORT, packets[2])]);
}

#[test]
fn no_control_takes_the_flows_of_another() {
    let mut segment = Segment::with_control();
    let other = segment.join("control2");
    let flow = |local_port, remote_port| ProtocolAddress::Flow {
        protocol: 6,
        local: "192.0.2.1".parse().unwrap(),
        local_port,
        remote: "192.0.2.9".parse().unwrap(),
        remote_port,
    };
    assert_eq!(segment.rule(0, 1, flow(40_000, 443)), Status::OK);
    assert_eq!(segment.rule(other, 1, flow(40_000, 443)), Status::CONFLICT);
    assert_eq!(segment.rule(other, 1, flow(40_000, 80)), Status::OK, "another flow");
    assert_eq!(segment.rule(0, 1, flow(40_000, 443)), Status::OK, "its own, again");
    // control2 may listen at port 80 only.
    assert_eq!(segment.rule(0, 2, tcp_listener(443)), Status::OK);
    assert_eq!(segment.rule(0, 3, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(other, 2, flow(443, 50_000)), Status::CONFLICT);
    assert_eq!(segment.rule(other, 2, flow(80, 50_000)), Status::OK);
    assert_eq!(segment.arrive(&tcp(50_000, 443)), PortVerdict::Sent);
    assert_eq!((segment.controls[0].parcels.len(), segment.controls[other].parcels.len()), (1, 0));
}

#[test]
fn two_controls_share_and_a_stopped_one_leaves_its_share() {
    let mut segment = Segment::with_control();
    let other = segment.join("control2");
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(other, 1, tcp_listener(80)), Status::OK);
    let flows = 200;
    for port in 0..flows {
        assert_eq!(segment.arrive(&tcp(10_000 + port, 80)), PortVerdict::Sent);
        assert_eq!(segment.arrive(&tcp(10_000 + port, 80)), PortVerdict::Sent);
    }
    let counts = [0, other].map(|place| segment.controls[place].parcels.len());
    assert!(counts.iter().all(|count| *count > 100 && count % 2 == 0), "{counts:?}");

    segment.close(0);
    let _ = segment.told();
    for port in 0..flows {
        assert_eq!(segment.arrive(&tcp(10_000 + port, 80)), PortVerdict::Sent);
    }
    assert_eq!(segment.controls[other].parcels.len(), counts[1] + usize::from(flows));
    assert_eq!(segment.relay.show_ports()[0].controls, ["control2"]);
}

#[test]
fn a_silent_control_loses_everything() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    segment.member(0, ospf());
    let _ = segment.told();
    segment.controls.clear();
    segment.pass(Duration::from_secs(2));
    assert!(segment.actions.contains(&Action::Leave { port: PORT, group: ospf() }));
    assert_eq!(segment.told(), ["rule-deleted", "symbol-down", "peer-down"]);
    assert_eq!(segment.relay.show_rules(), []);
    assert_eq!(segment.relay.show_tunnels(), []);
    assert_eq!(segment.relay.show_peers(segment.now)[0].state, "down");
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Drop(DropReason::Unmatched));
}

#[test]
fn what_a_restarted_control_does_not_ask_for_again_is_swept_at_its_end_of_table() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(0, 2, tcp_listener(443)), Status::OK);
    segment.member(0, ospf());
    let down = segment.controls[0].down;
    segment.restart(0, "control1", 999);
    // Too fast to be missed: the old rules are in force until the new process has said what it wants.
    assert_eq!(rules(&segment), [(80, 1), (443, 2)]);
    let _ = segment.told();
    segment.ask(0);
    assert_eq!(segment.controls[0].down, down, "the symbol keeps its tunnel");
    assert_eq!(segment.rule(0, 5, tcp_listener(80)), Status::OK);
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels[0].0, Tunnel(5), "the newer rule has the packets");
    assert_eq!(rules(&segment), [(80, 1), (443, 2), (80, 5)]);

    segment.actions.clear();
    segment.say(0, &Message::RulesEnd);
    assert_eq!(rules(&segment), [(80, 5)]);
    assert!(segment.actions.contains(&Action::Leave { port: PORT, group: ospf() }));
    assert_eq!(segment.told(), ["rule-deleted", "rule-deleted"]);
}

#[test]
fn a_port_given_back_takes_rules_and_tunnel_with_it() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, tcp_listener(80)), Status::OK);
    segment.say(0, &Message::PortRelease(PortRelease { symbol: SYMBOL, port: PortId(2) }));
    assert_eq!(segment.relay.show_rules().len(), 1, "not its port");
    segment.say(0, &Message::PortRelease(PortRelease { symbol: SYMBOL, port: PORT }));
    assert_eq!(segment.relay.show_rules(), []);
    assert_eq!(segment.relay.show_symbols(), []);
    let down = segment.controls[0].down.unwrap();
    segment.send_down(0, down.into(), &tcp(80, 40_000));
    assert_eq!(segment.dropped(DropReason::UnknownTunnel), 1);
}

#[test]
fn an_absent_port_is_granted_and_told_of_when_it_comes() {
    let mut segment = Segment::new();
    let place = segment.join("control1");
    assert!(
        segment.controls[place].messages[0].contains("flags: PortFlags(0)"),
        "{:?}",
        segment.controls[place].messages[0]
    );
    assert_eq!(segment.relay.show_ports()[0].state, "absent");
    let down = segment.controls[place].down.unwrap();
    segment.send_down(place, down.into(), &tcp(80, 40_000));
    assert_eq!(segment.dropped(DropReason::PortDown), 1);

    segment.member(place, ospf());
    segment.actions.clear();
    segment.relay.handle_port_state(PORT, Some(port_state()));
    segment.pass(Duration::from_millis(20));
    let update = segment.controls[place].messages.last().unwrap();
    assert!(update.starts_with("PortUpdate"), "{update}");
    assert!(segment.actions.contains(&Action::Join { port: PORT, group: ospf() }));
    assert!(
        matches!(&segment.actions[..], [.., Action::SetCapture { port: PORT, .. }]),
        "{:?}",
        segment.actions
    );
    segment.send_down(place, down.into(), &outward(80, 40_000));
    assert_eq!(segment.transmitted.len(), 1);

    // Made anew: the new interface knows nothing of the groups and the filter.
    segment.actions.clear();
    segment.relay.handle_port_state(PORT, Some(PortState { ifindex: 6, ..port_state() }));
    segment.pass(Duration::from_millis(20));
    assert!(segment.actions.contains(&Action::Join { port: PORT, group: ospf() }));
    assert!(segment.actions.iter().any(|action| matches!(action, Action::SetCapture { .. })));
}

#[test]
fn an_unchanged_port_is_nobodys_news() {
    let mut segment = Segment::with_control();
    let _ = segment.told();
    let messages = segment.controls[0].messages.len();
    segment.relay.handle_port_state(PORT, Some(port_state()));
    segment.pass(Duration::from_millis(20));
    assert_eq!(segment.actions, []);
    assert_eq!(segment.controls[0].messages.len(), messages);
}

#[test]
fn addresses_elsewhere_are_captured_too() {
    let mut segment = Segment::with_control();
    segment.actions.clear();
    segment.relay.handle_addresses(&["203.0.113.7".parse().unwrap()]);
    let Some(Action::SetCapture { capture, .. }) = segment.relay.poll_action() else { panic!("no capture") };
    let addresses: Vec<_> = capture.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "203.0.113.7", "2001:db8::1"]);
    segment.relay.handle_addresses(&["203.0.113.7".parse().unwrap()]);
    assert_eq!(segment.relay.poll_action(), None);
}

#[test]
fn later_fragments_follow_their_first_in_either_order() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(5_000)), Status::OK);
    let mut payload = vec![0x5a; 1_480];
    payload[..8].copy_from_slice(&[0x30, 0x39, 0x13, 0x88, 0x0b, 0xb8, 0, 0]);
    let first = ipv4(17, 21, 0, true, &payload);
    let second = ipv4(17, 21, 1_480, true, &[1; 1_480]);
    let last = ipv4(17, 21, 2_960, false, &[2; 40]);
    assert_eq!(segment.arrive(&last), PortVerdict::Held);
    assert_eq!(segment.controls[0].parcels, []);
    assert_eq!(segment.arrive(&first), PortVerdict::Sent);
    assert_eq!(segment.arrive(&second), PortVerdict::Sent);
    let parcels: Vec<_> = segment.controls[0].parcels.iter().map(|(_, frame)| frame.clone()).collect();
    assert_eq!(parcels, [first, last, second]);

    // Another packet, whose first fragment nobody gets.
    let lost = ipv4(17, 22, 1_480, false, &[2; 40]);
    payload[3] = 0x89;
    assert_eq!(segment.arrive(&ipv4(17, 22, 0, true, &payload)), PortVerdict::Drop(DropReason::Unmatched));
    assert_eq!(segment.arrive(&lost), PortVerdict::Drop(DropReason::Unmatched));

    // And one whose first fragment never comes.
    assert_eq!(segment.arrive(&ipv4(17, 23, 1_480, false, &[2; 40])), PortVerdict::Held);
    segment.pass(Duration::from_secs(2));
    assert_eq!(segment.dropped(DropReason::OrphanFragment), 1);
}

/// The next header of a later fragment may be another one (RFC 8200, 4.5): behind the first fragment's destination
/// options stands UDP, and the later one ends with its fragment header.
#[test]
fn later_fragments_of_ipv6_follow_whatever_their_next_header() {
    let mut segment = Segment::with_control();
    let listener = ProtocolAddress::Listener { protocol: 17, local: Local::Any(Family::V6), port: 5_000 };
    assert_eq!(segment.rule(0, 7, listener), Status::OK);
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    let first = [&options[..], &[0x30, 0x39, 0x13, 0x88, 0, 16, 0, 0]].concat();
    let later = ipv6_fragment(60, 16, false, &[1; 8]);
    assert_eq!(segment.arrive(&ipv6_fragment(60, 0, true, &first)), PortVerdict::Sent);
    assert_eq!(segment.arrive(&later), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels[1], (Tunnel(7), later));
}

#[test]
fn a_deleted_rule_takes_no_late_fragments() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(5_000)), Status::OK);
    let payload = [0x30, 0x39, 0x13, 0x88, 0x0b, 0xb8, 0, 0];
    assert_eq!(segment.arrive(&ipv4(17, 21, 0, true, &payload)), PortVerdict::Sent);
    segment.delete(0, 7);
    assert_eq!(segment.rule(0, 8, tcp_listener(80)), Status::OK);
    let late = ipv4(17, 21, 8, false, &[1; 8]);
    assert_eq!(segment.arrive(&late), PortVerdict::Drop(DropReason::Unmatched));
}

#[test]
fn garbage_at_a_port_is_counted() {
    let mut segment = Segment::with_control();
    for length in 0..34 {
        let verdict = segment.arrive(&tcp(40_000, 80)[..length]);
        assert_eq!(verdict, PortVerdict::Drop(DropReason::BadPacket), "{length} bytes");
    }
    assert_eq!(segment.dropped(DropReason::BadPacket), 34);
}

/// GRE with a sequence number, TCP inside, still to be cut: it is not for a kernel, though a program listens for the protocol.
#[test]
fn what_is_to_be_done_inside_a_tunnel_does_not_cross() {
    let mut segment = Segment::with_control();
    let gre = ProtocolAddress::IpProtocol { protocol: 47, local: Local::Any(Family::V4) };
    assert_eq!(segment.rule(0, 7, gre), Status::OK);
    let inner = &tcp(40_000, 80)[14..];
    let frame = ipv4(47, 1, 0, false, &[&[0x10, 0, 0x08, 0, 0, 0, 0, 1][..], inner].concat());
    let offload = [1, 1, 0, 0, 0, 100, 0, 14 + 20 + 8 + 20, 0, 16];
    let verdict = segment.arrive_parcel(&[&offload[..], &frame].concat());
    assert_eq!(verdict, PortVerdict::Drop(DropReason::TunnelOffload));
    assert_eq!(segment.dropped(DropReason::TunnelOffload), 1);
    assert_eq!(segment.arrive(&frame), PortVerdict::Sent, "nothing is left to be done");
}

#[test]
fn a_membership_needs_the_port_and_a_group() {
    let mut segment = Segment::with_control();
    segment.member(0, Group::Ip("192.0.2.1".parse().unwrap()));
    assert!(segment.controls[0].messages.last().unwrap().contains("is not a group"));
    let place = segment.join("control3");
    segment.member(place, ospf());
    assert!(segment.controls[place].messages.last().unwrap().contains("was not granted the port"));
    assert!(!segment.actions.iter().any(|action| matches!(action, Action::Join { .. })));
}

#[test]
fn punts_of_a_class_are_limited_and_counted() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, frames::ProtocolAddress::EtherType(0x88cc)), Status::OK);
    let mut lldp = vec![1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 9, 9, 0x88, 0xcc];
    lldp.resize(60, 0);
    let verdicts: Vec<_> = (0..2_100).map(|_| segment.arrive(&lldp)).collect();
    let limited =
        verdicts.iter().filter(|verdict| **verdict == PortVerdict::Drop(DropReason::PuntLimit)).count();
    assert_eq!(limited, 100);
    let counters = segment.relay.show_counters();
    let value = |name: &str| counters.iter().find(|row| row.name == name).unwrap().value;
    assert_eq!(value("punt.control1.raw.passed"), 2_000);
    assert_eq!(value("punt.control1.raw.dropped"), 100);
    assert_eq!(value("drop.punt-limit"), 100);
}

#[test]
fn every_drop_reason_is_a_counter() {
    let segment = Segment::new();
    let counters = segment.relay.show_counters();
    for reason in DropReason::ALL {
        assert!(counters.iter().any(|row| row.name == format!("drop.{reason}")), "{reason}");
    }
}

/// Messages that only a relay says, and what is no message at all, change nothing, and the session goes on.
#[test]
fn what_no_control_says_is_counted() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let (request, tunnel) = (RequestId(1), UpTunnel(7));
    let messages = [
        Message::FlowsRequest(FlowsRequest { request, tunnel }),
        Message::RuleDeleted(RuleDelete { request, tunnel }),
        Message::RuleReply(RuleReply { request, tunnel, status: Status::OK, text: "" }),
        Message::TunnelReply(TunnelReply {
            request,
            symbol: SYMBOL,
            port: PORT,
            tunnel: DownTunnel(1),
            status: Status::OK,
        }),
        Message::RoutesDone(RoutesDone { request }),
    ];
    for (count, message) in (1..).zip(&messages) {
        segment.say(0, message);
        assert_eq!(segment.dropped(DropReason::BadMessage), count, "{message:?}");
    }
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent, "its rule is there");
}

#[test]
fn what_a_control_has_an_operator_know_is_told() {
    let mut segment = Segment::with_control();
    let _ = segment.told();
    segment.say(0, &Message::Notice(Notice { status: Status::SYSTEM, text: "no more memory" }));
    let told = segment.actions.iter().find_map(|action| match action {
        Action::Tell(event) => Some((**event).clone()),
        _ => None,
    });
    let Some(Event::Notice { control, text, .. }) = told else { panic!("{told:?}") };
    assert_eq!((control.as_str(), text.as_str()), ("control1", "no more memory"));
}

#[test]
fn a_second_device_of_a_name_is_refused_and_told() {
    let mut segment = Segment::with_control();
    segment.told();
    segment.add_stranger("control1", 900);
    segment.pass(Duration::from_secs(3));
    assert!(segment.told().contains(&"peer-refused"));
    let rows = segment.relay.show_peers(segment.now);
    assert!(rows.iter().any(|row| row.state.starts_with("refused: ")), "{rows:?}");
    assert!(segment.controls[0].relay.is_some(), "the first goes on");
}

#[test]
fn the_links_own_frames_are_asked_for_in_vain() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 1, ProtocolAddress::EtherType(0x88b5)), Status::BAD_REQUEST);
}

#[test]
fn a_control_has_only_so_many_symbols() {
    let mut segment = Segment::with_control();
    let ask = |segment: &mut Segment, symbol| {
        let request = PortRequest { request: RequestId(symbol), symbol: SymbolId(symbol), name: "eth1" };
        segment.say(0, &Message::PortRequest(request));
        segment.controls[0].messages.last().unwrap().contains(&format!("{:?}", Status::TABLE_FULL))
    };
    let full = (2..2_000).find(|symbol| ask(&mut segment, *symbol)).expect("there is a limit");
    assert!(full > 1_000, "only {full}");
    // One that it has is granted again, and one that it gave back makes room.
    assert!(!ask(&mut segment, 1));
    let release = PortRelease { symbol: SymbolId(2), port: PORT };
    segment.say(0, &Message::PortRelease(release));
    assert!(!ask(&mut segment, full));
}

fn ospf() -> Group {
    Group::Ip("224.0.0.5".parse().unwrap())
}

/// A fragment from 2001:db8::9 to 2001:db8::1.
fn ipv6_fragment(next_header: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let mut frame = Vec::from(segment::PORT_MAC.0);
    frame.extend([2, 0, 0, 0, 9, 9, 0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    frame.extend([44, 64]);
    frame.extend([address(9), address(1)].concat());
    frame.extend([next_header, 0, high, low, 0, 0, 0, 7]);
    frame.extend(payload);
    frame
}

/// Local port and up tunnel of each rule.
fn rules(segment: &Segment) -> Vec<(u16, u32)> {
    segment.relay.show_rules().iter().map(|row| (row.port_number.unwrap(), row.up_tunnel)).collect()
}
