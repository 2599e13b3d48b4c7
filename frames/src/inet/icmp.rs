//! ICMP (RFC 792) and ICMPv6 (RFC 4443, neighbour discovery by RFC 4861).

use super::datagram::{Datagram, Extent};
use super::{EchoKind, IcmpInner, Transport, ipv4, ipv6, transport};
use crate::{ParseError, tlv};
use core::net::Ipv6Addr;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// All ICMPv6 types up to this one are errors, the unknown ones included (RFC 4443, 2.1 and 2.4 (a)).
const V6_LAST_ERROR: u8 = 127;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const V6_NEIGHBOR_SOLICITATION: u8 = 135;
const V6_NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |     type      |     code      |           checksum            |
/// +---------------+---------------+-------------------------------+
/// |   identifier (echo only)      |    sequence (echo only)       |
/// +-------------------------------+-------------------------------+
/// |  errors: the beginning of the packet; ND: the target (128)
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IcmpHeader {
    kind: u8,
    _code: u8,
    _checksum: U16,
    identifier: U16,
    _sequence: U16,
}
const _: () = assert!(size_of::<IcmpHeader>() == 8);

/// Bytes before the packet that an error is about.
pub(super) const HEADER: usize = size_of::<IcmpHeader>();

/// Whether this is the type of an ICMP error.
pub(super) const fn is_error(kind: u8) -> bool {
    matches!(kind, DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Whether this is the type of an ICMPv6 error.
pub(super) const fn is_error_v6(kind: u8) -> bool {
    kind <= V6_LAST_ERROR
}

/// Reads an ICMP message.
pub(super) fn classify(message: &[u8]) -> Result<Transport, ParseError> {
    let (header, rest) = tlv::fixed::<IcmpHeader>(message)?;
    Ok(match header.kind {
        ECHO_REQUEST => Transport::Echo { kind: EchoKind::Request, id: header.identifier.get() },
        ECHO_REPLY => Transport::Echo { kind: EchoKind::Reply, id: header.identifier.get() },
        kind if is_error(kind) => Transport::IcmpError(inner(&ipv4::datagram(rest, Extent::Beginning)?)),
        other => Transport::Icmp(other),
    })
}

/// Reads an ICMPv6 message.
pub(super) fn classify_v6(message: &[u8]) -> Result<Transport, ParseError> {
    let (&kind, _) = message.split_first().ok_or(ParseError::Truncated { need: 4, have: 0 })?;
    if kind > V6_ECHO_REPLY && !matches!(kind, V6_NEIGHBOR_SOLICITATION | V6_NEIGHBOR_ADVERTISEMENT) {
        return Ok(Transport::Icmp(kind));
    }
    let (header, rest) = tlv::fixed::<IcmpHeader>(message)?;
    Ok(match kind {
        0..=V6_LAST_ERROR => Transport::IcmpError(inner(&ipv6::datagram(rest, Extent::Beginning)?)),
        V6_ECHO_REQUEST => Transport::Echo { kind: EchoKind::Request, id: header.identifier.get() },
        V6_ECHO_REPLY => Transport::Echo { kind: EchoKind::Reply, id: header.identifier.get() },
        V6_NEIGHBOR_SOLICITATION => Transport::NeighborSolicitation(target(rest)?),
        V6_NEIGHBOR_ADVERTISEMENT => Transport::NeighborAdvertisement(target(rest)?),
        other => Transport::Icmp(other),
    })
}

fn target(rest: &[u8]) -> Result<Ipv6Addr, ParseError> {
    let (target, _options) = tlv::fixed::<[u8; 16]>(rest)?;
    Ok(Ipv6Addr::from(*target))
}

fn inner(packet: &Datagram<'_>) -> IcmpInner {
    IcmpInner {
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        ports: if packet.is_later_fragment() { None } else { inner_ports(packet) },
    }
}

fn inner_ports(packet: &Datagram<'_>) -> Option<(u16, u16)> {
    let echo_request = match packet.protocol {
        ICMP => ECHO_REQUEST,
        ICMPV6 => V6_ECHO_REQUEST,
        protocol if transport::has_ports(protocol) => return transport::ports(packet.payload).ok(),
        _ => return None,
    };
    let (header, _) = tlv::fixed::<IcmpHeader>(packet.payload).ok()?;
    (header.kind == echo_request).then(|| (header.identifier.get(), 0))
}
