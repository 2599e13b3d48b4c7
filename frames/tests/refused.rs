//! What a decoder must not accept: golden frames with bytes changed, and the error that names the fault.

mod golden;

use frames::ParseError;
use frames::body::Body;
use frames::header::Frame;
use frames::message::{Message, RawMessage};
use rstest::rstest;

/// A golden body with some bytes overwritten from `at` on.
#[rstest]
#[case::role("hello", 0, &[3], ParseError::Value { field: "role", value: 3 })]
#[case::name_empty("hello", 12, &[0, 1, 0, 0, 0, 9, 0, 2], ParseError::Text { field: "name" })]
#[case::name_not_utf8("hello", 16, &[0xff], ParseError::Text { field: "name" })]
#[case::name_with_escape("hello", 16, &[0x1b], ParseError::Text { field: "name" })]
#[case::name_missing("hello", 12, &[0, 9], ParseError::MissingTlv(1))]
#[case::mandatory("hello", 12, &[0x80, 1], ParseError::MandatoryTlv(0x8001))]
#[case::tlv_too_long("hello", 14, &[0, 7], ParseError::Truncated { need: 7, have: 6 })]
#[case::sender("handshake-init", 0, &[0; 4], ParseError::Value { field: "sender", value: 0 })]
#[case::stream("ack", 0, &[3], ParseError::Value { field: "stream", value: 3 })]
#[case::too_many_ranges("ack", 1, &[33], ParseError::Value { field: "count", value: 33 })]
#[case::more_ranges_than_there_are("ack", 1, &[3], ParseError::Truncated { need: 48, have: 32 })]
#[case::range_touches("ack", 20, &[0, 0, 0, 0, 0, 0, 1, 0x2c], ParseError::Value { field: "range", value: 300 })]
#[case::range_empty("ack", 28, &[0, 0, 0, 0, 0, 0, 1, 0x90], ParseError::Value { field: "range", value: 400 })]
#[case::ranges_overlap("ack", 36, &[0, 0, 0, 0, 0, 0, 1, 0xf4], ParseError::Value { field: "range", value: 500 })]
#[case::offset_overflows("segment-cut-1", 4, &[0xff; 8], ParseError::Value { field: "offset", value: u64::MAX })]
#[case::piece_beyond("piece-1-first", 8, &[0, 1, 0, 2], ParseError::Value { field: "offset", value: 0x1_0002 })]
#[case::packet_of_arp("packet", 16, &[0x08, 0x06], ParseError::Value { field: "ethertype", value: 0x0806 })]
#[case::packet_with_a_tag("packet", 16, &[0x81, 0x00], ParseError::Value { field: "ethertype", value: 0x8100 })]
#[case::packet_of_llc("packet", 16, &[0x00, 0x2c], ParseError::Value { field: "ethertype", value: 0x2c })]
#[case::packet_of_another_version("packet", 18, &[0x65], ParseError::Value { field: "version", value: 6 })]
#[case::packet_without_length("packet", 20, &[0, 0], ParseError::Value { field: "total length", value: 0 })]
#[case::packet_shorter_than_its_header("packet", 20, &[0, 19], ParseError::Value { field: "total length", value: 19 })]
#[case::packet_beyond_its_end("packet", 20, &[0, 45], ParseError::Truncated { need: 59, have: 58 })]
#[case::packet6_of_another_version("packet-ipv6-padded", 18, &[0x45], ParseError::Value { field: "version", value: 4 })]
#[case::jumbogram("packet-ipv6-padded", 22, &[0, 0], ParseError::Value { field: "payload length", value: 0 })]
#[case::packet6_beyond_its_end("packet-ipv6-padded", 22, &[0, 23], ParseError::Truncated { need: 77, have: 76 })]
fn bodies(#[case] name: &str, #[case] at: usize, #[case] bytes: &[u8], #[case] error: ParseError) {
    let golden = golden::frame(name);
    let frame = Frame::parse(&golden.bytes).unwrap();
    let mut body = frame.body.to_vec();
    assert!(Body::parse(frame.header.kind, &body).is_ok());
    body[at..at + bytes.len()].copy_from_slice(bytes);
    assert_eq!(Body::parse(frame.header.kind, &body), Err(error));
}

