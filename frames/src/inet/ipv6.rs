//! The IPv6 header and its extension headers (RFC 8200).

use super::Fragment;
use super::datagram::{Datagram, Extent};
use crate::{ParseError, tlv};
use core::net::{IpAddr, Ipv6Addr};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const ETHERTYPE: u16 = 0x86dd;

/// Places of fields in the header.
pub(super) const PAYLOAD_LENGTH: usize = 4;
pub(super) const NEXT_HEADER: usize = 6;
pub(super) const SOURCE: usize = 8;
pub(super) const DESTINATION: usize = 24;
/// Bytes of the header.
pub(super) const HEADER: usize = 40;

/// Most extension headers walked over. RFC 8200, 4.1 knows seven in one packet; nobody sends more than a few.
const EXTENSIONS_MAX: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+---------------+---------------------------------------+
/// |version| traffic class |              flow label               |
/// +-------+---------------+-------+---------------+---------------+
/// |        payload length         |  next header  |   hop limit   |
/// +-------------------------------+---------------+---------------+
/// |                     source address (128)                      |
/// +---------------------------------------------------------------+
/// |                   destination address (128)                   |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ipv6Header {
    version_class: u8,
    _class_label: [u8; 3],
    payload_length: U16,
    next_header: u8,
    _hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}
const _: () = assert!(size_of::<Ipv6Header>() == 40);

/// How every extension header but the fragment header begins.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtensionHeader {
    next_header: u8,
    /// In units of 8 bytes beyond the first 8; in the authentication header, of 4 bytes beyond the first 8.
    length: u8,
}
const _: () = assert!(size_of::<ExtensionHeader>() == 2);

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------+---+-+
/// |  next header  |   reserved    |     fragment offset     |res|M|
/// +---------------+---------------+-------------------------+---+-+
/// |                        identification                         |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FragmentHeader {
    next_header: u8,
    _reserved: u8,
    offset_more: U16,
    identification: U32,
}
const _: () = assert!(size_of::<FragmentHeader>() == 8);

/// Takes the header and its extension headers off.
pub(super) fn datagram(packet: &[u8], extent: Extent) -> Result<Datagram<'_>, ParseError> {
    let (header, rest) = header(packet)?;
    let body = match extent {
        Extent::Whole => whole_body(header, rest)?,
        Extent::Beginning => rest,
    };
    let Walk { protocol, fragment, payload, broken } = Walk::over(header.next_header, body);
    if let (Some(error), Extent::Whole) = (broken, extent) {
        return Err(error);
    }
    Ok(Datagram {
        source: IpAddr::V6(Ipv6Addr::from(header.source)),
        destination: IpAddr::V6(Ipv6Addr::from(header.destination)),
        protocol,
        fragment,
        payload,
    })
}

/// Bytes of the packet by its payload length, which is not the zero of a jumbogram.
pub(super) fn packet_length(packet: &[u8]) -> Result<usize, ParseError> {
    match header(packet)?.0.payload_length.get() {
        0 => Err(ParseError::Value { field: "payload length", value: 0 }),
        length => Ok(HEADER.saturating_add(length.into())),
    }
}

fn header(packet: &[u8]) -> Result<(&Ipv6Header, &[u8]), ParseError> {
    let (header, rest) = tlv::fixed::<Ipv6Header>(packet)?;
    if header.version_class >> 4 != 6 {
        return Err(ParseError::Value { field: "version", value: (header.version_class >> 4).into() });
    }
    Ok((header, rest))
}

/// The bytes behind the fixed header, without Ethernet padding. A payload length of zero means "to the end of the
/// frame" in a jumbogram (RFC 2675) and in Linux's super-packets that are longer than the field can say.
fn whole_body<'a>(header: &Ipv6Header, rest: &'a [u8]) -> Result<&'a [u8], ParseError> {
    let length = usize::from(header.payload_length.get());
    if length == 0 && (header.next_header == HOP_BY_HOP || rest.len() > usize::from(u16::MAX)) {
        return Ok(rest);
    }
    rest.get(..length).ok_or(ParseError::Truncated {
        need: length.saturating_add(size_of::<Ipv6Header>()),
        have: rest.len().saturating_add(size_of::<Ipv6Header>()),
    })
}

/// Where the walk over the extension headers has come to.
#[derive(Clone, Copy)]
struct Walk<'a> {
    protocol: u8,
    fragment: Option<Fragment>,
    payload: &'a [u8],
    /// Why it ended before the transport header.
    broken: Option<ParseError>,
}

impl<'a> Walk<'a> {
    fn over(next_header: u8, body: &'a [u8]) -> Self {
        let mut at = Self { protocol: next_header, fragment: None, payload: body, broken: None };
        for _ in 0..EXTENSIONS_MAX {
            match at.step() {
                None => return at,
                Some(Ok(next)) => at = next,
                Some(Err(error)) => return Self { broken: Some(error), ..at },
            }
        }
        let too_many = ParseError::Value { field: "next header", value: at.protocol.into() };
        Self { broken: at.step().map(|_| too_many), ..at }
    }

    /// One extension header further; `None` at the transport header and in a later fragment, which has none.
    fn step(&self) -> Option<Result<Self, ParseError>> {
        if self.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return None;
        }
        let step = |(protocol, payload)| Self { protocol, payload, ..*self };
        match self.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => Some(extension(self.payload, 8).map(step)),
            AUTHENTICATION => Some(extension(self.payload, 4).map(step)),
            FRAGMENT => Some(tlv::fixed::<FragmentHeader>(self.payload).map(|(header, payload)| Self {
                fragment: fragment(header).or(self.fragment),
                ..step((header.next_header, payload))
            })),
            _ => None,
        }
    }
}

/// The next header and the bytes behind an extension header whose length counts in `unit` bytes.
fn extension(bytes: &[u8], unit: usize) -> Result<(u8, &[u8]), ParseError> {
    let (header, _) = tlv::fixed::<ExtensionHeader>(bytes)?;
    let length = usize::from(header.length).saturating_mul(unit).saturating_add(8);
    let rest = bytes.get(length..).ok_or(ParseError::Truncated { need: length, have: bytes.len() })?;
    Ok((header.next_header, rest))
}

/// An atomic fragment, which is a whole packet (RFC 6946), counts as none.
fn fragment(header: &FragmentHeader) -> Option<Fragment> {
    let offset_more = header.offset_more.get();
    let fragment =
        Fragment { id: header.identification.get(), offset: offset_more & !7, more: offset_more & 1 != 0 };
    (fragment.more || fragment.offset != 0).then_some(fragment)
}
