//! What is made of packets that do not go on as they are (segments, fragments, ICMP errors, other addresses), field by field. That
//! checksums are right, whatever the packet, is in `translation.rs`.

use frames::inet::{
    End, Fragments, Obstacle, Segments, addresses, error_about, set_ipv4_checksum, translate,
};
use frames::{Mac, ParseError};
use rstest::rstest;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// RFC 3692: for experiments; nothing is known of it.
const EXPERIMENT: u8 = 253;

const FIN_PSH_ACK_CWR: u8 = 0x99;

#[rstest]
#[case::ipv4(4, 0x01, [0x90, 0x90, 0x99])]
#[case::ipv6(6, 0x04, [0x90, 0x90, 0x99])]
#[case::ipv4_congestion_said_once(4, 0x81, [0x90, 0x10, 0x19])]
#[case::ipv6_congestion_said_once(6, 0x84, [0x90, 0x10, 0x19])]
fn tcp_segments(#[case] version: u8, #[case] gso_type: u8, #[case] flags: [u8; 3]) {
    let payload: Vec<u8> = (0..250).collect();
    let packet = ip(version, TCP, &tcp(0xffff_fff0, FIN_PSH_ACK_CWR, &payload));
    let cut = segments(&parcel(&packet, gso_type, 100, 16, &[])).unwrap();
    let at = header_len(version);
    assert_eq!(cut.iter().map(|segment| segment[at + 13]).collect::<Vec<_>>(), flags);
    let sequences = cut.iter().map(|segment| segment[at + 4..at + 8].to_vec());
    assert_eq!(sequences.collect::<Vec<_>>(), [[0xff, 0xff, 0xff, 0xf0], [0, 0, 0, 0x54], [0, 0, 0, 0xb8]]);
    assert_eq!(cut.iter().map(|segment| segment[at + 20..].to_vec()).collect::<Vec<_>>().concat(), payload);
    assert_eq!(lengths(&cut), [at + 120, at + 120, at + 70]);
    identifications_count_up(version, &cut);
}

#[rstest]
#[case::ipv4(4)]
#[case::ipv6(6)]
fn udp_segments(#[case] version: u8) {
    let packet = ip(version, UDP, &udp(&[7; 250]));
    let cut = segments(&parcel(&packet, 5, 100, 6, &[])).unwrap();
    let at = header_len(version);
    assert_eq!(cut.iter().map(|segment| segment[at + 5]).collect::<Vec<_>>(), [108, 108, 58]);
    assert_eq!(lengths(&cut), [at + 108, at + 108, at + 58]);
    identifications_count_up(version, &cut);
}

/// The lengths of the packets, which are those that their IP headers say.
fn lengths(packets: &[Vec<u8>]) -> Vec<usize> {
    for packet in packets {
        let (at, fixed) = if packet[0] >> 4 == 4 { (2, 0) } else { (4, 40) };
        assert_eq!(usize::from(u16::from_be_bytes([packet[at], packet[at + 1]])) + fixed, packet.len());
    }
    packets.iter().map(Vec::len).collect()
}

fn identifications_count_up(version: u8, packets: &[Vec<u8>]) {
    if version == 4 {
        let ids: Vec<[u8; 2]> = packets.iter().map(|packet| [packet[4], packet[5]]).collect();
        assert_eq!(ids, [[0xff, 0xff], [0, 0], [0, 1]]);
    }
}

#[rstest]
#[case::ipv4(4, "198.51.100.1")]
#[case::ipv6(6, "2001:db8::1")]
fn segments_go_where_the_packet_does(#[case] version: u8, #[case] destination: &str) {
    let parcel = parcel(&ip(version, UDP, &udp(&[])), 0, 0, 6, &[]);
    assert_eq!(Segments::new(&parcel).unwrap().destination(), Some(destination.parse().unwrap()));
}

#[rstest]
#[case::no_payload(tcp(0, 0, &[]), TCP, 1, None)]
#[case::header_too_short(with(12, 0x40, tcp(0, 0, &[1])), TCP, 1, Some(ParseError::Value { field: "data offset", value: 4 }))]
#[case::header_to_the_end(with(12, 0x60, tcp(0, 0, &[1; 4])), TCP, 1, None)]
#[case::header_beyond_the_end(with(12, 0x70, tcp(0, 0, &[1; 4])), TCP, 1, Some(ParseError::Truncated { need: 48, have: 44 }))]
#[case::no_header(vec![0; 12], TCP, 1, Some(ParseError::Truncated { need: 20, have: 12 }))]
#[case::tcp_as_udp(udp(&[1; 20]), UDP, 1, Some(ParseError::Value { field: "gso type", value: 1 }))]
#[case::udp_as_tcp(tcp(0, 0, &[1]), TCP, 5, Some(ParseError::Value { field: "gso type", value: 5 }))]
fn what_cannot_be_cut_is_refused(
    #[case] payload: Vec<u8>,
    #[case] protocol: u8,
    #[case] gso_type: u8,
    #[case] refused: Option<ParseError>,
) {
    // The checksum is verified already, so that only the segmentation is to do.
    let mut parcel = parcel(&ip(4, protocol, &payload), gso_type, 100, 0, &[]);
    parcel[0] = 2;
    match refused {
        None => assert_eq!(segments(&parcel).unwrap().len(), 1),
        Some(error) => assert_eq!(segments(&parcel), Err(error)),
    }
}

