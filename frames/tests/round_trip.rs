//! Whatever a correct sender emits is read as it was meant; whatever anyone sends is read soundly.

mod generator;
mod golden;
mod oracle;

use frames::body::Body;
use frames::data::{GsoType, OffloadFlags, OffloadHeader, PARCEL_MAX, Piece, Tunnel};
use frames::header::Frame;
use frames::message::{
    Flows, LiveFlow, MESSAGE_MAX, Message, PortAddress, PortAddresses, PortAttributes, PortFlags, PortRoute,
    PortUpdate, RawMessage, RouteNexthop,
};
use frames::route::Prefix;
use frames::tlv::Writer;
use frames::{BufferTooSmall, Mac, ParseError, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use proptest::prelude::*;
use rstest::rstest;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

proptest! {
    #[test]
    fn every_body_is_read_as_it_was_emitted((kind, body) in generator::body()) {
        let mut buffer = vec![0xaa; 32 * 1024];
        let length = body.emit(&mut buffer).unwrap();
        prop_assert_eq!(Body::parse(kind, &buffer[..length]), Ok(body));
        prop_assert!(!body.to_string().contains('\n'));
        prop_assert!(body.emit(&mut buffer[..length - 1]).is_err());
    }

    #[test]
    fn every_message_is_read_as_it_was_emitted(message in generator::message()) {
        let mut buffer = vec![0xaa; MESSAGE_MAX];
        let length = message.emit(&mut buffer).unwrap();
        let (raw, rest) = RawMessage::split(&buffer[..length]).unwrap().unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(Message::parse(&raw), Ok(message));
        prop_assert!(!message.to_string().contains('\n'));
        prop_assert!(message.emit(&mut buffer[..length - 1]).is_err());
    }

    #[test]
    fn every_protocol_address_is_read_as_it_was_written(address in generator::protocol_address()) {
        prop_assert_eq!(ProtocolAddress::from_wire(&address.to_wire()), Ok(address));
    }

    #[test]
    fn every_generated_frame_is_sound(bytes in generator::frame()) {
        prop_assert!(Frame::parse(&bytes).is_ok());
        oracle::frame(&bytes);
    }

    #[test]
    fn any_bytes_are_sound(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in any::<u8>()) {
        oracle::frame(&bytes);
        oracle::body(frames::header::Kind(kind), &bytes);
        oracle::messages(&bytes);
        oracle::packet(&bytes);
    }

    /// Golden frames with bytes overwritten come much farther than random ones.
    #[test]
    fn overwritten_golden_frames_are_sound(
        which in any::<prop::sample::Index>(),
        overwrite in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let all = [golden::frames(), golden::packets()].concat();
        let mut bytes = which.get(&all).bytes.clone();
        for (at, value) in overwrite {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(length.index(bytes.len() * 2));
        oracle::frame(&bytes);
        oracle::packet(&bytes);
    }
}

#[test]
fn addresses_beyond_the_limit_are_left_out_and_the_message_fits() {
    let address = PortAddress::new("2001:db8::1".parse().unwrap(), 64);
    let addresses = vec![address; 5000];
    let route = PortRoute::new(Prefix::new("2001:db8::1".parse().unwrap(), 64).unwrap(), None, false);
    let name = "n".repeat(63);
    let attributes = PortAttributes {
        generation: 1,
        flags: PortFlags::PRESENT,
        mtu: 1500,
        speed: 0,
        mac: Mac::default(),
        name: &name,
        addresses: &addresses,
        routes: &[route; 100],
    };
    let message = Message::PortUpdate(PortUpdate { port: PortId(1), attributes });
    let mut buffer = vec![0; MESSAGE_MAX];
    let length = message.emit(&mut buffer).unwrap();
    let (raw, _) = RawMessage::split(&buffer[..length]).unwrap().unwrap();
    let Ok(Message::PortUpdate(update)) = Message::parse(&raw) else { panic!("not read") };
    assert_eq!(update.attributes.addresses.len(), PortAttributes::ADDRESSES_MAX);
    assert_eq!(update.attributes.routes.len(), PortAttributes::ROUTES_MAX);
}

#[test]
fn a_message_tells_of_so_many_flows_and_no_more() {
    let flow = LiveFlow::new(("192.0.2.1".parse().unwrap(), 80), ("192.0.2.7".parse().unwrap(), 4000));
    let mut buffer = [0; MESSAGE_MAX];
    for count in [Flows::MAX, Flows::MAX + 1] {
        let flows =
            Flows { request: RequestId(1), tunnel: UpTunnel(2), last: true, flows: &vec![flow; count] };
        let length = Message::Flows(flows).emit(&mut buffer).unwrap();
        let (raw, _) = RawMessage::split(&buffer[..length]).unwrap().unwrap();
        let Ok(Message::Flows(read)) = Message::parse(&raw) else { panic!("not read") };
        assert_eq!(read.flows.len(), Flows::MAX);
    }
}

#[test]
fn an_address_may_be_a_prefix_of_its_own() {
    let address = |address: &str, length| PortAddress::new(address.parse().unwrap(), length);
    let addresses = [address("192.0.2.1", 32), address("2001:db8::1", 128)];
    let message = Message::PortAddresses(PortAddresses { port: PortId(1), addresses: &addresses });
    let mut buffer = [0; 100];
    let length = message.emit(&mut buffer).unwrap();
    let (raw, _) = RawMessage::split(&buffer[..length]).unwrap().unwrap();
    assert_eq!(Message::parse(&raw), Ok(message));
}

#[test]
fn what_a_control_gave_a_port_is_marked() {
    let address = PortAddress::new("192.0.2.1".parse().unwrap(), 24);
    assert_eq!((address.is_given(), address.given().is_given()), (false, true));
    assert_eq!((address.prefix_length(), address.given().prefix_length()), (24, 24));
    assert_eq!(address.given().given(), address.given());
    // A flag of a later version stands for something else, and stays.
    let bytes = [&address.as_bytes()[..17], &[0x2, 0, 0]].concat();
    let other = PortAddress::read_from_bytes(&bytes).unwrap();
    assert_eq!((other.is_given(), other.given().as_bytes()[17]), (false, 0x3));
}

#[test]
fn a_nexthop_leaves_by_a_port_or_by_another_relay() {
    let gateway = Some("192.0.2.1".parse().unwrap());
    let at_relay = RouteNexthop::at_relay(SymbolId(7), gateway, 2);
    assert_eq!(
        (at_relay.symbol(), at_relay.gateway(), at_relay.onlink()),
        (Some(SymbolId(7)), gateway, false)
    );
    for onlink in [false, true] {
        let own = RouteNexthop::new(PortId(7), gateway, 2, onlink);
        assert_eq!((own.symbol(), own.gateway(), own.onlink()), (None, gateway, onlink));
    }
}

#[test]
fn a_writer_tells_how_far_it_is() {
    let mut buffer = [0; 8];
    let mut writer = Writer::new(&mut buffer);
    assert_eq!((writer.len(), writer.is_empty()), (0, true));
    assert_eq!(writer.bytes(&[1; 9]), Err(BufferTooSmall { need: 9, have: 8 }));
    assert_eq!((writer.len(), writer.is_empty()), (0, true));
    writer.bytes(&[1; 8]).unwrap();
    assert_eq!((writer.len(), writer.is_empty()), (8, false));
}

#[test]
fn the_longest_parcel_may_come_in_pieces() {
    let last = |offset| Piece { tunnel: Tunnel(1), number: 1, offset, last: true, bytes: &[7] };
    let parse = |piece: Piece<'_>| {
        let mut buffer = [0; 20];
        let length = piece.emit(&mut buffer).unwrap();
        Piece::parse(&buffer[..length]).map(|piece| piece.offset)
    };
    assert_eq!(parse(last(PARCEL_MAX - 1)), Ok(PARCEL_MAX - 1));
    let beyond = ParseError::Value { field: "offset", value: PARCEL_MAX as u64 };
    assert_eq!(parse(last(PARCEL_MAX)), Err(beyond));
    assert_eq!(PARCEL_MAX, 10 + 14 + 8 + 0xffff);
}

#[rstest]
#[case::one_line("first\nsecond", "first")]
#[case::cut_between_characters(&"ä".repeat(300), &"ä".repeat(200))]
#[case::cut_before_a_character(&format!("x{}", "ä".repeat(300)), &format!("x{}", "ä".repeat(199)))]
#[case::empty("", "")]
fn texts_are_cut_to_a_line_of_allowed_length(#[case] text: &str, #[case] expected: &str) {
    let status = frames::message::Status::SYSTEM;
    let message = Message::Notice(frames::message::Notice { status, text });
    let mut buffer = [0; 1024];
    let length = message.emit(&mut buffer).unwrap();
    let (raw, _) = RawMessage::split(&buffer[..length]).unwrap().unwrap();
    let Ok(Message::Notice(notice)) = Message::parse(&raw) else { panic!("not read") };
    assert_eq!(notice.text, expected);
}

#[test]
fn a_message_longer_than_the_limit_ends_the_stream() {
    let header = [0, 1, 0, 0, 0, 1, 0, 0];
    assert_eq!(RawMessage::split(&header), Err(ParseError::Value { field: "length", value: 0x1_0000 }));
    let longest = [0, 1, 0, 0, 0, 0, 0xff, 0xf8];
    assert_eq!(RawMessage::split(&longest), Ok(None));
}

fn tcp4() -> OffloadHeader {
    OffloadHeader {
        flags: OffloadFlags::NEEDS_CHECKSUM.bits(),
        gso_type: GsoType::TCP4.0,
        header_length: U16::new(54),
        gso_size: U16::new(1448),
        checksum_start: U16::new(34),
        checksum_offset: U16::new(16),
    }
}

#[rstest]
#[case::as_is(OffloadHeader::default(), 0, None)]
#[case::tcp(tcp4(), 4000, None)]
#[case::ecn(OffloadHeader { gso_type: GsoType::TCP6.0 | GsoType::ECN, ..tcp4() }, 4000, None)]
#[case::udp(OffloadHeader { gso_type: GsoType::UDP_L4.0, checksum_offset: U16::new(6), ..tcp4() }, 4000, None)]
#[case::to_the_last_byte(tcp4(), 54, None)]
#[case::headers_beyond_the_frame(tcp4(), 53, Some("header length"))]
#[case::headers_without_segments(OffloadHeader { gso_type: 0, ..tcp4() }, 53, Some("header length"))]
#[case::checksum_beyond_the_frame(OffloadHeader { header_length: U16::ZERO, ..tcp4() }, 51, Some("checksum start"))]
#[case::checksum_far_beyond(
    OffloadHeader { checksum_start: U16::new(0xffff), checksum_offset: U16::new(0xffff), ..tcp4() },
    4000,
    Some("checksum start")
)]
#[case::no_size(OffloadHeader { gso_size: U16::ZERO, ..tcp4() }, 4000, Some("gso size"))]
#[case::size_of_a_list(OffloadHeader { gso_size: U16::new(0xffff), ..tcp4() }, 4000, Some("gso size"))]
#[case::unknown_type(OffloadHeader { gso_type: 3, ..tcp4() }, 4000, Some("gso type"))]
#[case::checksum_elsewhere(OffloadHeader { checksum_offset: U16::new(6), ..tcp4() }, 4000, Some("checksum offset"))]
fn offload_headers_are_checked_against_their_frame(
    #[case] header: OffloadHeader,
    #[case] frame_len: usize,
    #[case] refused: Option<&str>,
) {
    let field = match header.check(frame_len) {
        Ok(()) => None,
        Err(ParseError::Value { field, .. }) => Some(field),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(field, refused);
}
