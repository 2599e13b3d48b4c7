//! Packets that do not come through: [`Fragments`] of those that may be cut, [`error_about`] the others.

use super::segments::{header_checksum, put};
use super::{checksum, icmp, ipv4, ipv6};
use crate::Mac;
use crate::data::OffloadHeader;
use crate::header::EthernetHeader;
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

/// Cuts an IPv4 packet for a way of a smaller MTU (RFC 791, 3.2), as a router would.
#[derive(Debug, Clone)]
pub struct Fragments<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    /// Flags and offset of the packet, itself perhaps a fragment.
    flags_offset: u16,
    /// Payload bytes of each fragment, a multiple of eight.
    step: usize,
    done: usize,
}

impl<'a> Fragments<'a> {
    /// `None` for a packet that must not be cut: IPv6, IPv4 with "don't fragment", and IPv4 with options, of which only some
    /// go into later fragments.
    #[must_use]
    pub fn new(packet: &'a [u8], mtu: u32) -> Option<Self> {
        if *packet.first()? != 0x45 {
            return None;
        }
        let (header, payload) = packet.split_at_checked(ipv4::HEADER)?;
        let flags_offset = u16::from_be_bytes(*header.get(ipv4::FLAGS..)?.first_chunk()?);
        let step = usize::try_from(mtu).ok()?.checked_sub(ipv4::HEADER)? & !7;
        if flags_offset & DONT_FRAGMENT != 0 || step == 0 {
            return None;
        }
        Some(Self { header, payload, flags_offset, step, done: 0 })
    }

    /// Writes the next fragment to the front of `buffer` and gives its length; `None` after the last one.
    pub fn write_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.done >= self.payload.len() {
            return None;
        }
        let end = self.done.saturating_add(self.step).min(self.payload.len());
        let part = self.payload.get(self.done..end)?;
        let len = ipv4::HEADER.checked_add(part.len())?;
        let out = buffer.get_mut(..len)?;
        put(out, 0, self.header)?;
        put(out, ipv4::HEADER, part)?;
        put(out, ipv4::TOTAL_LENGTH, &u16::try_from(len).ok()?.to_be_bytes())?;
        let more = if end < self.payload.len() { MORE_FRAGMENTS } else { 0 };
        let offset = u16::try_from(self.done.checked_div(8)?).ok()?;
        put(out, ipv4::FLAGS, &(self.flags_offset.checked_add(offset)? | more).to_be_bytes())?;
        header_checksum(out)?;
        self.done = end;
        Some(len)
    }
}

/// Why a packet does not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is larger than this MTU, and may not be cut.
    TooBig(u32),
    /// There is no route to its destination.
    NoRoute,
}

/// Writes a parcel (offload header and Ethernet frame) to the front of `buffer`: the ICMP error by which a router says why an
/// IP packet does not come through (RFC 792; RFC 1191, 4; RFC 4443, 3.1 and 3.2). It comes from where the packet went and goes
/// to where it came from, by Ethernet to `station`. Gives its length; `None` if the packet is none, or the buffer too small.
pub fn error_about(packet: &[u8], obstacle: Obstacle, station: Mac, buffer: &mut [u8]) -> Option<usize> {
    let is_v4 = match packet.first()? >> 4 {
        4 => true,
        6 => false,
        _ => return None,
    };
    let (header, longest) = if is_v4 { (ipv4::HEADER, V4_ERROR_MAX) } else { (ipv6::HEADER, V6_ERROR_MAX) };
    let about = packet.get(..packet.len().min(longest.checked_sub(header)?.checked_sub(icmp::HEADER)?))?;
    let message = icmp::HEADER.checked_add(about.len())?;
    let ethertype = U16::new(if is_v4 { ipv4::ETHERTYPE } else { ipv6::ETHERTYPE });
    let ethernet = EthernetHeader { destination: station, source: station, ethertype };
    let before = size_of::<OffloadHeader>().checked_add(size_of::<EthernetHeader>())?;
    let len = before.checked_add(header)?.checked_add(message)?;
    let parcel = buffer.get_mut(..len)?;
    parcel.fill(0);
    put(parcel, size_of::<OffloadHeader>(), ethernet.as_bytes())?;
    let out = parcel.get_mut(before..)?;
    put(out, header.checked_add(icmp::HEADER)?, about)?;
    if is_v4 {
        put(out, 0, &[0x45])?;
        put(out, ipv4::TOTAL_LENGTH, &u16::try_from(out.len()).ok()?.to_be_bytes())?;
        put(out, TTL, &[HOPS, icmp::ICMP])?;
        put(out, ipv4::SOURCE, packet.get(ipv4::DESTINATION..)?.first_chunk::<4>()?)?;
        put(out, ipv4::DESTINATION, packet.get(ipv4::SOURCE..)?.first_chunk::<4>()?)?;
        header_checksum(out)?;
        let icmp = out.get_mut(header..)?;
        match obstacle {
            Obstacle::TooBig(mtu) => {
                put(icmp, 0, &[UNREACHABLE, FRAGMENTATION_NEEDED])?;
                put(icmp, 6, &u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes())?;
            }
            Obstacle::NoRoute => put(icmp, 0, &[UNREACHABLE, NET_UNREACHABLE])?,
        }
        let sum = !checksum::sum(icmp);
        put(icmp, 2, &sum.to_be_bytes())?;
    } else {
        put(out, 0, &[0x60])?;
        put(out, ipv6::PAYLOAD_LENGTH, &u16::try_from(message).ok()?.to_be_bytes())?;
        put(out, ipv6::NEXT_HEADER, &[icmp::ICMPV6, HOPS])?;
        put(out, ipv6::SOURCE, packet.get(ipv6::DESTINATION..)?.first_chunk::<16>()?)?;
        put(out, ipv6::DESTINATION, packet.get(ipv6::SOURCE..)?.first_chunk::<16>()?)?;
        let addresses = checksum::sum(out.get(ipv6::SOURCE..header)?);
        let length = checksum::sum(&u32::try_from(message).ok()?.to_be_bytes());
        let pseudo = checksum::add(addresses, checksum::add(length, u16::from(icmp::ICMPV6)));
        let icmp = out.get_mut(header..)?;
        match obstacle {
            Obstacle::TooBig(mtu) => {
                put(icmp, 0, &[V6_PACKET_TOO_BIG])?;
                put(icmp, 4, &mtu.to_be_bytes())?;
            }
            Obstacle::NoRoute => put(icmp, 0, &[V6_UNREACHABLE, V6_NO_ROUTE])?,
        }
        let sum = !checksum::add(pseudo, checksum::sum(icmp));
        put(icmp, 2, &sum.to_be_bytes())?;
    }
    Some(len)
}

/// RFC 791, 3.1.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Longest error: RFC 1812, 4.3.2.3; RFC 4443, 2.4 (c).
const V4_ERROR_MAX: usize = 576;
const V6_ERROR_MAX: usize = 1280;
/// Time to live and hop limit.
const HOPS: u8 = 64;
/// Place of time to live in IPv4, with the protocol behind it. In IPv6 the hop limit is behind the next header.
const TTL: usize = 8;
/// RFC 792, RFC 1191.
const UNREACHABLE: u8 = 3;
const NET_UNREACHABLE: u8 = 0;
const FRAGMENTATION_NEEDED: u8 = 4;
/// RFC 4443, 3.1 and 3.2.
const V6_UNREACHABLE: u8 = 1;
const V6_NO_ROUTE: u8 = 0;
const V6_PACKET_TOO_BIG: u8 = 2;