#[rstest]
#[case::in_the_last_two_bytes(4, &[], Some([0xfe, 0x02]))]
#[case::in_the_padding(6, &[0; 2], None)]
#[case::half_in_the_padding(5, &[0; 1], None)]
fn an_open_checksum_is_completed_in_the_packet_only(
    #[case] offset: u8,
    #[case] padding: &[u8],
    #[case] completed: Option<[u8; 2]>,
) {
    let packet = ip(4, EXPERIMENT, &[1, 0, 0, 0, 0, 0xfd]);
    let cut = segments(&parcel(&packet, 0, 0, offset, padding)).unwrap();
    let mut expected = packet;
    if let Some(checksum) = completed {
        expected[24..].copy_from_slice(&checksum);
    }
    assert_eq!(cut, [expected]);
}

/// As zero means "no checksum" in UDP.
#[test]
fn a_completed_checksum_is_never_zero() {
    let packet = ip(4, EXPERIMENT, &[0xff, 0xfe, 0, 1]);
    let cut = segments(&parcel(&packet, 0, 0, 2, &[])).unwrap();
    assert_eq!(cut[0][22..], [0xff, 0xff]);
}

#[test]
fn a_segment_needs_its_room() {
    for (gso_type, need) in [(0, 80), (5, 68)] {
        let parcel = parcel(&ip(4, UDP, &udp(&[1; 52])), gso_type, 40, 6, &[]);
        let write = |room| Segments::new(&parcel).unwrap().write_next(&mut vec![0; room]);
        assert_eq!((write(need), write(need - 1)), (Some(need), None));
    }
}

/// Those of a tunnel are not for every kernel, nor are those of UDP.
#[rstest]
#[case::tcp(ip(4, TCP, &tcp(0, 0, &[1; 100])), 1, Some(80))]
#[case::tcp_with_options(ip(6, TCP, &with(12, 0x60, tcp(0, 0, &[1; 100]))), 4, Some(104))]
#[case::one_segment(ip(4, TCP, &tcp(0, 0, &[1; 10])), 1, Some(50))]
#[case::udp(ip(4, UDP, &udp(&[1; 100])), 5, None)]
#[case::no_super_packet(ip(4, TCP, &tcp(0, 0, &[1; 100])), 0, None)]
fn the_longest_segment_is_known(
    #[case] packet: Vec<u8>,
    #[case] gso_type: u8,
    #[case] expected: Option<usize>,
) {
    let parcel = parcel(&packet, gso_type, 40, if gso_type == 5 { 6 } else { 16 }, &[]);
    assert_eq!(Segments::new(&parcel).unwrap().longest_of_tcp(), expected);
    let longest = segments(&parcel).unwrap().iter().map(Vec::len).max();
    assert!(expected.is_none() || longest == expected, "{longest:?}");
}

/// A fragment of a fragment stands where it stood in the whole packet, and is the last one only if that was.
#[rstest]
#[case::whole([0, 0], [[0x20, 0], [0x20, 2], [0, 4]])]
#[case::first([0x20, 0], [[0x20, 0], [0x20, 2], [0x20, 4]])]
#[case::later([0x20, 0x10], [[0x20, 0x10], [0x20, 0x12], [0x20, 0x14]])]
#[case::last([0x00, 0x10], [[0x20, 0x10], [0x20, 0x12], [0, 0x14]])]
fn fragments(#[case] flags_offset: [u8; 2], #[case] expected: [[u8; 2]; 3]) {
    let mut packet = ip(4, UDP, &[7; 40]);
    packet[6..8].copy_from_slice(&flags_offset);
    // 23 bytes of payload would fit; only the last fragment's need not be a multiple of eight.
    let mut fragments = Fragments::new(&packet, 43).unwrap();
    let mut buffer = [0; 100];
    let mut cut = vec![];
    while let Some(length) = fragments.write_next(&mut buffer) {
        cut.push(buffer[..length].to_vec());
    }
    assert_eq!(cut.iter().map(|fragment| [fragment[6], fragment[7]]).collect::<Vec<_>>(), expected);
    assert_eq!(lengths(&cut), [36, 36, 28]);
}

