//! [`translate`]: another address in a packet, and every checksum right again (M9).
//!
//! # Theory of operation
//!
//! One end of a packet, its source or its destination, gets another address of the same version of IP. Checksums are changed
//! by difference (RFC 1624), so the cost does not depend on the packet's length, and what was wrong before stays wrong: the
//! receiver is to notice.
//!
//! | packet | what changes |
//! |---|---|
//! | any IPv4 | address, header checksum |
//! | any IPv6 | address |
//! | TCP, UDP, UDP-Lite, DCCP, ICMPv6 | checksum, as the pseudo header has the addresses; not that of UDP over IPv4 if it is zero |
//! | ICMP and ICMPv6 error | the packet inside likewise, at its other end; the error's own checksum by all of that |
//! | later fragment | no more than the header |
//!
//! If the offload header says that the checksum is still to be completed, its field holds the sum over the pseudo header,
//! and that is what changes. An error holds the beginning of a packet only: a checksum that it has no room for is left out.

use super::checksum::Delta;
use super::datagram::{Datagram, Extent};
use super::{icmp, ipv4, ipv6};
use crate::data::{OffloadFlags, OffloadHeader};
use crate::header::EthernetHeader;
use crate::protocol_address::octets;
use crate::tlv;
use core::net::IpAddr;

/// An end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Who sent it.
    Source,
    /// Whom it is for.
    Destination,
}

/// The packet has not that address at that end, or is too short for what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTranslatable;

/// The source and the destination address of the IP packet in a parcel (offload header and Ethernet frame).
#[must_use]
pub fn addresses(parcel: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = parcel.get(PACKET..)?;
    let datagram = outer(parcel, packet)?;
    Some((datagram.source, datagram.destination))
}

/// Puts the address `to` in the place of `from` at one end of the packet in a parcel (offload header and Ethernet frame).
///
/// # Errors
/// [`NotTranslatable`]; the parcel is as it was.
pub fn translate(parcel: &mut [u8], end: End, from: IpAddr, to: IpAddr) -> Result<(), NotTranslatable> {
    let plan = Plan::new(parcel, end, from, to).ok_or(NotTranslatable)?;
    let packet = parcel.get_mut(PACKET..).ok_or(NotTranslatable)?;
    plan.carry_out(packet, to);
    Ok(())
}

/// Bytes of a parcel before the packet.
pub(super) const PACKET: usize = size_of::<OffloadHeader>() + size_of::<EthernetHeader>();

/// Place of a checksum in the packet, and its value to be.
type Field = (usize, [u8; 2]);

/// What is to be written where in the packet. Made of reads alone, so that a packet that cannot be translated is left as it
/// is.
struct Plan {
    outer: Header,
    /// That of the transport.
    checksum: Option<Field>,
    /// The packet inside an error.
    inner: Option<(Header, Option<Field>)>,
}

/// An IP header.
#[derive(Clone, Copy)]
struct Header {
    /// Where the address stands.
    address: usize,
    /// IPv6 has none.
    checksum: Option<Field>,
}