/// The first message of a golden segment, its body overwritten from `at` on.
#[rstest]
#[case::no_name("message-port-request", 8, &[0, 9], ParseError::MissingTlv(1))]
#[case::no_port("message-port-reply", 8, &[0; 4], ParseError::Value { field: "port", value: 0 })]
#[case::prefix_v4("message-port-reply", 68, &[33], ParseError::Value { field: "prefix length", value: 33 })]
#[case::prefix_v6("message-port-reply", 88, &[129], ParseError::Value { field: "prefix length", value: 129 })]
#[case::route_length("message-port-update-routes", 72, &[33], ParseError::Value { field: "prefix length", value: 33 })]
#[case::route_cut("message-port-update-routes", 38, &[0, 0x6b], ParseError::Truncated { need: 108, have: 107 })]
#[case::text("message-port-reply-refused", 20, b"\n", ParseError::Text { field: "text" })]
#[case::no_tunnel("message-tunnel-reply", 12, &[0; 4], ParseError::Value { field: "down tunnel", value: 0 })]
#[case::no_up_tunnel("message-rule-add-listener", 12, &[0; 4], ParseError::Value { field: "up tunnel", value: 0 })]
#[case::class("message-rule-add-listener", 20, &[5], ParseError::Value { field: "class", value: 5 })]
#[case::family("message-rule-add-listener", 21, &[5], ParseError::Value { field: "family", value: 5 })]
#[case::protocol("message-rule-add-listener", 22, &[0, 255], ParseError::Value { field: "protocol", value: 255 })]
#[case::mptcp("message-rule-add-listener", 22, &[1, 6], ParseError::Value { field: "protocol", value: 262 })]
#[case::port_zero("message-rule-add-listener", 24, &[0, 0], ParseError::Value { field: "local port", value: 0 })]
#[case::address_of_both("message-rule-add-listener", 28, &[0x20], ParseError::Value { field: "family", value: 0 })]
#[case::flow_family("message-rule-add-flow", 21, &[6], ParseError::Value { field: "family", value: 6 })]
#[case::flow_mixed("message-rule-add-flow", 44, &[0x20], ParseError::Value { field: "family", value: 4 })]
#[case::raw_family("message-rule-add-raw", 21, &[4], ParseError::Value { field: "family", value: 4 })]
#[case::addresses_of_no_port("message-port-addresses", 0, &[0; 4], ParseError::Value { field: "port", value: 0 })]
#[case::address_of_no_port("message-address-reply", 0, &[0; 4], ParseError::Value { field: "port", value: 0 })]
#[case::address_length("message-address-reply", 20, &[129], ParseError::Value { field: "prefix length", value: 129 })]
#[case::route_family("message-route-add", 4, &[5], ParseError::Value { field: "family", value: 5 })]
#[case::route_of_no_family("message-route-delete", 4, &[0], ParseError::Value { field: "family", value: 0 })]
#[case::route_not_mapped("message-route-add", 16, &[1], ParseError::Value { field: "family", value: 4 })]
#[case::route_length("message-route-add", 5, &[33], ParseError::Value { field: "prefix length", value: 33 })]
#[case::route_length_v6("message-route-add-multipath", 5, &[129], ParseError::Value { field: "prefix length", value: 129 })]
#[case::host_bits("message-route-add", 31, &[1], ParseError::Value { field: "prefix length", value: 24 })]
#[case::host_bits_v6("message-route-add-multipath", 31, &[1], ParseError::Value { field: "prefix length", value: 32 })]
#[case::host_bits_of_reply("message-route-reply", 27, &[1], ParseError::Value { field: "prefix length", value: 24 })]
#[case::route_kind("message-route-add", 36, &[5], ParseError::Value { field: "kind", value: 5 })]
#[case::blackhole_with_nexthop("message-route-add", 36, &[2], ParseError::Value { field: "count", value: 1 })]
#[case::no_nexthop("message-route-add", 38, &[0, 0, 0, 9, 0, 20], ParseError::Value { field: "count", value: 0 })]
#[case::more_nexthops_than_there_are("message-route-add", 38, &[0, 2], ParseError::Truncated { need: 48, have: 24 })]
#[case::nexthop_port("message-route-add", 40, &[0; 4], ParseError::Value { field: "port", value: 0 })]
#[case::weight("message-route-add", 44, &[0, 0], ParseError::Value { field: "weight", value: 0 })]
#[case::gateway_family("message-route-add", 47, &[7], ParseError::Value { field: "family", value: 7 })]
#[case::gateway_not_mapped("message-route-add", 48, &[1], ParseError::Value { field: "family", value: 4 })]
#[case::bits("message-routes-begin", 8, &[29], ParseError::Value { field: "bits", value: 29 })]
#[case::bits_far_beyond("message-routes-end", 8, &[255], ParseError::Value { field: "bits", value: 255 })]
#[case::bits_beyond_the_prefix("message-routes-digest-request", 8, &[2], ParseError::Value { field: "bits", value: 2 })]
#[case::bits_of_reply("message-routes-digest-reply", 8, &[29], ParseError::Value { field: "bits", value: 29 })]
#[case::group("message-membership-add", 4, &[3], ParseError::Value { field: "class", value: 3 })]
fn messages(#[case] name: &str, #[case] at: usize, #[case] bytes: &[u8], #[case] error: ParseError) {
    let golden = golden::frame(name);
    let frame = Frame::parse(&golden.bytes).unwrap();
    let Ok(Body::Segment(segment)) = Body::parse(frame.header.kind, frame.body) else { panic!("no segment") };
    let (raw, _) = RawMessage::split(segment.bytes).unwrap().unwrap();
    assert!(Message::parse(&raw).is_ok());
    let mut body = raw.body.to_vec();
    body[at..at + bytes.len()].copy_from_slice(bytes);
    assert_eq!(Message::parse(&RawMessage { kind: raw.kind, body: &body }), Err(error));
}

