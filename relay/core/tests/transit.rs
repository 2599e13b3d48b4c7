//! Packets from relay to relay of one router.

mod segment;

use frames::data::Tunnel;
use frames::message::{Message, RelayDismiss, RelayIntroduce, RouteAdd, RouteNexthop, Status};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind};
use frames::{DropReason, RequestId, SymbolId};
use l2link::{Batch, PeerId};
use relay_core::{Action, PortVerdict, RouteOperation, RoutesSeen};
use segment::{PORT, PORT_MAC, Segment, ipv4, tcp, tcp_listener};
use std::time::Duration;

const SALT: [u8; 32] = [6; 32];
/// The place of the other relay among the devices.
const OTHER: usize = 1;
/// The interface that leads to it.
const IFINDEX: u32 = 50;

/// A relay that control1 introduced to relay2, with which it has a session and an interface.
fn joined() -> (Segment, PeerId) {
    let mut segment = Segment::with_control();
    introduced(&mut segment, 0);
    assert!(segment.controls[OTHER].relay.is_some());
    let opened = segment.actions.iter().find_map(|action| match action {
        Action::OpenTransit { peer, relay } if relay == "relay2" => Some(*peer),
        _ => None,
    });
    let peer = opened.expect("an interface is asked for");
    segment.relay.handle_transit_opened(peer, IFINDEX);
    (segment, peer)
}

fn introduced(segment: &mut Segment, control: usize) {
    let other = segment.add_relay("relay2", SALT);
    let mac = segment.mac(other);
    let introduction =
        RelayIntroduce { symbol: SymbolId(3), mac, salt: SALT, relay: "relay2", port: "eth2", key: None };
    segment.say(control, &Message::RelayIntroduce(introduction));
    segment.pass(Duration::from_secs(3));
}

