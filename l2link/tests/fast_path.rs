//! `PACKET`: what a kernel's fast path sends is taken as a parcel, and says nothing about its sender.

mod stations;

use frames::data::{Packet, Tunnel};
use frames::discovery::Protection;
use frames::header::{EthernetHeader, Flags, HEADERS_LEN, Kind, LinkHeader};
use frames::{DropReason, Mac, SessionIndex};
use l2link::fast::{FastFlow, FastTraffic, FastWay, Flow};
use l2link::{Config, PeerId, Rx, Security, Way};
use rstest::rstest;
use stations::{MS, Segment, device, keyed, met};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

#[rstest]
fn a_packet_is_a_parcel_without_offloads(
    #[values(none(), clear_psk(), clear_keys())] devices: [Config; 2],
    #[values(0, 1)] receiver: usize,
    #[values(ipv4(), ipv6())] inner: Vec<u8>,
    #[values(0, 46)] padding: usize,
) {
    let mut segment = met(devices);
    segment.stations[receiver].link.keep_passages();
    let parcel = [&[0; 10][..], &inner].concat();
    let mut frame = packet(&mut segment, receiver, &inner);
    frame.resize(frame.len() + padding, 0xff);
    for count in 1..=3 {
        // No number tells one from another: the same frame again is another packet.
        let mut bytes = frame.clone();
        let link = &mut segment.stations[receiver].link;
        let expected = Rx::Parcel { peer: PeerId(0), tunnel: Tunnel(9), parcel: &mut parcel.clone() };
        assert_eq!(link.handle_frame(&mut bytes, segment.now), expected);
        assert_eq!(link.next_parcel(&mut bytes), None);
        let (_, rx, tx) = link.counters().kinds().find(|(name, ..)| *name == "PACKET").unwrap();
        assert_eq!((rx.frames, rx.bytes, tx.frames), (count, count * frame.len() as u64, 0));
        let seen = link.poll_passage().unwrap();
        assert_eq!((seen.way, seen.tunnel, seen.parcel), (Way::Received, Tunnel(9), parcel.clone()));
    }
}

#[rstest]
#[case::arp(46, &[0x08, 0x06], DropReason::Malformed)]
#[case::tagged(46, &[0x81, 0x00], DropReason::Malformed)]
#[case::another_version(48, &[0x65], DropReason::Malformed)]
#[case::no_length(50, &[0, 0], DropReason::Malformed)]
#[case::shorter_than_a_header(50, &[0, 19], DropReason::Malformed)]
#[case::longer_than_what_came(50, &[0, 41], DropReason::Malformed)]
#[case::a_length_in_the_link_header(16, &[0, 58], DropReason::Malformed)]
#[case::sealed(14, &[0x11], DropReason::NotSealed)]
#[case::encrypted(14, &[0x13], DropReason::NotSealed)]
#[case::gated(14, &[0x14], DropReason::NotSealed)]
#[case::another_session(20, &[0xff], DropReason::UnknownSession)]
fn a_packet_that_breaks_its_definition_is_dropped(
    #[case] at: usize,
    #[case] bytes: &[u8],
    #[case] reason: DropReason,
    #[values(none(), clear_psk())] devices: [Config; 2],
) {
    let mut segment = met(devices);
    let mut frame = packet(&mut segment, 1, &ipv4());
    let link = &mut segment.stations[1].link;
    assert!(matches!(link.handle_frame(&mut frame.clone(), segment.now), Rx::Parcel { .. }));
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    assert_eq!(link.handle_frame(&mut frame, segment.now), Rx::Drop(reason));
    assert_eq!(link.counters().dropped(reason), 1);
}

#[test]
fn a_jumbogram_has_no_length_to_go_by() {
    let mut segment = met(none());
    let mut inner = ipv6();
    inner[18..21].copy_from_slice(&[0, 0, 0]);
    let mut frame = packet(&mut segment, 1, &inner);
    let link = &mut segment.stations[1].link;
    assert_eq!(link.handle_frame(&mut frame, segment.now), Rx::Drop(DropReason::Malformed));
}

