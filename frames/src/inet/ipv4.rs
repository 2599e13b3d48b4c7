//! The IPv4 header (RFC 791).

use super::Fragment;
use super::datagram::{Datagram, Extent};
use crate::{ParseError, tlv};
use core::net::{IpAddr, Ipv4Addr};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const ETHERTYPE: u16 = 0x0800;

/// Bytes of it without options.
pub(super) const HEADER: usize = size_of::<Ipv4Header>();

/// Places of fields in the header.
pub(super) const TOTAL_LENGTH: usize = 2;
pub(super) const IDENTIFICATION: usize = 4;
pub(super) const FLAGS: usize = 6;
pub(super) const PROTOCOL: usize = 9;
pub(super) const CHECKSUM: usize = 10;
pub(super) const SOURCE: usize = 12;
pub(super) const DESTINATION: usize = 16;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-------+---------------+-------------------------------+
/// |version|  IHL  |type of service|         total length          |
/// +-------+-------+---------------+-----+-------------------------+
/// |        identification         |flags|     fragment offset     |
/// +---------------+---------------+-----+-------------------------+
/// | time to live  |   protocol    |        header checksum        |
/// +---------------+---------------+-------------------------------+
/// |                        source address                         |
/// +---------------------------------------------------------------+
/// |                      destination address                      |
/// +---------------------------------------------------------------+
/// |  options, up to 40 bytes
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ipv4Header {
    version_ihl: u8,
    _type_of_service: u8,
    total_length: U16,
    identification: U16,
    flags_offset: U16,
    _time_to_live: u8,
    protocol: u8,
    _checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}
const _: () = assert!(HEADER == 20);

/// Takes the header off. A total length of zero, which no packet on a cable has, means "to the end of the frame":
/// Linux writes it into super-packets that are longer than the field can say.
pub(super) fn datagram(packet: &[u8], extent: Extent) -> Result<Datagram<'_>, ParseError> {
    let header = header(packet)?;
    let header_len = usize::from(header.version_ihl & 0xf).saturating_mul(4);
    if header_len < HEADER {
        return Err(ParseError::Value { field: "IHL", value: (header.version_ihl & 0xf).into() });
    }
    let payload = match extent {
        Extent::Whole => whole_payload(packet, header_len, header.total_length.get())?,
        Extent::Beginning => packet.get(header_len..).unwrap_or_default(),
    };
    Ok(Datagram {
        source: IpAddr::V4(Ipv4Addr::from(header.source)),
        destination: IpAddr::V4(Ipv4Addr::from(header.destination)),
        protocol: header.protocol,
        fragment: fragment(header),
        payload,
    })
}

/// Bytes of the packet by its total length, which is at least a header's.
pub(super) fn packet_length(packet: &[u8]) -> Result<usize, ParseError> {
    let total_length = header(packet)?.total_length.get();
    let length = usize::from(total_length);
    if length < HEADER {
        return Err(ParseError::Value { field: "total length", value: total_length.into() });
    }
    Ok(length)
}

fn header(packet: &[u8]) -> Result<&Ipv4Header, ParseError> {
    let (header, _) = tlv::fixed::<Ipv4Header>(packet)?;
    if header.version_ihl >> 4 != 4 {
        return Err(ParseError::Value { field: "version", value: (header.version_ihl >> 4).into() });
    }
    Ok(header)
}

fn whole_payload(packet: &[u8], header_len: usize, total_length: u16) -> Result<&[u8], ParseError> {
    let end = match usize::from(total_length) {
        0 => packet.len(),
        length if length < header_len => {
            return Err(ParseError::Value { field: "total length", value: total_length.into() });
        }
        length => length,
    };
    packet.get(header_len..end).ok_or(ParseError::Truncated { need: end.max(header_len), have: packet.len() })
}

fn fragment(header: &Ipv4Header) -> Option<Fragment> {
    let flags_offset = header.flags_offset.get();
    let fragment = Fragment {
        id: header.identification.get().into(),
        offset: (flags_offset & OFFSET_MASK).saturating_mul(8),
        more: flags_offset & MORE_FRAGMENTS != 0,
    };
    (fragment.more || fragment.offset != 0).then_some(fragment)
}