#[rstest]
#[case::least_mtu(4, 0x45, 0x00, 28, true)]
#[case::mtu_without_room(4, 0x45, 0x00, 27, false)]
#[case::mtu_below_a_header(4, 0x45, 0x00, 19, false)]
#[case::do_not_fragment(4, 0x45, 0x40, 1000, false)]
#[case::options(4, 0x46, 0x00, 1000, false)]
#[case::ipv6(6, 0x60, 0x00, 1000, false)]
fn what_may_be_cut(
    #[case] version: u8,
    #[case] first: u8,
    #[case] flags: u8,
    #[case] mtu: u32,
    #[case] may: bool,
) {
    let mut packet = ip(version, UDP, &[7; 40]);
    packet[0] = first;
    packet[6] |= flags;
    assert_eq!(Fragments::new(&packet, mtu).is_some(), may);
}

#[rstest]
#[case::too_big(4, Obstacle::TooBig(1400), [3, 4, 0, 0, 5, 0x78])]
#[case::mtu_beyond_the_field(4, Obstacle::TooBig(0x1_0000), [3, 4, 0, 0, 0xff, 0xff])]
#[case::no_route(4, Obstacle::NoRoute, [3, 0, 0, 0, 0, 0])]
#[case::too_big_ipv6(6, Obstacle::TooBig(0x1_0400), [2, 0, 0, 1, 4, 0])]
#[case::no_route_ipv6(6, Obstacle::NoRoute, [1, 0, 0, 0, 0, 0])]
fn errors(#[case] version: u8, #[case] obstacle: Obstacle, #[case] said: [u8; 6]) {
    let at = header_len(version);
    let (longest, protocol) = if version == 4 { (576, 1) } else { (1280, 58) };
    for payload in [0, longest - at - at - 8, longest] {
        let packet = ip(version, UDP, &vec![7; payload]);
        let mut buffer = [0xaa; 2000];
        let length = error_about(&packet, obstacle, Mac([2, 0, 0, 0, 0, 1]), &mut buffer).unwrap();
        let (before, error) = buffer[..length].split_at(24);
        assert_eq!(before[..10], [0; 10], "nothing is left to do");
        assert_eq!(before[10..22], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(before[22..], if version == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        let (header, message) = error.split_at(at);
        if version == 4 {
            assert_eq!(header[..2], [0x45, 0]);
            assert_eq!(header[4..10], [0, 0, 0, 0, 64, protocol]);
            assert_eq!(header[12..], [&packet[16..20], &packet[12..16]].concat());
        } else {
            assert_eq!(header[..4], [0x60, 0, 0, 0]);
            assert_eq!(header[6..8], [protocol, 64]);
            assert_eq!(header[8..], [&packet[24..40], &packet[8..24]].concat());
        }
        assert_eq!((&message[..2], &message[4..8]), (&said[..2], &said[2..]));
        let quoted = packet.len().min(longest - at - 8);
        assert_eq!(message[8..], packet[..quoted]);
        assert_eq!(lengths(&[error.to_vec()]), [at + 8 + quoted]);
        let mut exact = vec![0; length];
        assert_eq!(error_about(&packet, obstacle, Mac([0; 6]), &mut exact), Some(length));
        assert_eq!(error_about(&packet, obstacle, Mac([0; 6]), &mut exact[1..]), None);
    }
}

/// The packet inside an error went the other way: its source is what the error's destination is.
#[rstest]
#[case::ipv4(4, "192.0.2.1", "10.99.0.2", 12)]
#[case::ipv6(6, "2001:db8::7", "fd00::2", 8)]
fn the_packet_inside_an_error_is_translated(
    #[case] version: u8,
    #[case] from: IpAddr,
    #[case] to: IpAddr,
    #[case] source_at: usize,
) {
    let about = ip(version, UDP, &udp(&[7; 20]));
    let mut parcel = [0; 200];
    let length = error_about(&about, Obstacle::NoRoute, Mac([0; 6]), &mut parcel).unwrap();
    translate(&mut parcel[..length], End::Destination, from, to).unwrap();
    assert_eq!(addresses(&parcel[..length]).unwrap().1, to);
    let mut source = match to {
        IpAddr::V4(to) => to.octets().to_vec(),
        IpAddr::V6(to) => to.octets().to_vec(),
    };
    let inside = &parcel[24 + header_len(version) + 8..];
    source.extend(&about[source_at + source.len()..][..source.len()]);
    assert_eq!(inside[source_at..][..source.len()], source);
    if version == 4 {
        assert_eq!(parcel[length - 28..length], about[about.len() - 28..], "UDP without a checksum stays");
    }
}

/// What an echo carries may look like a packet, and so does what would be an error in the other version.
#[rstest]
#[case::icmpv6_in_ipv4(4, 58, 1)]
#[case::icmp_in_ipv6(6, 1, 3)]
#[case::echo(4, 1, 8)]
#[case::echo_ipv6(6, 58, 128)]
fn what_is_inside_any_other_packet_stays(#[case] version: u8, #[case] protocol: u8, #[case] kind: u8) {
    // It comes from where the error goes to, as inside true ones.
    let mut inside = ip(version, UDP, &udp(&[7; 20]));
    let (source_at, len) = if version == 4 { (12, 4) } else { (8, 16) };
    inside.copy_within(source_at + len..source_at + 2 * len, source_at);
    let packet = ip(version, protocol, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &inside].concat());
    let mut parcel = parcel(&packet, 0, 0, 0, &[]);
    parcel[0] = 0;
    let (_, destination) = addresses(&parcel).unwrap();
    let to = if version == 4 { "10.99.0.2" } else { "fd00::2" };
    translate(&mut parcel, End::Destination, destination, to.parse().unwrap()).unwrap();
    assert_eq!(parcel[24 + header_len(version) + 8..], inside);
}

/// The segment is that of `golden_bytes` in `translation.rs` with another checksum, so that it becomes zero, which only UDP
/// must not say (RFC 768).
#[rstest]
#[case::tcp(TCP, 16, [0, 0])]
#[case::udp(UDP, 6, [0xff, 0xff])]
fn a_translated_checksum_of_zero(#[case] protocol: u8, #[case] at: usize, #[case] expected: [u8; 2]) {
    let mut segment = vec![0; 20];
    segment[at..at + 2].copy_from_slice(&[0x48, 0x5a]);
    let mut packet = ip(4, protocol, &segment);
    packet[16..20].copy_from_slice(&[192, 0, 2, 10]);
    let mut parcel = parcel(&packet, 0, 0, 0, &[]);
    parcel[0] = 0;
    translate(&mut parcel, End::Destination, [192, 0, 2, 10].into(), [10, 99, 0, 2].into()).unwrap();
    assert_eq!(parcel[44 + at..44 + at + 2], expected);
}

#[test]
fn an_ipv4_checksum_is_set() {
    // Reckoned by RFC 1071 on paper.
    let mut packet = ip(4, UDP, &[]);
    set_ipv4_checksum(&mut packet);
    assert_eq!(packet[10..12], [0x8e, 0xa3]);
    set_ipv4_checksum(&mut packet);
    assert_eq!(packet[10..12], [0x8e, 0xa3]);
    set_ipv4_checksum(&mut packet[..9]);
}

/// All packets of a parcel.
fn segments(parcel: &[u8]) -> Result<Vec<Vec<u8>>, ParseError> {
    let mut segments = Segments::new(parcel)?;
    let mut buffer = [0; 2000];
    let mut all = vec![];
    while let Some(length) = segments.write_next(&mut buffer) {
        all.push(buffer[..length].to_vec());
    }
    Ok(all)
}

/// A parcel whose transport checksum is to be put at `offset`. `size` is that of the segments; `padding` stands behind the packet.
fn parcel(packet: &[u8], gso_type: u8, size: u8, offset: u8, padding: &[u8]) -> Vec<u8> {
    let version = packet[0] >> 4;
    let start = u8::try_from(14 + header_len(version)).unwrap();
    let offload = [1, gso_type, 0, 0, 0, size, 0, start, 0, offset];
    let ethertype = if version == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&offload[..], &[2; 12], &ethertype, packet, padding].concat()
}

/// A packet with identification `0xffff`, without checksum in its header.
fn ip(version: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    if version == 4 {
        let [high, low] = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
        let header =
            [0x45, 0, high, low, 0xff, 0xff, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        [&header[..], payload].concat()
    } else {
        let beginning = [0x60, 0, 0, 0, high, low, protocol, 64];
        let address = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [&beginning[..], &address(7), &address(1), payload].concat()
    }
}

fn header_len(version: u8) -> usize {
    if version == 4 { 20 } else { 40 }
}

fn tcp(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let header = [0x50, flags, 1, 0, 0, 0, 0, 0];
    [&[0x9c, 0x40, 0, 80][..], &sequence.to_be_bytes(), &[0, 0, 0, 0], &header, payload].concat()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[0x9c, 0x40, 0, 53][..], &length, &[0, 0], payload].concat()
}

fn with(at: usize, byte: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}
