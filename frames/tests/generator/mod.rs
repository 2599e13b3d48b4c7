//! Strategies for every frame and message. Borrowed parts are leaked: a test process is short.
#![allow(dead_code, reason = "every test binary uses its own part")]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::body::Body;
use frames::data::{Data, PARCEL_MAX, Packet, Parcels, Piece, Tunnel};
use frames::discovery::{Handshake, Hello, Mode, NAME_MAX, Protection, Role};
use frames::header::{EthernetHeader, Flags, Kind, LinkHeader};
use frames::message::{
    AddressReply, Flows, FlowsRequest, Group, LiveFlow, Membership, Message, Notice, PortAddress,
    PortAddresses, PortAttributes, PortFlags, PortRelease, PortReply, PortRequest, PortRoute, PortUpdate,
    RelayDismiss, RelayIntroduce, RouteAdd, RouteDelete, RouteNexthop, RouteReply, RoutesDigestReply,
    RoutesDone, RoutesSlice, RuleAdd, RuleDelete, RuleReply, Status, TEXT_MAX, TranslatedRuleAdd,
    Translation, TranslationReply, TranslationRequest, TunnelReply, TunnelRequest,
};
use frames::protocol_address::{Family, Local};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind, RoutesDigest, Slice, TableDigest};
use frames::session::{Ack, AckRange, Close, CloseReason, Keepalive, Segment, Stream};
use frames::{BootId, DownTunnel, Mac, PortId, ProtocolAddress, RequestId, SessionIndex, SymbolId, UpTunnel};
use proptest::prelude::*;
use zerocopy::IntoBytes;
use zerocopy::network_endian::{U16, U64};

/// A whole Ethernet frame with its kind and body, sometimes with a tag, sometimes padded.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    (body(), mac(), mac(), any::<u32>(), any::<u64>(), any::<bool>(), 0..60_usize).prop_map(
        |((kind, body), destination, source, receiver, counter, sealed, padding)| {
            let mut bytes = vec![0; 32 * 1024];
            let length = body.emit(&mut bytes).unwrap();
            let is_packet = kind == Kind::PACKET;
            let flags = if sealed && !is_packet { Flags::SEALED } else { Flags::empty() };
            let ethernet = EthernetHeader { destination, source, ethertype: U16::new(0x88b5) };
            let length16 = if is_packet { 0 } else { u16::try_from(length).unwrap() };
            let counter = if is_packet { 0 } else { counter };
            let link = LinkHeader::new(kind, flags, length16, SessionIndex(receiver), counter);
            let mut frame = [ethernet.as_bytes(), link.as_bytes(), &bytes[..length]].concat();
            frame.extend(vec![0xee; flags.tag_len()]);
            frame.extend(vec![0; padding]);
            frame
        },
    )
}

/// A body of any kind.
pub(crate) fn body() -> impl Strategy<Value = (Kind, Body<'static>)> {
    prop_oneof![
        hello().prop_map(|hello| (Kind::HELLO, Body::Hello(hello))),
        handshake().prop_map(|handshake| (Kind::HANDSHAKE_INIT, Body::HandshakeInit(handshake))),
        handshake().prop_map(|handshake| (Kind::HANDSHAKE_RESPONSE, Body::HandshakeResponse(handshake))),
        keepalive().prop_map(|keepalive| (Kind::KEEPALIVE, Body::Keepalive(keepalive))),
        segment().prop_map(|segment| (Kind::SEGMENT, Body::Segment(segment))),
        ack().prop_map(|ack| (Kind::ACK, Body::Ack(ack))),
        any::<u16>().prop_map(|reason| (Kind::CLOSE, Body::Close(Close { reason: CloseReason(reason) }))),
        data().prop_map(|data| (Kind::DATA, Body::Data(data))),
        piece().prop_map(|piece| (Kind::PIECE, Body::Piece(piece))),
        packet().prop_map(|packet| (Kind::PACKET, Body::Packet(packet))),
    ]
}

fn hello() -> impl Strategy<Value = Hello<'static>> {
    (role(), 0..4_u8, 0..4_u8, 0..4_u8, any::<u64>(), name()).prop_map(
        |(role, mode, data, control, boot, name)| Hello {
            role,
            mode: Mode(mode),
            data: Protection(data),
            control: Protection(control),
            boot: BootId(boot),
            name,
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Relay), Just(Role::Control)]
}

