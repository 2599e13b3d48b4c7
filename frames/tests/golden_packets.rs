//! `classify` against packets of the outside world written by hand from the RFCs.

mod golden;
mod oracle;

use frames::ParseError;
use frames::inet::{Ip, Layer3, Tcp, TcpFlags, Transport, classify, without_padding};
use rstest::rstest;

#[test]
fn every_golden_packet_reads_as_its_line_says() {
    for golden in golden::packets() {
        let view = classify(&golden.bytes).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        assert_eq!(vec![view.to_string()], golden.lines, "{}", golden.name);
        oracle::packet(&golden.bytes);
    }
}

#[test]
fn every_truncation_is_sound() {
    for golden in golden::packets() {
        for length in 0..golden.bytes.len() {
            oracle::packet(&golden.bytes[..length]);
        }
    }
}

#[test]
fn every_flipped_bit_is_sound() {
    for golden in golden::packets() {
        let mut bytes = golden.bytes.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            oracle::packet(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Cutting a packet without padding anywhere before its end is seen, as its length field says more.
#[rstest]
#[case("ipv4-tcp")]
#[case("ipv4-options")]
#[case("ipv4-fragment-later")]
#[case("icmp-port-unreachable")]
#[case("ipv6-tcp")]
#[case("ipv6-extensions")]
#[case("ipv6-fragment-later")]
#[case("icmpv6-neighbor-advertisement")]
#[case("arp-reply")]
fn a_cut_packet_is_truncated(#[case] name: &str) {
    let bytes = golden::packet(name).bytes;
    for length in 0..bytes.len() {
        match classify(&bytes[..length]) {
            Err(ParseError::Truncated { need, have }) => assert!(need > have, "{name} at {length}"),
            other => panic!("{name} at {length}: {other:?}"),
        }
    }
}

/// One byte of a golden packet set to another value.
#[rstest]
#[case("ipv4-tcp", 14, 0x55, ParseError::Value { field: "version", value: 5 })]
#[case("ipv4-tcp", 14, 0x44, ParseError::Value { field: "IHL", value: 4 })]
#[case("ipv4-options", 17, 23, ParseError::Value { field: "total length", value: 23 })]
#[case("ipv4-tcp", 17, 41, ParseError::Truncated { need: 41, have: 40 })]
#[case("ipv4-tcp", 17, 23, ParseError::Truncated { need: 4, have: 3 })]
#[case("icmp-echo-request", 17, 27, ParseError::Truncated { need: 8, have: 7 })]
#[case("icmp-port-unreachable", 42, 0x60, ParseError::Value { field: "version", value: 6 })]
#[case("ipv6-tcp", 14, 0x40, ParseError::Value { field: "version", value: 4 })]
#[case("ipv6-tcp", 19, 21, ParseError::Truncated { need: 61, have: 60 })]
#[case("ipv6-extensions", 55, 6, ParseError::Truncated { need: 2, have: 0 })]
#[case("ipv6-extensions", 55, 7, ParseError::Truncated { need: 64, have: 56 })]
fn a_contradiction_is_named(
    #[case] name: &str,
    #[case] at: usize,
    #[case] value: u8,
    #[case] error: ParseError,
) {
    let mut bytes = golden::packet(name).bytes;
    bytes[at] = value;
    assert_eq!(classify(&bytes), Err(error));
}

#[rstest]
#[case::icmpv6_in_ipv4("ipv4-tcp", 23, 58)]
#[case::icmp_in_ipv6("ipv6-tcp", 20, 1)]
fn icmp_of_the_other_version_is_unknown(#[case] name: &str, #[case] at: usize, #[case] protocol: u8) {
    let mut bytes = golden::packet(name).bytes;
    bytes[at] = protocol;
    assert_eq!(ip(&bytes).transport, Transport::Other);
}

#[test]
fn of_tcp_alone_sequence_and_flags_are_read() {
    let mut bytes = golden::packet("ipv4-tcp").bytes;
    let tcp = |bytes: &[u8]| match ip(bytes).transport {
        Transport::Ports { tcp, .. } => tcp,
        other => panic!("{other:?}"),
    };
    assert_eq!(tcp(&bytes), Tcp { sequence: 1, flags: TcpFlags::SYN });
    bytes[23] = 136;
    assert_eq!(tcp(&bytes), Tcp::NONE);
}

#[rstest]
#[case(TcpFlags::SYN, 0, [true, false, false])]
#[case(TcpFlags::SYN | TcpFlags::ACK, 0, [false, false, false])]
#[case(TcpFlags::SYN | TcpFlags::RST, 0, [false, true, false])]
#[case(TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK, 1, [false, true, false])]
#[case(TcpFlags::ACK, 0, [false, false, false])]
#[case(TcpFlags::RST, 0, [false, true, false])]
#[case(TcpFlags::RST | TcpFlags::ACK, 0, [false, true, true])]
#[case(TcpFlags::RST | TcpFlags::ACK, 1, [false, true, false])]
fn what_a_segment_does_to_a_connection(
    #[case] flags: TcpFlags,
    #[case] sequence: u32,
    #[case] opens_resets_refuses: [bool; 3],
) {
    let tcp = Tcp { sequence, flags };
    assert_eq!([tcp.opens(), tcp.resets(), tcp.refuses()], opens_resets_refuses);
}

fn ip(bytes: &[u8]) -> Ip {
    match classify(bytes).unwrap().layer3 {
        Layer3::Ip(ip) => ip,
        other => panic!("{other:?}"),
    }
}

/// Only ARP that asks for IPv4 addresses over Ethernet has any to be read.
#[rstest]
#[case::hardware_of_ieee_802(15, 6, true)]
#[case::other_hardware(15, 2, false)]
#[case::other_protocol(17, 1, false)]
#[case::other_hardware_length(18, 8, false)]
#[case::other_protocol_length(19, 16, false)]
fn arp_of_other_networks_is_another_protocol(#[case] at: usize, #[case] value: u8, #[case] is_read: bool) {
    let mut bytes = golden::packet("arp-request").bytes;
    bytes[at] = value;
    assert_eq!(classify(&bytes).unwrap().layer3 != Layer3::Other, is_read);
}

/// A payload length of zero is "to the end of the frame" only where the field cannot say more.
#[rstest]
#[case::longer_than_the_field_can_say(6, 0x1_0000, Ok(()))]
#[case::not_longer(6, 0xffff, Err(ParseError::Truncated { need: 4, have: 0 }))]
#[case::jumbogram(0, 100, Ok(()))]
fn ipv6_packets_of_length_zero(
    #[case] next_header: u8,
    #[case] length: usize,
    #[case] read: Result<(), ParseError>,
) {
    let mut bytes = golden::packet("ipv6-tcp").bytes[..54].to_vec();
    (bytes[18], bytes[19], bytes[20]) = (0, 0, next_header);
    bytes.extend(if next_header == 0 { [6, 0, 0xc2, 4, 0, 0, 0, 0] } else { [0; 8] });
    bytes.resize(54 + length, 0);
    assert_eq!(classify(&bytes).map(|_| ()), read);
}

#[test]
fn a_packet_may_be_a_header_and_nothing_else() {
    let mut bytes = golden::packet("ipv4-tcp").bytes;
    (bytes[17], bytes[23]) = (20, 253);
    assert_eq!(without_padding(&bytes), Ok(&bytes[..34]));
    assert_eq!(ip(&bytes).transport, Transport::Other);
    bytes[17] = 19;
    assert_eq!(without_padding(&bytes), Err(ParseError::Value { field: "total length", value: 19 }));
}

#[test]
fn eight_extension_headers_are_walked_over_and_no_more() {
    let with = |count: usize| {
        let mut bytes = golden::packet("ipv6-tcp").bytes;
        let tcp = bytes.split_off(54);
        for _ in 1..count {
            bytes.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(tcp);
        bytes[20] = 60;
        bytes[19] = u8::try_from(bytes.len() - 54).unwrap();
        classify(&bytes).map(|view| view.to_string())
    };
    assert!(with(8).unwrap().ends_with("[2001:db8::7]:40000 > [2001:db8::1]:80 tcp"));
    assert_eq!(with(9), Err(ParseError::Value { field: "next header", value: 60 }));
}

#[test]
fn fragments_of_one_packet_have_one_key() {
    for (first, later) in
        [("ipv4-fragment-first", "ipv4-fragment-later"), ("ipv6-fragment-first", "ipv6-fragment-later")]
    {
        assert_eq!(key(first), key(later));
        assert!(key(first).is_some());
    }
    assert_ne!(key("ipv4-fragment-first"), key("ipv6-fragment-first"));
    assert_eq!(key("ipv6-fragment-atomic"), None);
    assert_eq!(key("ipv4-tcp"), None);
}

fn key(name: &str) -> Option<frames::inet::FragmentKey> {
    ip(&golden::packet(name).bytes).fragment_key()
}