#[rstest]
fn every_cut_of_a_packet_is_dropped(#[values(ipv4(), ipv6())] inner: Vec<u8>) {
    let mut segment = met(none());
    let frame = packet(&mut segment, 1, &inner);
    let link = &mut segment.stations[1].link;
    for length in 0..frame.len() {
        let reason = if length < HEADERS_LEN { DropReason::Truncated } else { DropReason::Malformed };
        let mut cut = frame[..length].to_vec();
        assert_eq!(link.handle_frame(&mut cut, segment.now), Rx::Drop(reason), "{length} bytes");
    }
}

/// As a `DATA` without a seal is, whatever flags the frame claims.
#[rstest]
fn where_data_is_sealed_no_packet_is_taken(
    #[values(Protection::SEALED, Protection::ENCRYPTED)] data: Protection,
    #[values(0x10, 0x11, 0x13)] version_flags: u8,
) {
    let devices = [device(0, 1), device(1, 2)].map(|device| Config { data, ..device });
    let mut segment = met(devices);
    let mut frame = packet(&mut segment, 1, &ipv4());
    frame[14] = version_flags;
    let link = &mut segment.stations[1].link;
    assert_eq!(link.handle_frame(&mut frame, segment.now), Rx::Drop(DropReason::NotSealed));
}

#[rstest]
fn packets_are_no_sign_of_life(#[values(none(), clear_psk())] devices: [Config; 2]) {
    let mut segment = met(devices);
    let mut frame = packet(&mut segment, 1, &ipv4());
    segment.cut = true;
    for _ in 0..10 {
        segment.run(40 * MS);
        let now = segment.now;
        let _ = segment.stations[1].link.handle_frame(&mut frame.clone(), now);
    }
    assert_eq!(segment.told(1), ["down: silent"]);
    let link = &mut segment.stations[1].link;
    assert_eq!(link.handle_frame(&mut frame, segment.now), Rx::Drop(DropReason::UnknownSession));
}

/// Without security the next `DATA` from there moves the peer; a packet does not.
#[test]
fn a_packet_does_not_tell_where_the_peer_is() {
    let mut segment = met(none());
    let (home, away) = (segment.stations[0].mac, Mac([2, 0, 0, 0, 0, 0x70]));
    let mut frame = packet(&mut segment, 1, &ipv4());
    frame[6..12].copy_from_slice(&away.0);
    segment.send_parcel_unheard(0, &[0; 60]);
    let mut data = segment.wire.pop().unwrap().1;
    data[6..12].copy_from_slice(&away.0);
    for (frame, place) in [(&mut frame, home), (&mut data, away)] {
        let link = &mut segment.stations[1].link;
        assert!(matches!(link.handle_frame(frame, segment.now), Rx::Parcel { .. }));
        assert_eq!(link.peers()[0].mac, place);
    }
}

#[test]
fn a_fast_path_is_told_what_frames_to_a_peer_begin_with() {
    let mut segment = met(none());
    let frame = packet(&mut segment, 1, &ipv4());
    let (relay, control) = (&segment.stations[0].link, &segment.stations[1].link);
    let peer = relay.fast_peer(PeerId(0)).unwrap();
    assert_eq!((&peer.destination.0[..], &peer.source.0[..]), (&frame[..6], &frame[6..12]));
    assert_eq!(peer.receiver.0.to_be_bytes(), frame[18..22]);
    assert_eq!(peer.frame_max, relay.frame_len_max());
    assert_eq!(relay.fast_peers().collect::<Vec<_>>(), [(PeerId(0), Some(peer))]);
    assert_eq!(control.fast_sender(peer.receiver), Some(PeerId(0)));
    assert_eq!(relay.fast_peer(PeerId(1)), None);
    assert_eq!(control.fast_sender(SessionIndex(peer.receiver.0 ^ 0x100)), None);
}

