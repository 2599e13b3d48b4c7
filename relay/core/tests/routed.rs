//! Packets that come down a tunnel to be routed: those of file symbols.

mod segment;

use frames::data::Tunnel;
use frames::inet::{Obstacle, classify};
use frames::message::Status;
use frames::{DropReason, UpTunnel};
use l2link::Batch;
use relay_core::{Action, PortState, PortVerdict};
use segment::{PORT, PORT_MAC, Segment, ipv4, port_state, udp_listener};
use std::net::IpAddr;

/// From 192.0.2.1 to an address, in a frame for the port itself.
fn packet(destination: [u8; 4], bytes: usize) -> Vec<u8> {
    let mut payload = vec![0, 53, 0x9c, 0x40, 0, 0, 0, 0];
    payload.resize(8 + bytes, 7);
    let mut frame = ipv4(17, 1, 0, false, &payload);
    frame[26..34].copy_from_slice(&[&[192, 0, 2, 1], &destination[..]].concat());
    frame
}

fn down(segment: &mut Segment, frame: &[u8]) {
    let tunnel = segment.controls[0].down.unwrap();
    segment.send_down(0, Tunnel(tunnel.0), frame);
}

#[test]
fn a_packet_for_the_port_itself_is_routed() {
    let mut segment = Segment::with_control();
    let frame = packet([192, 0, 2, 9], 10);
    assert_eq!(frame[..6], PORT_MAC.0);
    down(&mut segment, &frame);
    let [(outlet, routed)] = &segment.routed[..] else { panic!("one packet") };
    assert_eq!((outlet.source, outlet.port), ("192.0.2.1".parse::<IpAddr>().unwrap(), PORT));
    assert_eq!(routed, &frame[14..], "as it was");
    assert!(segment.transmitted.is_empty());
    // One for another station leaves by the port, as ever.
    let mut frame = frame;
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
    down(&mut segment, &frame);
    assert_eq!((segment.routed.len(), segment.transmitted.len()), (1, 1));
    let rows = segment.relay.show_tunnels();
    assert_eq!(rows.iter().find(|row| row.direction == "down").unwrap().packets, 2);
}

#[test]
fn only_what_is_from_the_port_to_another_host() {
    let mut segment = Segment::with_control();
    for destination in [[224, 0, 0, 5], [192, 0, 2, 1], [127, 0, 0, 1], [0, 0, 0, 0]] {
        down(&mut segment, &packet(destination, 10));
    }
    let mut forged = packet([192, 0, 2, 9], 10);
    forged[26..30].copy_from_slice(&[192, 0, 2, 2]);
    down(&mut segment, &forged);
    let mut other = packet([192, 0, 2, 9], 10);
    other[12..14].copy_from_slice(&[0x88, 0xb6]);
    down(&mut segment, &other);
    assert_eq!(segment.dropped(DropReason::NotRoutable), 6);
    segment.relay.handle_port_state(PORT, Some(PortState { addresses: Vec::new(), ..port_state() }));
    down(&mut segment, &packet([192, 0, 2, 9], 10));
    assert_eq!(segment.dropped(DropReason::NotRoutable), 7, "the address is lost");
    assert!(segment.routed.is_empty() && segment.transmitted.is_empty());
}

#[test]
fn an_error_goes_up_as_if_it_had_arrived() {
    let mut segment = Segment::with_control();
    assert_eq!(segment.rule(0, 7, udp_listener(53)), Status::OK);
    down(&mut segment, &packet([203, 0, 113, 9], 1_400));
    let (outlet, routed) = segment.routed.pop().unwrap();
    let mut batch = Batch::new(8, segment.relay.frame_len_max());
    let obstacle = Obstacle::TooBig(1_280);
    let told = segment.relay.handle_obstacle(&outlet, &routed, obstacle, segment.now, &mut batch);
    assert_eq!(told, PortVerdict::Sent);
    segment.receive(&batch);
    let (tunnel, frame) = segment.controls[0].parcels.pop().unwrap();
    assert_eq!(tunnel, UpTunnel(7).into());
    let text = classify(&frame).unwrap().to_string();
    assert!(text.contains("icmp error about 192.0.2.1:53"), "{text}");
}

#[test]
fn its_socket_is_forgotten_with_the_last_symbol() {
    let mut segment = Segment::with_control();
    let forgotten =
        |segment: &Segment| segment.actions.iter().any(|action| matches!(action, Action::ForgetSource(_)));
    down(&mut segment, &packet([192, 0, 2, 9], 10));
    assert!(!forgotten(&segment));
    segment.close(0);
    assert!(forgotten(&segment));
}