impl Plan {
    fn new(parcel: &[u8], end: End, from: IpAddr, to: IpAddr) -> Option<Self> {
        let packet = parcel.get(PACKET..)?;
        let datagram = outer(parcel, packet)?;
        let outer = Header::new(packet, 0, &datagram, end, from, to)?;
        let addresses = difference(from, to);
        let none = Self { outer, checksum: None, inner: None };
        if datagram.is_later_fragment() {
            return Some(none);
        }
        let transport = place(packet, datagram.payload)?;
        let open = is_open(parcel, transport);
        if let Some(inner) = error(&datagram) {
            // The error is whole or it is not one: its own checksum must be there.
            let own = transport.checked_add(ICMP_CHECKSUM)?;
            let about = Inner::new(packet, inner, end, from, to);
            let pseudo = if from.is_ipv6() { addresses } else { Delta::default() };
            let inside = about.as_ref().map_or(Delta::default(), |about| about.difference);
            // An open checksum is completed later, over the packet inside as it is then.
            let change = if open { pseudo } else { pseudo.and(inside) };
            let checksum = Some((own, changed(packet, own, change, open, false)?));
            return Some(Self { checksum, inner: about.map(|about| (about.header, about.checksum)), ..none });
        }
        let Some(field) = covered(datagram.protocol, from) else { return Some(none) };
        let at = transport.checked_add(field)?;
        datagram.payload.get(field..field.checked_add(2)?)?;
        let is_udp = datagram.protocol == UDP;
        if is_udp && from.is_ipv4() && !open && two(packet, at)? == [0, 0] {
            return Some(none);
        }
        Some(Self { checksum: Some((at, changed(packet, at, addresses, open, is_udp)?)), ..none })
    }

    fn carry_out(&self, packet: &mut [u8], to: IpAddr) {
        self.outer.write(packet, to);
        if let Some((header, checksum)) = &self.inner {
            header.write(packet, to);
            write(packet, *checksum);
        }
        write(packet, self.checksum);
    }
}

/// The packet inside an error.
struct Inner {
    header: Header,
    checksum: Option<Field>,
    /// What its changes do to a checksum over it.
    difference: Delta,
}

impl Inner {
    /// `None` if the error is about a packet of other ends, or holds too little of it.
    fn new(packet: &[u8], inner: &[u8], end: End, from: IpAddr, to: IpAddr) -> Option<Self> {
        let datagram = read(inner, from, Extent::Beginning)?;
        let other = match end {
            End::Source => End::Destination,
            End::Destination => End::Source,
        };
        let base = place(packet, inner)?;
        let header = Header::new(packet, base, &datagram, other, from, to)?;
        let addresses = difference(from, to);
        let mut all = addresses;
        if let Some((at, new)) = header.checksum {
            all = all.and(Delta::of(&two(packet, at)?, &new));
        }
        let checksum = inner_checksum(packet, &datagram, from, addresses);
        if let Some((at, new)) = checksum {
            all = all.and(Delta::of(&two(packet, at)?, &new));
        }
        Some(Self { header, checksum, difference: all })
    }
}

/// The transport checksum of a packet inside an error, if the error holds it and it covers the addresses.
fn inner_checksum(packet: &[u8], datagram: &Datagram<'_>, from: IpAddr, addresses: Delta) -> Option<Field> {
    if datagram.is_later_fragment() {
        return None;
    }
    let field = covered(datagram.protocol, from)?;
    datagram.payload.get(field..field.checked_add(2)?)?;
    let at = place(packet, datagram.payload)?.checked_add(field)?;
    let is_udp = datagram.protocol == UDP;
    if is_udp && from.is_ipv4() && two(packet, at)? == [0, 0] {
        return None;
    }
    Some((at, changed(packet, at, addresses, false, is_udp)?))
}

impl Header {
    /// `None` if it has not the address `from` at that end. `base` is where the header begins in the packet.
    fn new(
        packet: &[u8],
        base: usize,
        datagram: &Datagram<'_>,
        end: End,
        from: IpAddr,
        to: IpAddr,
    ) -> Option<Self> {
        let (present, v4, v6) = match end {
            End::Source => (datagram.source, ipv4::SOURCE, ipv6::SOURCE),
            End::Destination => (datagram.destination, ipv4::DESTINATION, ipv6::DESTINATION),
        };
        if present != from || from.is_ipv4() != to.is_ipv4() {
            return None;
        }
        if from.is_ipv6() {
            return Some(Self { address: base.checked_add(v6)?, checksum: None });
        }
        let at = base.checked_add(ipv4::CHECKSUM)?;
        let new = difference(from, to).checksum(two(packet, at)?);
        Some(Self { address: base.checked_add(v4)?, checksum: Some((at, new)) })
    }

