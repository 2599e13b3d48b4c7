//! Offload headers that speak of a packet inside the packet: [`offloads_inner`], and [`Outer`], what is around it.
//!
//! # Theory of operation
//!
//! A kernel that runs a tunnel over a virtual network card leaves the checksum of the packet inside to be completed, and TCP or
//! UDP inside to be cut. `virtio_net_hdr` cannot say that there is a tunnel: gso type and size are those of the packet inside, and
//! the checksum begins at the transport header inside. No kernel takes such a super-packet back for what it is.
//!
//! Where the checksum begins, the inner transport header begins, and right before it ends the inner IP header, whatever the tunnel
//! puts before that. It is believed to be there only if its version, protocol and length say so. The tunnel's own headers are
//! the same in all segments, but for the lengths and checksums in UDP and GRE; a GRE sequence number would have to differ.

use super::datagram::{Datagram, Extent};
use super::segments::{
    TCP, TCP_CHECKSUM, UDP, UDP_CHECKSUM, UDP_HEADER, UDP_LENGTH, finish, header_checksum, put,
};
use super::translate::place;
use super::{checksum, ipv4, ipv6};
use crate::data::{GsoType, OffloadFlags, OffloadHeader};
use crate::header::EthernetHeader;
use crate::{ParseError, tlv};

/// Whether what a parcel (offload header and Ethernet frame) leaves to be done is to be done to a packet inside its IP packet. Of
/// what is no IP packet this says no.
#[must_use]
pub fn offloads_inner(parcel: &[u8]) -> bool {
    let Ok((offload, frame)) = tlv::fixed::<OffloadHeader>(parcel) else { return false };
    let kind = gso_type(offload);
    let open = open_at(offload);
    let offset = usize::from(offload.checksum_offset.get());
    // Of other checksums (SCTP's is none of these) nothing can be said.
    let may_be = kind != GsoType::NONE || open.is_some() && matches!(offset, TCP_CHECKSUM | UDP_CHECKSUM);
    may_be
        && ip_packet(frame).is_ok_and(|(packet, datagram)| {
            let transport = place(packet, datagram.payload);
            open.is_some() && open != transport
                || kind != GsoType::NONE && protocol(kind) != Some(datagram.protocol)
        })
}

/// The headers around a packet in a tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outer {
    /// Where the outer IP header ends.
    transport: usize,
    tunnel: Tunnel,
}

#[derive(Debug, Clone, Copy)]
enum Tunnel {
    /// VXLAN, GENEVE and others; whether UDP's checksum is in use.
    Udp(bool),
    /// Whether GRE's checksum is in use (RFC 2784).
    Gre(bool),
    /// IP directly in IP.
    Ip,
}

impl Outer {
    /// The headers of this packet around the one whose transport header begins at `open` and is to be cut as `kind` says; with it
    /// the place of the inner IP header.
    pub(super) fn new(
        packet: &[u8],
        datagram: &Datagram<'_>,
        kind: GsoType,
        open: usize,
    ) -> Result<(Self, usize), ParseError> {
        let unknown = ParseError::Value { field: "checksum start", value: open as u64 };
        let transport = place(packet, datagram.payload).ok_or(unknown)?;
        let network = network(packet, kind, open).ok_or(unknown)?;
        let between = network.checked_sub(transport).ok_or(unknown)?;
        let (tunnel, least) = match datagram.protocol {
            UDP => (udp(datagram.payload)?, UDP_HEADER),
            GRE => gre(datagram.payload)?,
            IPV4 | IPV6 if between == 0 => (Tunnel::Ip, 0),
            other => return Err(ParseError::Value { field: "protocol", value: other.into() }),
        };
        if between < least {
            return Err(unknown);
        }
        Ok((Self { transport, tunnel }, network))
    }

    /// Completes the outer headers of a packet whose inner one is complete; the outer IP header has its length.
    pub(super) fn finish(&self, packet: &mut [u8]) -> Option<()> {
        match self.tunnel {
            Tunnel::Udp(has_checksum) => {
                let length = u16::try_from(packet.len().checked_sub(self.transport)?).ok()?;
                put(packet, self.transport.checked_add(UDP_LENGTH)?, &length.to_be_bytes())?;
                if has_checksum {
                    return finish(packet, self.transport, UDP);
                }
            }
            Tunnel::Gre(true) => {
                let gre = packet.get_mut(self.transport..)?;
                put(gre, GRE_CHECKSUM, &[0, 0])?;
                let sum = !checksum::sum(gre);
                put(gre, GRE_CHECKSUM, &sum.to_be_bytes())?;
            }
            Tunnel::Gre(false) | Tunnel::Ip => {}
        }
        if packet.first()? >> 4 == 4 {
            header_checksum(packet)?;
        }
        Some(())
    }
}

