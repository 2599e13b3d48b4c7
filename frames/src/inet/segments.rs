//! [`Segments`]: the packets of a parcel as they have to be on a cable.
//!
//! # Theory of operation
//!
//! A parcel may be a TCP or UDP super-packet with its checksum open, which a kernel or a card would cut. Where a kernel takes
//! whole packets only (a raw IP socket), or would not know it for what it is (inside a tunnel), they are cut here, as Linux does it
//! (`tcp_gso_segment`, `__udp_gso_segment`, `skb_udp_tunnel_segment`, `gre_gso_segment`):
//!
//! - Each segment gets the headers of all, its own length, in IPv4 an identification one higher than the one before, and
//!   checksums of its own.
//! - TCP: sequence numbers go on; FIN and PSH are in the last segment only, CWR in the first if the parcel says so.
//! - Inside a tunnel, all this holds for the inner headers; the outer ones have their own lengths, identifications and checksums.

use super::inner::{Outer, gso_type, ip_packet, open_at, protocol};
use super::translate::place;
use super::{checksum, ipv4, ipv6};
use crate::data::{GsoType, OffloadHeader};
use crate::{ParseError, tlv};
use core::net::IpAddr;

/// The packets of a parcel, one after the other. No link header comes with them.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    /// The IP packet, without padding.
    packet: &'a [u8],
    /// Bytes of it that every segment has.
    headers: usize,
    /// What is around the packet that is cut, if it is in a tunnel.
    outer: Option<Outer>,
    /// Where the IP header of what is cut begins.
    network: usize,
    /// Where the transport header of it begins.
    transport: usize,
    /// How it is cut.
    cut: Cut,
    /// Bytes behind the headers that have been given out.
    done: usize,
    /// Segments that have been given out.
    given: u16,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Not at all; place and offset of a checksum that is to be completed.
    Whole(Option<(usize, usize)>),
    /// TCP, in pieces of so many bytes; whether CWR is in the first only.
    Tcp(usize, bool),
    /// UDP, in pieces of so many bytes.
    Udp(usize),
}

impl<'a> Segments<'a> {
    /// The packets of this parcel (offload header and Ethernet frame).
    ///
    /// # Errors
    /// [`ParseError`] for what is no IP packet, not of the kind that the offload header says, or in a tunnel of a kind that
    /// cannot be cut.
    pub fn new(parcel: &'a [u8]) -> Result<Self, ParseError> {
        let (offload, frame) = tlv::fixed::<OffloadHeader>(parcel)?;
        offload.check(frame.len())?;
        let (packet, datagram) = ip_packet(frame)?;
        let payload = place(packet, datagram.payload).unwrap_or(packet.len());
        let (kind, open) = (gso_type(offload), open_at(offload));
        let of_the_kind = protocol(kind).is_none_or(|protocol| protocol == datagram.protocol);
        let (outer, network, transport) = match open {
            Some(open) if kind != GsoType::NONE && open != payload => {
                let (outer, network) = Outer::new(packet, &datagram, kind, open)?;
                (Some(outer), network, open)
            }
            _ if of_the_kind => (None, 0, payload),
            _ => return Err(ParseError::Value { field: "gso type", value: kind.0.into() }),
        };
        let size = usize::from(offload.gso_size.get());
        let (cut, header) = match kind {
            GsoType::NONE => (Cut::Whole(open_checksum(offload, packet.len())), 0),
            GsoType::UDP_L4 => (Cut::Udp(size), UDP_HEADER),
            _ => {
                let cut = Cut::Tcp(size, offload.gso_type & GsoType::ECN != 0);
                (cut, tcp_header(packet.get(transport..).unwrap_or_default())?)
            }
        };
        let headers = transport.saturating_add(header);
        if headers > packet.len() {
            return Err(ParseError::Truncated { need: headers, have: packet.len() });
        }
        Ok(Self { packet, headers, outer, network, transport, cut, done: 0, given: 0, ended: false })
    }