fn handshake() -> impl Strategy<Value = Handshake<'static>> {
    (1..=u32::MAX, any::<u64>(), bytes(0..200)).prop_map(|(sender, association, noise)| Handshake {
        sender: SessionIndex(sender),
        association,
        noise,
    })
}

fn keepalive() -> impl Strategy<Value = Keepalive> {
    let routes = (any::<u32>(), digest()).prop_map(|(request, table)| RoutesDigest { request, table });
    (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), proptest::option::of(routes))
        .prop_map(|(sent, echo, held, interval, routes)| Keepalive { sent, echo, held, interval, routes })
}

/// Bytes of messages in a generated segment: the greatest message, and segments of several, are longer than a frame.
const SEGMENT_MAX: usize = 32_000;

/// A segment that begins with a message, or holds anything.
fn segment() -> impl Strategy<Value = Segment<'static>> {
    let whole = proptest::collection::vec(message(), 1..4).prop_map(|messages| {
        let mut stream = vec![];
        for message in messages {
            let mut buffer = vec![0; frames::message::MESSAGE_MAX];
            let length = message.emit(&mut buffer).unwrap();
            if stream.len() + length <= SEGMENT_MAX {
                stream.extend_from_slice(&buffer[..length]);
            }
        }
        leak(stream)
    });
    (stream(), 0..u64::from(u32::MAX), prop_oneof![whole, bytes(0..100)])
        .prop_map(|(stream, offset, bytes)| Segment { stream, offset, bytes })
}

fn stream() -> impl Strategy<Value = Stream> {
    proptest::sample::select(Stream::ALL.to_vec())
}

fn ack() -> impl Strategy<Value = Ack<'static>> {
    let gaps = proptest::collection::vec((1..1000_u64, 1..1000_u64), 0..=Ack::RANGES_MAX);
    (stream(), any::<u32>(), any::<u64>(), gaps).prop_map(|(stream, cumulative, limit, gaps)| {
        let cumulative = u64::from(cumulative);
        let mut at = cumulative;
        let mut ranges = vec![];
        for (gap, length) in gaps {
            ranges.push(AckRange { start: U64::new(at + gap), end: U64::new(at + gap + length) });
            at += gap + length;
        }
        Ack { stream, cumulative, limit, ranges: leak(ranges) }
    })
}

fn data() -> impl Strategy<Value = Parcels<'static>> {
    proptest::collection::vec((any::<u32>(), bytes(0..300)), 1..5).prop_map(|parcels| {
        let mut body = vec![];
        for (tunnel, parcel) in parcels {
            let data = Data { tunnel: Tunnel(tunnel), parcel };
            let mut room = [0; 400];
            let length = data.emit(&mut room).expect("room for a header and 300 bytes");
            body.extend_from_slice(&room[..length]);
        }
        Parcels::parse(leak(body)).expect("whole parcels")
    })
}

fn piece() -> impl Strategy<Value = Piece<'static>> {
    (any::<u32>(), any::<u32>(), 0..=PARCEL_MAX - 300, any::<bool>(), bytes(1..300)).prop_map(
        |(tunnel, number, offset, last, bytes)| Piece { tunnel: Tunnel(tunnel), number, offset, last, bytes },
    )
}

/// Any bytes in an IP packet, with options and without.
fn packet() -> impl Strategy<Value = Packet<'static>> {
    let v4 = (5..=15_u8, bytes(40..300)).prop_map(|(ihl, rest)| {
        let length = u16::try_from(4 + rest.len()).unwrap().to_be_bytes();
        ([0x08, 0x00], [&[0x40 | ihl, 0][..], &length, rest].concat())
    });
    let v6 = (any::<[u8; 3]>(), 1..300_u16, any::<[u8; 34]>(), bytes(300..301)).prop_map(
        |([class, high, low], length, rest, payload)| {
            let head = [&[0x60 | class >> 4, class, high, low][..], &length.to_be_bytes(), &rest].concat();
            ([0x86, 0xdd], [&head, &payload[..length.into()]].concat())
        },
    );
    (any::<u32>(), mac(), mac(), prop_oneof![v4, v6]).prop_map(
        |(tunnel, destination, source, (ethertype, packet))| {
            let frame = [&destination.0[..], &source.0, &ethertype, &packet].concat();
            Packet { tunnel: Tunnel(tunnel), frame: leak(frame) }
        },
    )
}

/// Any message that a correct sender may send.
pub(crate) fn message() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![link_message(), route_message(), translation_message(), introduction_message()]
}