#[test]
fn more_nexthops_than_allowed_are_refused() {
    let golden = golden::frame("message-route-add");
    let frame = Frame::parse(&golden.bytes).unwrap();
    let Ok(Body::Segment(segment)) = Body::parse(frame.header.kind, frame.body) else { panic!("no segment") };
    let (raw, _) = RawMessage::split(segment.bytes).unwrap().unwrap();
    let (head, nexthop) = raw.body.split_at(40);
    let with = |count: u16| [&head[..38], &count.to_be_bytes(), &nexthop.repeat(count.into())].concat();
    let (most, too_many) = (with(256), with(257));
    assert!(Message::parse(&RawMessage { kind: raw.kind, body: &most }).is_ok());
    let refused = Message::parse(&RawMessage { kind: raw.kind, body: &too_many });
    assert_eq!(refused, Err(ParseError::Value { field: "count", value: 257 }));
}

#[test]
fn half_an_address_is_truncated() {
    let golden = golden::frame("message-port-reply");
    let frame = Frame::parse(&golden.bytes).unwrap();
    let Ok(Body::Segment(segment)) = Body::parse(frame.header.kind, frame.body) else { panic!("no segment") };
    let (raw, _) = RawMessage::split(segment.bytes).unwrap().unwrap();
    let mut body = raw.body[..raw.body.len() - 1].to_vec();
    body[51] = 39;
    let parsed = Message::parse(&RawMessage { kind: raw.kind, body: &body });
    assert_eq!(parsed, Err(ParseError::Truncated { need: 40, have: 39 }));
}

#[test]
fn an_unknown_type_is_named() {
    let raw = RawMessage { kind: frames::message::MessageType(0x7001), body: &[] };
    assert_eq!(Message::parse(&raw), Err(ParseError::MessageType(0x7001)));
}

#[test]
fn an_unknown_kind_is_named() {
    assert_eq!(Body::parse(frames::header::Kind(0x3f), &[]), Err(ParseError::Kind(0x3f)));
}