    fn write(&self, packet: &mut [u8], to: IpAddr) {
        match to {
            IpAddr::V4(v4) => put(packet, self.address, &v4.octets()),
            IpAddr::V6(v6) => put(packet, self.address, &v6.octets()),
        }
        write(packet, self.checksum);
    }
}

/// The packet as a whole.
pub(super) fn outer<'a>(parcel: &[u8], packet: &'a [u8]) -> Option<Datagram<'a>> {
    let frame = parcel.get(size_of::<OffloadHeader>()..)?;
    let (ethernet, _) = tlv::fixed::<EthernetHeader>(frame).ok()?;
    match ethernet.ethertype.get() {
        ipv4::ETHERTYPE => ipv4::datagram(packet, Extent::Whole).ok(),
        ipv6::ETHERTYPE => ipv6::datagram(packet, Extent::Whole).ok(),
        _ => None,
    }
}

/// A packet of the version of `like`.
fn read(packet: &[u8], like: IpAddr, extent: Extent) -> Option<Datagram<'_>> {
    if like.is_ipv4() { ipv4::datagram(packet, extent).ok() } else { ipv6::datagram(packet, extent).ok() }
}

/// What is inside an ICMP error; `None` for any other packet.
fn error<'a>(datagram: &Datagram<'a>) -> Option<&'a [u8]> {
    let is_error = match datagram.protocol {
        icmp::ICMP if datagram.source.is_ipv4() => icmp::is_error,
        icmp::ICMPV6 if datagram.source.is_ipv6() => icmp::is_error_v6,
        _ => return None,
    };
    let (kind, _) = datagram.payload.split_first()?;
    if is_error(*kind) { datagram.payload.get(icmp::HEADER..) } else { None }
}

/// Where in its header the checksum of a protocol stands that covers the addresses.
fn covered(protocol: u8, like: IpAddr) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP | UDP_LITE | DCCP => Some(6),
        icmp::ICMPV6 if like.is_ipv6() => Some(ICMP_CHECKSUM),
        _ => None,
    }
}

/// Whether the checksum of the transport header at this place is still to be completed.
pub(super) fn is_open(parcel: &[u8], transport: usize) -> bool {
    let Ok((offload, _)) = tlv::fixed::<OffloadHeader>(parcel) else { return false };
    let start = usize::from(offload.checksum_start.get());
    OffloadFlags::from_bits_retain(offload.flags).contains(OffloadFlags::NEEDS_CHECKSUM)
        && start == transport.saturating_add(size_of::<EthernetHeader>())
}

fn changed(packet: &[u8], at: usize, change: Delta, open: bool, is_udp: bool) -> Option<[u8; 2]> {
    let field = two(packet, at)?;
    Some(match (open, change.checksum(field)) {
        (true, _) => change.sum(field),
        // Zero means "no checksum" (RFC 768).
        (false, [0, 0]) if is_udp => [0xff, 0xff],
        (false, checksum) => checksum,
    })
}

fn difference(from: IpAddr, to: IpAddr) -> Delta {
    // The zeros and ones before a mapped IPv4 address are the same in both.
    Delta::of(&octets(from), &octets(to))
}

/// Where a part of the packet begins in it.
pub(super) fn place(packet: &[u8], part: &[u8]) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(packet.as_ptr().addr())?;
    packet.get(at..at.checked_add(part.len())?).map(|_| at)
}

pub(super) fn two(packet: &[u8], at: usize) -> Option<[u8; 2]> {
    packet.get(at..)?.first_chunk().copied()
}

fn write(packet: &mut [u8], field: Option<Field>) {
    if let Some((at, bytes)) = field {
        put(packet, at, &bytes);
    }
}

fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(place) = packet.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;
/// Place of the checksum in ICMP and ICMPv6 (RFC 792, RFC 4443, 2.1).
const ICMP_CHECKSUM: usize = 2;