    /// Where the packets go.
    #[must_use]
    pub fn destination(&self) -> Option<IpAddr> {
        match *self.packet.first()? >> 4 {
            4 => {
                let octets = self.packet.get(ipv4::DESTINATION..)?.first_chunk::<4>()?;
                Some(IpAddr::from(*octets))
            }
            _ => {
                let octets = self.packet.get(ipv6::DESTINATION..)?.first_chunk::<16>()?;
                Some(IpAddr::from(*octets))
            }
        }
    }

    /// Bytes of the longest packet, if every kernel can cut the parcel: a super-packet of TCP that is in no tunnel. Those of UDP Linux
    /// takes since 6.2.
    #[must_use]
    pub fn longest_of_tcp(&self) -> Option<usize> {
        match self.cut {
            Cut::Tcp(size, _) if self.outer.is_none() => {
                Some(self.headers.saturating_add(size).min(self.packet.len()))
            }
            _ => None,
        }
    }

    /// Writes the next packet to the front of `buffer` and gives its length; `None` after the last one, and if it does not
    /// fit.
    pub fn write_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.ended {
            return None;
        }
        let (size, protocol) = match self.cut {
            Cut::Whole(open) => {
                self.ended = true;
                let out = buffer.get_mut(..self.packet.len())?;
                out.copy_from_slice(self.packet);
                if let Some((start, offset)) = open {
                    complete(out, start, offset);
                }
                return Some(out.len());
            }
            Cut::Tcp(size, _) => (size, TCP),
            Cut::Udp(size) => (size, UDP),
        };
        let begin = self.headers.saturating_add(self.done);
        let end = begin.saturating_add(size).min(self.packet.len());
        let payload = self.packet.get(begin..end)?;
        let is_last = end == self.packet.len();
        let out = buffer.get_mut(..self.headers.saturating_add(payload.len()))?;
        let (head, tail) = out.split_at_mut_checked(self.headers)?;
        head.copy_from_slice(self.packet.get(..self.headers)?);
        tail.copy_from_slice(payload);
        self.number(head, payload.len(), is_last)?;
        let inner = out.get_mut(self.network..)?;
        count(inner, self.given)?;
        finish(inner, self.transport.checked_sub(self.network)?, protocol)?;
        if let Some(outer) = &self.outer {
            count(out, self.given)?;
            outer.finish(out)?;
        }
        self.done = self.done.saturating_add(payload.len());
        self.given = self.given.wrapping_add(1);
        self.ended = is_last;
        Some(out.len())
    }

    /// What differs from segment to segment in the transport header, the checksum excepted.
    fn number(&self, head: &mut [u8], payload: usize, is_last: bool) -> Option<()> {
        match self.cut {
            Cut::Tcp(_, cwr_once) => {
                let at = self.transport.checked_add(TCP_SEQUENCE)?;
                let sequence = u32::from_be_bytes(*head.get(at..)?.first_chunk()?);
                let done = u32::try_from(self.done).ok()?;
                put(head, at, &sequence.wrapping_add(done).to_be_bytes())?;
                let flags = head.get_mut(self.transport.checked_add(TCP_FLAGS)?)?;
                if !is_last {
                    *flags &= !(TCP_FIN | TCP_PSH);
                }
                if cwr_once && self.given > 0 {
                    *flags &= !TCP_CWR;
                }
            }
            Cut::Udp(_) => {
                let length = u16::try_from(payload.checked_add(UDP_HEADER)?).ok()?;
                put(head, self.transport.checked_add(UDP_LENGTH)?, &length.to_be_bytes())?;
            }
            Cut::Whole(_) => {}
        }
        Some(())
    }
}