/// Reads the IP header of a frame; the packet is without padding.
pub(super) fn ip_packet(frame: &[u8]) -> Result<(&[u8], Datagram<'_>), ParseError> {
    let (ethernet, packet) = tlv::fixed::<EthernetHeader>(frame)?;
    let datagram = match ethernet.ethertype.get() {
        ipv4::ETHERTYPE => ipv4::datagram(packet, Extent::Whole)?,
        ipv6::ETHERTYPE => ipv6::datagram(packet, Extent::Whole)?,
        other => return Err(ParseError::Value { field: "ethertype", value: other.into() }),
    };
    let end = place(packet, datagram.payload).map(|at| at.saturating_add(datagram.payload.len()));
    let whole = end.and_then(|end| packet.get(..end)).unwrap_or(packet);
    Ok((whole, datagram))
}

/// The gso type without its flag.
pub(super) fn gso_type(offload: &OffloadHeader) -> GsoType {
    GsoType(offload.gso_type & !GsoType::ECN)
}

/// The protocol of what is cut.
pub(super) fn protocol(kind: GsoType) -> Option<u8> {
    match kind {
        GsoType::TCP4 | GsoType::TCP6 => Some(TCP),
        GsoType::UDP_L4 => Some(UDP),
        _ => None,
    }
}

/// Where a checksum that is to be completed begins, in bytes from the IP header.
pub(super) fn open_at(offload: &OffloadHeader) -> Option<usize> {
    if !OffloadFlags::from_bits_retain(offload.flags).contains(OffloadFlags::NEEDS_CHECKSUM) {
        return None;
    }
    usize::from(offload.checksum_start.get()).checked_sub(size_of::<EthernetHeader>())
}

/// Where the IP header stands that ends where this transport header begins.
fn network(packet: &[u8], kind: GsoType, transport: usize) -> Option<usize> {
    let protocol = protocol(kind)?;
    let v4 = || {
        (MIN_IHL..=MAX_IHL).find_map(|ihl: u8| {
            let at = transport.checked_sub(usize::from(ihl).checked_mul(4)?)?;
            let inner = packet.get(at..)?;
            let is_there = *inner.first()? == 0x40 | ihl
                && *inner.get(ipv4::PROTOCOL)? == protocol
                && ipv4::packet_length(inner).ok()? == inner.len();
            is_there.then_some(at)
        })
    };
    let v6 = || {
        let at = transport.checked_sub(ipv6::HEADER)?;
        let inner = packet.get(at..)?;
        let is_there =
            *inner.get(ipv6::NEXT_HEADER)? == protocol && ipv6::packet_length(inner).ok()? == inner.len();
        is_there.then_some(at)
    };
    match kind {
        GsoType::TCP4 => v4(),
        GsoType::TCP6 => v6(),
        _ => v4().or_else(v6),
    }
}

fn udp(payload: &[u8]) -> Result<Tunnel, ParseError> {
    let truncated = ParseError::Truncated { need: UDP_HEADER, have: payload.len() };
    let checksum = payload.get(UDP_CHECKSUM..UDP_HEADER).ok_or(truncated)?;
    Ok(Tunnel::Udp(checksum != [0, 0]))
}

/// What a GRE header says, and how long it is (RFC 2784, RFC 2890).
fn gre(payload: &[u8]) -> Result<(Tunnel, usize), ParseError> {
    let flags = payload.first_chunk().ok_or(ParseError::Truncated { need: 4, have: payload.len() })?;
    let flags = u16::from_be_bytes(*flags);
    let (has_checksum, has_key) = (flags & GRE_HAS_CHECKSUM != 0, flags & GRE_HAS_KEY != 0);
    if flags & !(GRE_HAS_CHECKSUM | GRE_HAS_KEY) != 0 {
        return Err(ParseError::Value { field: "GRE flags", value: flags.into() });
    }
    let word = |is_there| if is_there { 4_usize } else { 0 };
    Ok((Tunnel::Gre(has_checksum), 4_usize.saturating_add(word(has_checksum)).saturating_add(word(has_key))))
}

const IPV4: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;
/// Place in the GRE header.
const GRE_CHECKSUM: usize = 4;
/// Bits of its first two bytes. The others are a sequence number, routing (RFC 1701), and the version of PPTP.
const GRE_HAS_CHECKSUM: u16 = 0x8000;
const GRE_HAS_KEY: u16 = 0x2000;
/// Words of an IPv4 header.
const MIN_IHL: u8 = 5;
const MAX_IHL: u8 = 15;