fn link_message() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![
        (request(), symbol(), name()).prop_map(|(request, symbol, name)| Message::PortRequest(PortRequest {
            request,
            symbol,
            name
        })),
        port_reply(),
        (port(), attributes())
            .prop_map(|(port, attributes)| Message::PortUpdate(PortUpdate { port, attributes })),
        (symbol(), port()).prop_map(|(symbol, port)| Message::PortRelease(PortRelease { symbol, port })),
        (request(), symbol(), port()).prop_map(|(request, symbol, port)| Message::TunnelRequest(
            TunnelRequest { request, symbol, port }
        )),
        (request(), symbol(), port(), 1..=u32::MAX, any::<u16>()).prop_map(
            |(request, symbol, port, tunnel, status)| Message::TunnelReply(TunnelReply {
                request,
                symbol,
                port,
                tunnel: DownTunnel(tunnel),
                status: Status(status),
            })
        ),
        rule_add(),
        (request(), up_tunnel(), any::<u16>(), text()).prop_map(|(request, tunnel, status, text)| {
            Message::RuleReply(RuleReply { request, tunnel, status: Status(status), text })
        }),
        (request(), up_tunnel())
            .prop_map(|(request, tunnel)| Message::RuleDelete(RuleDelete { request, tunnel })),
        (request(), up_tunnel())
            .prop_map(|(request, tunnel)| Message::RuleDeleted(RuleDelete { request, tunnel })),
        Just(Message::RulesEnd),
        (port(), group()).prop_map(|(port, group)| Message::MembershipAdd(Membership { port, group })),
        (port(), group()).prop_map(|(port, group)| Message::MembershipDelete(Membership { port, group })),
        (any::<u16>(), text())
            .prop_map(|(status, text)| Message::Notice(Notice { status: Status(status), text })),
        (port(), port_addresses())
            .prop_map(|(port, addresses)| Message::PortAddresses(PortAddresses { port, addresses })),
        (port(), port_address(), any::<u16>(), text()).prop_map(|(port, address, status, text)| {
            Message::AddressReply(AddressReply { port, address, status: Status(status), text })
        }),
        (request(), up_tunnel())
            .prop_map(|(request, tunnel)| Message::FlowsRequest(FlowsRequest { request, tunnel })),
        (request(), up_tunnel(), any::<bool>(), live_flows()).prop_map(|(request, tunnel, last, flows)| {
            Message::Flows(Flows { request, tunnel, last, flows })
        }),
    ]
}

fn introduction_message() -> impl Strategy<Value = Message<'static>> {
    let introduce = (symbol(), mac(), any::<[u8; 32]>(), name(), name(), any::<Option<[u8; 32]>>());
    prop_oneof![
        introduce.prop_map(|(symbol, mac, salt, relay, port, key)| {
            Message::RelayIntroduce(RelayIntroduce { symbol, mac, salt, relay, port, key })
        }),
        symbol().prop_map(|symbol| Message::RelayDismiss(RelayDismiss { symbol })),
    ]
}

fn translation_message() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![
        (request(), symbol(), port(), translation()).prop_map(|(request, symbol, port, translation)| {
            Message::TranslationRequest(TranslationRequest { request, symbol, port, translation })
        }),
        (request(), symbol(), any::<u16>(), text()).prop_map(|(request, symbol, status, text)| {
            Message::TranslationReply(TranslationReply { request, symbol, status: Status(status), text })
        }),
        (rule(), translation()).prop_map(|(rule, translation)| Message::TranslatedRuleAdd(
            TranslatedRuleAdd { rule, translation }
        )),
    ]
}

/// Two addresses of one version.
fn translation() -> impl Strategy<Value = Translation> {
    prop_oneof![(ip4(), ip4()), (ip6(), ip6())]
        .prop_map(|(virtual_address, control_address)| Translation { virtual_address, control_address })
}

fn live_flows() -> impl Strategy<Value = &'static [LiveFlow]> {
    let few = proptest::collection::vec(live_flow(), 0..20);
    let most = live_flow().prop_map(|one| vec![one; Flows::MAX]);
    prop_oneof![9 => few, 1 => most].prop_map(leak)
}

fn live_flow() -> impl Strategy<Value = LiveFlow> {
    (ip(), any::<u16>(), ip(), any::<u16>()).prop_map(|(local, local_port, remote, remote_port)| {
        LiveFlow::new((local, local_port), (remote, remote_port))
    })
}

