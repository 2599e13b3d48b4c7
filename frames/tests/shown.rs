//! How items are shown to an operator, and in which order.

use frames::data::{GsoType, OffloadFlags, OffloadHeader};
use frames::message::{LiveFlow, PortReply, Status};
use frames::protocol_address::{Family, Local, protocol_name};
use frames::route::Prefix;
use frames::{BufferTooSmall, DropReason, Mac, ParseError, PortId, ProtocolAddress, RequestId, SymbolId};
use rstest::rstest;
use std::net::IpAddr;
use zerocopy::FromZeros;
use zerocopy::network_endian::U16;

#[rstest]
#[case(ParseError::Truncated { need: 8, have: 3 }, "truncated: need 8 bytes, have 3")]
#[case(ParseError::Version(2), "protocol version 2 is not supported")]
#[case(ParseError::Kind(0x1f), "frame kind 0x1f is unknown")]
#[case(ParseError::MessageType(0x7f), "message type 0x007f is unknown")]
#[case(ParseError::Value { field: "role", value: 3 }, "role holds 0x3, which is not allowed")]
#[case(ParseError::Text { field: "NAME" }, "NAME is not a text of allowed length")]
#[case(ParseError::MandatoryTlv(0x8001), "mandatory TLV 0x8001 is unknown")]
#[case(ParseError::MissingTlv(1), "TLV 0x0001 is missing")]
fn an_error_tells_what_was_there(#[case] error: ParseError, #[case] shown: &str) {
    assert_eq!(error.to_string(), shown);
}

#[test]
fn a_small_buffer_tells_how_much_is_missing() {
    assert_eq!(BufferTooSmall { need: 9, have: 4 }.to_string(), "buffer of 4 bytes is too small for 9");
}

#[rstest]
#[case("", "request 1 symbol 2 port 0: not permitted")]
#[case("not here", "request 1 symbol 2 port 0: not permitted (not here)")]
fn a_refusal_says_why_if_it_is_told(#[case] text: &str, #[case] shown: &str) {
    let reply = PortReply {
        request: RequestId(1),
        symbol: SymbolId(2),
        port: PortId(0),
        status: Status::NOT_PERMITTED,
        attributes: None,
        text,
    };
    assert_eq!(reply.to_string(), shown);
}

/// Names of the IANA registry of protocol numbers, in the spelling of `ip` and of configuration files.
#[test]
fn protocols_are_shown_by_name_or_number() {
    let names = [
        (1, "icmp"),
        (2, "igmp"),
        (6, "tcp"),
        (17, "udp"),
        (33, "dccp"),
        (41, "ipv6"),
        (46, "rsvp"),
        (47, "gre"),
        (50, "esp"),
        (51, "ah"),
        (58, "icmp6"),
        (88, "eigrp"),
        (89, "ospf"),
        (103, "pim"),
        (112, "vrrp"),
        (115, "l2tp"),
        (132, "sctp"),
        (136, "udplite"),
    ];
    for protocol in 0..=254 {
        let local = Local::Any(Family::Both);
        let shown = ProtocolAddress::IpProtocol { protocol, local }.to_string();
        let name = names.iter().find(|(number, _)| *number == protocol).map(|(_, name)| *name);
        assert_eq!(protocol_name(protocol), name);
        assert_eq!(shown, name.map_or(format!("ip protocol {protocol} *"), |name| format!("ip {name} *")));
    }
}

#[test]
fn a_text_that_is_no_mac_says_what_is_needed() {
    let shown = "02:00".parse::<Mac>().unwrap_err().to_string();
    assert_eq!(shown, "not an Ethernet address: six hexadecimal octets separated by colons are needed");
}

#[test]
fn a_drop_reason_is_shown_by_its_name() {
    for reason in DropReason::ALL {
        assert_eq!(reason.to_string(), reason.name());
    }
}

#[rstest]
#[case(OffloadFlags::empty(), GsoType::NONE, "checksum as is")]
#[case(OffloadFlags::CHECKSUM_VALID, GsoType::NONE, "checksum verified")]
#[case(OffloadFlags::NEEDS_CHECKSUM, GsoType::TCP4, "checksum of 34.. at +16, tcp4 segments of 1448")]
#[case(OffloadFlags::NEEDS_CHECKSUM, GsoType::TCP6, "checksum of 34.. at +16, tcp6 segments of 1448")]
#[case(OffloadFlags::CHECKSUM_VALID, GsoType::UDP_L4, "checksum verified, udp segments of 1448")]
#[case(OffloadFlags::empty(), GsoType(9), "checksum as is, gso type 9 segments of 1448")]
fn an_offload_header_tells_what_is_to_do(
    #[case] flags: OffloadFlags,
    #[case] gso: GsoType,
    #[case] shown: &str,
) {
    let header = OffloadHeader {
        flags: flags.bits(),
        gso_type: gso.0,
        gso_size: U16::new(1448),
        checksum_start: U16::new(34),
        checksum_offset: U16::new(16),
        ..OffloadHeader::new_zeroed()
    };
    assert_eq!(header.to_string(), shown);
    let with_congestion = OffloadHeader { gso_type: gso.0 | GsoType::ECN, ..header };
    assert_eq!(with_congestion.to_string(), shown);
}

#[rstest]
#[case("192.0.2.1", "198.51.100.7", "192.0.2.1:80 from 198.51.100.7:40000")]
#[case("2001:db8::1", "2001:db8::7", "[2001:db8::1]:80 from [2001:db8::7]:40000")]
fn a_flow_has_both_ends(#[case] local: IpAddr, #[case] remote: IpAddr, #[case] shown: &str) {
    let flow = LiveFlow::new((local, 80), (remote, 40_000));
    assert_eq!((flow.local(), flow.remote()), ((local, 80), (remote, 40_000)));
    assert_eq!(flow.to_string(), shown);
}

#[test]
fn prefixes_are_in_the_order_of_their_numbers_ipv4_first() {
    let prefix = |address: &str, length| Prefix::new(address.parse().unwrap(), length).unwrap();
    let sorted = [
        prefix("0.0.0.0", 0),
        prefix("10.0.0.0", 8),
        prefix("10.0.0.0", 9),
        prefix("192.0.2.0", 24),
        prefix("::", 0),
        prefix("2001:db8::", 32),
    ];
    let mut mixed = sorted;
    mixed.reverse();
    mixed.sort_unstable();
    assert_eq!(mixed, sorted);
    let covering: Vec<String> = prefix("192.0.0.0", 3).covering().map(|prefix| prefix.to_string()).collect();
    assert_eq!(covering, ["192.0.0.0/3", "192.0.0.0/2", "128.0.0.0/1", "0.0.0.0/0"]);
}