/// What differs from segment to segment in the IP header, the checksum excepted. `given`: segments before it.
fn count(packet: &mut [u8], given: u16) -> Option<()> {
    let total = packet.len();
    if packet.first()? >> 4 == 4 {
        put(packet, ipv4::TOTAL_LENGTH, &u16::try_from(total).ok()?.to_be_bytes())?;
        let id = u16::from_be_bytes(*packet.get(ipv4::IDENTIFICATION..)?.first_chunk()?);
        put(packet, ipv4::IDENTIFICATION, &id.wrapping_add(given).to_be_bytes())
    } else {
        let length = u16::try_from(total.checked_sub(ipv6::HEADER)?).ok()?;
        put(packet, ipv6::PAYLOAD_LENGTH, &length.to_be_bytes())
    }
}

/// Start and offset of a checksum to be completed, in the packet.
fn open_checksum(offload: &OffloadHeader, len: usize) -> Option<(usize, usize)> {
    let start = open_at(offload)?;
    let offset = usize::from(offload.checksum_offset.get());
    (start.checked_add(offset)?.checked_add(2)? <= len).then_some((start, offset))
}

/// Completes a checksum whose field holds the sum over the pseudo header.
fn complete(packet: &mut [u8], start: usize, offset: usize) {
    let Some(covered) = packet.get_mut(start..) else { return };
    let sum = !checksum::sum(covered);
    // As Linux does it (`skb_checksum_help`), for TCP too: no sum of a packet is zero otherwise.
    let value = if sum == 0 { u16::MAX } else { sum };
    let _ = put(covered, offset, &value.to_be_bytes());
}

/// The checksums of a whole packet, computed from nothing.
pub(super) fn finish(packet: &mut [u8], transport: usize, protocol: u8) -> Option<()> {
    let is_v4 = packet.first()? >> 4 == 4;
    let addresses =
        if is_v4 { ipv4::SOURCE..ipv4::SOURCE.checked_add(8)? } else { ipv6::SOURCE..ipv6::HEADER };
    let length = packet.len().checked_sub(transport)?;
    let pseudo = checksum::add(
        checksum::sum(packet.get(addresses)?),
        checksum::add(u16::from(protocol), checksum::sum(&u32::try_from(length).ok()?.to_be_bytes())),
    );
    let offset = if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
    put(packet, transport.checked_add(offset)?, &pseudo.to_be_bytes())?;
    complete(packet, transport, offset);
    if is_v4 {
        header_checksum(packet)?;
    }
    Some(())
}

/// Writes the checksum of an IPv4 header into it; nothing if it is too short to be one.
pub fn set_ipv4_checksum(packet: &mut [u8]) {
    let _ = header_checksum(packet);
}

/// Computes the checksum of an IPv4 header.
pub(super) fn header_checksum(packet: &mut [u8]) -> Option<()> {
    let len = usize::from(packet.first()? & 0xf).checked_mul(4)?;
    put(packet, ipv4::CHECKSUM, &[0, 0])?;
    let sum = !checksum::sum(packet.get(..len)?);
    put(packet, ipv4::CHECKSUM, &sum.to_be_bytes())
}

/// Bytes of the TCP header.
pub(super) fn tcp_header(segment: &[u8]) -> Result<usize, ParseError> {
    let have = segment.len();
    let offset = segment.get(TCP_DATA_OFFSET).ok_or(ParseError::Truncated { need: 20, have })?;
    let len = usize::from(offset >> 4).saturating_mul(4);
    if len < 20 {
        return Err(ParseError::Value { field: "data offset", value: (offset >> 4).into() });
    }
    Ok(len)
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

pub(super) const TCP: u8 = 6;
/// Places in the TCP header (RFC 9293, 3.1).
const TCP_SEQUENCE: usize = 4;
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: usize = 16;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
pub(super) const UDP: u8 = 17;
/// Length of the UDP header, and places in it (RFC 768).
pub(super) const UDP_HEADER: usize = 8;
pub(super) const UDP_LENGTH: usize = 4;
pub(super) const UDP_CHECKSUM: usize = 6;