fn route_message() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![
        (request(), route_key(), route_content())
            .prop_map(|(request, key, content)| Message::RouteAdd(RouteAdd { request, key, content })),
        (request(), route_key())
            .prop_map(|(request, key)| Message::RouteDelete(RouteDelete { request, key })),
        (route_key(), any::<u16>(), text()).prop_map(|(key, status, text)| {
            Message::RouteReply(RouteReply { key, status: Status(status), text })
        }),
        request().prop_map(|request| Message::RoutesDone(RoutesDone { request })),
        routes_slice().prop_map(Message::RoutesBegin),
        routes_slice().prop_map(Message::RoutesEnd),
        routes_slice().prop_map(Message::RoutesDigestRequest),
        (routes_slice(), proptest::collection::vec(digest(), Slice::PARTS)).prop_map(|(of, parts)| {
            let parts = parts.try_into().expect("as many as asked for");
            Message::RoutesDigestReply(RoutesDigestReply { of, parts })
        }),
    ]
}

/// IPv4, IPv6, and IPv6 that looks like IPv4-mapped.
fn route_key() -> impl Strategy<Value = RouteKey> {
    let mapped = any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into());
    let prefix = prop_oneof![ip(), mapped].prop_flat_map(|address: IpAddr| {
        let longest = if address.is_ipv4() { 32_u8 } else { 128 };
        (0..=longest).prop_map(move |length| Prefix::new(address, length).expect("not beyond the longest"))
    });
    (any::<u32>(), prefix, any::<u32>()).prop_map(|(table, prefix, metric)| RouteKey {
        table,
        prefix,
        metric,
    })
}

fn route_content() -> impl Strategy<Value = RouteContent<'static>> {
    let nexthops = prop_oneof![
        9 => proptest::collection::vec(nexthop(), 1..5),
        1 => nexthop().prop_map(|one| vec![one; RouteNexthop::MAX]),
    ];
    let unicast = (any::<u32>(), nexthops).prop_map(|(mtu, nexthops)| RouteContent {
        kind: RouteKind::Unicast,
        mtu,
        nexthops: leak(nexthops),
    });
    let others = [RouteKind::Blackhole, RouteKind::Unreachable, RouteKind::Prohibit].to_vec();
    let other = (proptest::sample::select(others), any::<u32>()).prop_map(|(kind, mtu)| RouteContent {
        kind,
        mtu,
        nexthops: &[],
    });
    prop_oneof![4 => unicast, 1 => other]
}

fn nexthop() -> impl Strategy<Value = RouteNexthop> {
    let gateway = || proptest::option::of(ip());
    prop_oneof![
        (port(), gateway(), 1..=u16::MAX, any::<bool>())
            .prop_map(|(port, gateway, weight, onlink)| RouteNexthop::new(port, gateway, weight, onlink)),
        (port(), gateway(), 1..=u16::MAX).prop_map(|(PortId(symbol), gateway, weight)| {
            RouteNexthop::at_relay(SymbolId(symbol), gateway, weight)
        }),
    ]
}

fn routes_slice() -> impl Strategy<Value = RoutesSlice> {
    (request(), 0..=Slice::BITS_MAX, any::<u32>()).prop_map(|(request, bits, prefix)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        RoutesSlice { request, slice: Slice::new(bits, prefix & mask).expect("masked") }
    })
}

fn digest() -> impl Strategy<Value = TableDigest> {
    (any::<u32>(), any::<u64>()).prop_map(|(count, sum)| TableDigest { count, sum })
}

fn port_reply() -> impl Strategy<Value = Message<'static>> {
    let granted =
        (request(), symbol(), port(), attributes()).prop_map(|(request, symbol, port, attributes)| {
            let attributes = Some(attributes);
            PortReply { request, symbol, status: Status::OK, port, text: "", attributes }
        });
    let refused = (request(), symbol(), 1..=u16::MAX, text()).prop_map(|(request, symbol, status, text)| {
        PortReply { request, symbol, status: Status(status), port: PortId(0), text, attributes: None }
    });
    prop_oneof![granted, refused].prop_map(Message::PortReply)
}

fn attributes() -> impl Strategy<Value = PortAttributes<'static>> {
    let lists = (port_addresses(), port_routes());
    (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), mac(), name(), lists).prop_map(
        |(generation, flags, mtu, speed, mac, name, (addresses, routes))| PortAttributes {
            generation,
            flags: PortFlags::from_bits_retain(flags),
            mtu,
            speed,
            mac,
            name,
            addresses,
            routes,
        },
    )
}