/// A packet to another network, with this TTL and a right checksum.
fn transit(ttl: u8) -> Vec<u8> {
    let mut frame = ipv4(17, 1, 0, false, &[0; 8]);
    frame[22] = ttl;
    frame[30..34].copy_from_slice(&[198, 51, 100, 7]);
    let sum: u32 = frame[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn leave(segment: &mut Segment, peer: PeerId, frame: &[u8]) -> PortVerdict {
    let mut parcel = [&[0; 10], frame].concat();
    let mut batch = Batch::new(segment.relay.parcel_frames_max(), segment.relay.frame_len_max());
    let verdict = segment.relay.handle_transit(peer, &mut parcel, segment.now, &mut batch);
    segment.receive(&batch);
    verdict
}

#[test]
fn a_packet_that_leaves_at_another_relay_goes_there_with_its_hop_given_back() {
    let (mut segment, peer) = joined();
    assert_eq!(leave(&mut segment, peer, &transit(63)), PortVerdict::Sent);
    assert_eq!(segment.controls[OTHER].parcels, [(Tunnel::NONE, transit(64))]);
    assert_eq!(segment.controls[0].parcels, [], "never by the control");
}

#[test]
fn what_must_not_go_there_is_dropped() {
    let (mut segment, peer) = joined();
    assert_eq!(leave(&mut segment, peer, &transit(0)), PortVerdict::Drop(DropReason::RelayLoop));
    let mut group = transit(1);
    group[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 2]);
    assert_eq!(leave(&mut segment, peer, &group), PortVerdict::Drop(DropReason::NotForPort));
    assert_eq!(leave(&mut segment, peer, &[0; 60]), PortVerdict::Drop(DropReason::NotForPort));
    assert_eq!(segment.dropped(DropReason::RelayLoop), 1);
    assert_eq!(segment.controls[OTHER].parcels, []);
}

#[test]
fn a_packet_from_another_relay_is_the_kernels_to_forward() {
    let (mut segment, _) = joined();
    segment.send_down(OTHER, Tunnel::NONE, &transit(64));
    assert_eq!(segment.forwarded, [transit(64)[14..].to_vec()]);
    for group in [[224, 0, 0, 5], [255; 4], [127, 0, 0, 1]] {
        let mut frame = transit(64);
        frame[30..34].copy_from_slice(&group);
        segment.send_down(OTHER, Tunnel::NONE, &frame);
    }
    segment.send_down(OTHER, Tunnel::NONE, &[0; 60]);
    assert_eq!(segment.forwarded.len(), 1);
    assert_eq!(segment.dropped(DropReason::NotForPort), 4);
}

#[test]
fn a_packet_from_another_relay_to_this_one_is_as_if_it_came_by_the_port() {
    let (mut segment, _) = joined();
    assert_eq!(segment.rule(0, 7, tcp_listener(80)), Status::OK);
    let mut packet = tcp(40_000, 80);
    packet[..6].copy_from_slice(&[9; 6]);
    segment.send_down(OTHER, Tunnel::NONE, &packet);
    segment.send_down(OTHER, Tunnel::NONE, &ipv4(1, 1, 0, false, &[8, 0, 0, 0, 0, 1, 0, 1]));
    let [(port, false, parcel), (PORT, true, _)] = &segment.own[..] else { panic!("{:?}", segment.own) };
    assert_eq!((*port, &parcel[10..16]), (PORT, &PORT_MAC.0[..]));
    let frame = parcel[10..].to_vec();
    assert_eq!(segment.arrive(&frame), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels, [(Tunnel(7), frame)]);
}

#[test]
fn routes_lead_to_the_other_relay_as_long_as_it_is_there() {
    let (mut segment, peer) = joined();
    segment.relay.handle_look_begins();
    segment.relay.handle_look_ends(RoutesSeen { ipv4: true, ipv6: true }, segment.now);
    let prefix = Prefix::new([198, 51, 100, 0].into(), 24).unwrap();
    let key = RouteKey { table: RouteKey::MAIN, prefix, metric: 20 };
    let nexthops = [RouteNexthop::at_relay(SymbolId(3), Some([203, 0, 113, 2].into()), 1)];
    let content = RouteContent { kind: RouteKind::Unicast, mtu: 1400, nexthops: &nexthops };
    segment.say(0, &Message::RouteAdd(RouteAdd { request: RequestId(1), key, content }));
    segment.actions.clear();
    segment.relay.change_routes();
    let Some(Action::ChangeRoutes(operations)) = segment.relay.poll_action() else { panic!("no change") };
    let [RouteOperation::Set { mtu: 1400, nexthops, .. }] = &operations[..] else { panic!("{operations:?}") };
    assert_eq!(nexthops[0].ifindex, IFINDEX);
    segment.relay.handle_routes_changed(&[], segment.now);
    let (rows, _) = segment.relay.show_routes(None);
    assert_eq!((rows[0].state, rows[0].nexthops[0].port.as_str()), ("installed", "eth2"));
    assert_eq!(rows[0].nexthops[0].relay.as_deref(), Some("relay2"));

    segment.close(OTHER);
    assert!(segment.actions.contains(&Action::CloseTransit { peer }));
    let (rows, _) = segment.relay.show_routes(None);
    assert_ne!(rows[0].state, "installed");
    assert_eq!(leave(&mut segment, peer, &transit(9)), PortVerdict::Drop(DropReason::NoSession));
}

#[test]
fn a_dismissed_relay_is_no_partner_any_more() {
    let (mut segment, peer) = joined();
    segment.say(0, &Message::RelayDismiss(RelayDismiss { symbol: SymbolId(3) }));
    assert!(segment.actions.contains(&Action::CloseTransit { peer }));
    assert_eq!(segment.controls[OTHER].relay, None);
    assert!(segment.relay.show_peers(segment.now).iter().all(|row| row.role == "control"));
}

#[test]
fn who_may_not_route_introduces_nobody() {
    let mut segment = Segment::with_control();
    let place = segment.join("control2");
    let mac = segment.mac(place);
    let introduction =
        RelayIntroduce { symbol: SymbolId(3), mac, salt: SALT, relay: "relay2", port: "eth2", key: None };
    segment.say(place, &Message::RelayIntroduce(introduction));
    let notice = segment.controls[place].messages.last().unwrap();
    assert!(notice.contains("no port's permission list allows it routes"), "{notice}");
}