#[test]
fn of_a_peer_that_is_down_or_whose_data_is_sealed_it_is_told_nothing() {
    let mut segment = met(none());
    segment.cut = true;
    segment.run(5_000 * MS);
    assert_eq!(segment.stations[0].link.fast_peers().collect::<Vec<_>>(), [(PeerId(0), None)]);

    let mut sealed = met([device(0, 1), device(1, 2)]);
    sealed.run(MS);
    assert!(!sealed.stations[0].link.is_data_clear());
    assert_eq!(sealed.stations[0].link.fast_peer(PeerId(0)), None);
}

#[test]
fn what_went_by_a_fast_path_is_counted() {
    let mut segment = met(none());
    let link = &mut segment.stations[0].link;
    let traffic = |frames| FastTraffic { packets: 7, bytes: 700, frames, frame_bytes: 100 * frames };
    link.count_fast_sent(&traffic(3));
    link.count_fast_received(&traffic(4));
    link.count_fast_received(&traffic(1));
    let (_, rx, tx) = link.counters().kinds().find(|(name, ..)| *name == "PACKET").unwrap();
    assert_eq!((rx.frames, rx.bytes, tx.frames, tx.bytes), (5, 500, 3, 300));
}

#[rstest]
#[case::no_super_packet(0, 34, 90)]
#[case::tcp(1, 34, 34 + 32 + 1000)]
#[case::tcp_with_congestion(0x81, 34, 34 + 32 + 1000)]
#[case::tcp_over_ipv6(4, 54, 54 + 32 + 1000)]
#[case::udp(5, 34, 34 + 8 + 1000)]
fn a_flow_is_as_wide_as_its_widest_frame(#[case] gso_type: u8, #[case] transport: u8, #[case] frame: usize) {
    let mut parcel = vec![0; 10 + 90];
    parcel[..10].copy_from_slice(&[1, gso_type, 0, 0, 0x03, 0xe8, 0, transport, 0, 16]);
    // The data offset of a TCP header of 32 bytes.
    parcel[10 + usize::from(transport) + 12] = 0x80;
    let (source, destination) = (([192, 0, 2, 1].into(), 80), ([198, 51, 100, 7].into(), 4000));
    let flow = Flow { protocol: 6, source, destination };
    let way = FastWay { peer: PeerId(0), tunnel: Tunnel(9) };
    assert_eq!(FastFlow::new(flow, way, &parcel), FastFlow { flow, way, frame });
}

fn none() -> [Config; 2] {
    [device(0, 1), device(1, 2)].map(|device| Config {
        security: Security::None,
        control: Protection::CLEAR,
        data: Protection::CLEAR,
        ..device
    })
}

fn clear_psk() -> [Config; 2] {
    [device(0, 1), device(1, 2)].map(|device| Config { data: Protection::CLEAR, ..device })
}

fn clear_keys() -> [Config; 2] {
    [keyed(0, 1), keyed(1, 2)].map(|device| Config { data: Protection::CLEAR, ..device })
}

/// What a fast path of the other station would send into the session with `receiver`, which a frame of that session tells.
fn packet(segment: &mut Segment, receiver: usize, inner: &[u8]) -> Vec<u8> {
    segment.send_parcel_unheard(1 - receiver, &[0; 60]);
    let data = segment.wire.pop().unwrap().1;
    let session = SessionIndex(u32::from_be_bytes(*data[18..].first_chunk().unwrap()));
    let (destination, source) = (segment.stations[receiver].mac, segment.stations[1 - receiver].mac);
    let ethernet = EthernetHeader { destination, source, ethertype: U16::new(0x88b5) };
    let link = LinkHeader::new(Kind::PACKET, Flags::empty(), 0, session, 0);
    let mut body = vec![0; inner.len() + 4];
    Packet { tunnel: Tunnel(9), frame: inner }.emit(&mut body).unwrap();
    [ethernet.as_bytes(), link.as_bytes(), &body].concat()
}

/// A frame with an IP packet of which only the length is looked at.
fn ipv4() -> Vec<u8> {
    let mut frame = vec![0x02; 14 + 40];
    frame[12..18].copy_from_slice(&[0x08, 0x00, 0x45, 0, 0, 40]);
    frame
}

fn ipv6() -> Vec<u8> {
    let mut frame = vec![0x06; 14 + 40 + 12];
    frame[12..20].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 12]);
    frame
}