fn port_routes() -> impl Strategy<Value = &'static [PortRoute]> {
    let prefix = ip().prop_flat_map(|address| {
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32_u8 } else { 128 };
        (0..=longest).prop_map(move |length| Prefix::new(address, length).expect("not beyond the longest"))
    });
    let route = (prefix, proptest::option::of(ip()), any::<bool>());
    let gateway = |gateway: Option<IpAddr>| gateway.filter(|gateway| !gateway.is_unspecified());
    let route = route.prop_map(move |(to, via, onlink)| PortRoute::new(to, gateway(via), onlink));
    proptest::collection::vec(route, 0..5).prop_map(leak)
}

fn port_addresses() -> impl Strategy<Value = &'static [PortAddress]> {
    proptest::collection::vec(port_address(), 0..5).prop_map(leak)
}

fn port_address() -> impl Strategy<Value = PortAddress> {
    let address = ip().prop_flat_map(|address| {
        let longest = if address.to_canonical().is_ipv4() { 32_u8 } else { 128 };
        (0..=longest).prop_map(move |length| PortAddress::new(address, length))
    });
    (address, any::<bool>()).prop_map(|(address, given)| if given { address.given() } else { address })
}

fn rule_add() -> impl Strategy<Value = Message<'static>> {
    rule().prop_map(Message::RuleAdd)
}

fn rule() -> impl Strategy<Value = RuleAdd> {
    (request(), symbol(), port(), up_tunnel(), any::<u16>(), protocol_address()).prop_map(
        |(request, symbol, port, tunnel, weight, protocol_address)| RuleAdd {
            request,
            symbol,
            port,
            tunnel,
            weight,
            protocol_address,
        },
    )
}

/// Any protocol address in its canonical form.
pub(crate) fn protocol_address() -> impl Strategy<Value = ProtocolAddress> {
    let flow = (0..=254_u8, any::<bool>(), ip4(), ip4(), ip6(), ip6(), any::<u16>(), any::<u16>()).prop_map(
        |(protocol, is_v4, local4, remote4, local6, remote6, local_port, remote_port)| {
            let (local, remote) = if is_v4 { (local4, remote4) } else { (local6, remote6) };
            ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port }
        },
    );
    prop_oneof![
        (0..=254_u8, local(), 1..=u16::MAX).prop_map(|(protocol, local, port)| ProtocolAddress::Listener {
            protocol,
            local,
            port
        }),
        flow,
        (0..=254_u8, local()).prop_map(|(protocol, local)| ProtocolAddress::IpProtocol { protocol, local }),
        any::<u16>().prop_map(ProtocolAddress::EtherType),
    ]
}

fn local() -> impl Strategy<Value = Local> {
    let families = [Family::Both, Family::V4, Family::V6].map(Local::Any).to_vec();
    prop_oneof![
        proptest::sample::select(families),
        prop_oneof![ip4(), ip6()]
            .prop_filter("is a wildcard", |ip| !ip.is_unspecified())
            .prop_map(Local::Address),
    ]
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![ip4(), ip6()]
}

fn ip4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

/// No IPv4-mapped address, which would be IPv4.
fn ip6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127)))
}

fn group() -> impl Strategy<Value = Group> {
    prop_oneof![ip().prop_map(Group::Ip), mac().prop_map(Group::Ethernet)]
}

fn request() -> impl Strategy<Value = RequestId> {
    any::<u32>().prop_map(RequestId)
}

fn symbol() -> impl Strategy<Value = SymbolId> {
    any::<u32>().prop_map(SymbolId)
}

fn port() -> impl Strategy<Value = PortId> {
    (1..=u32::MAX).prop_map(PortId)
}

fn up_tunnel() -> impl Strategy<Value = UpTunnel> {
    (1..=u32::MAX).prop_map(UpTunnel)
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn name() -> impl Strategy<Value = &'static str> {
    "[^\\p{Cc}]{1,15}".prop_filter("too long", |name| name.len() <= NAME_MAX).prop_map(leak_text)
}

fn text() -> impl Strategy<Value = &'static str> {
    "[^\\p{Cc}]{0,80}".prop_filter("too long", |text| text.len() <= TEXT_MAX).prop_map(leak_text)
}

fn bytes(length: core::ops::Range<usize>) -> impl Strategy<Value = &'static [u8]> {
    proptest::collection::vec(any::<u8>(), length).prop_map(leak)
}

fn leak<T>(items: Vec<T>) -> &'static [T] {
    items.leak()
}

fn leak_text(text: String) -> &'static str {
    text.leak()
}
