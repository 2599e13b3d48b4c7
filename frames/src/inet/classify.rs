//! [`classify`]: from a frame to addresses, ports and kind, without copying.

use super::datagram::{Datagram, Extent};
use super::transport::Tcp;
use super::{arp, ipv4, ipv6};
use crate::header::EthernetHeader;
use crate::{Mac, ParseError, tlv};
use core::net::{IpAddr, Ipv4Addr};

/// Least EtherType; smaller values are lengths (IEEE 802.3, 3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;
/// Linux's `ETH_P_802_2`, which stands for frames with a length.
const ETHERTYPE_802_2: u16 = 0x0004;

/// What the headers of an Ethernet frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketView {
    /// Station or group that the frame is for.
    pub destination: Mac,
    /// Station that sent it.
    pub source: Mac,
    /// EtherType, or 0x0004 (`ETH_P_802_2`) for an 802.3 frame with a length.
    pub ethertype: u16,
    /// What is inside.
    pub layer3: Layer3,
}

/// The network layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer3 {
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp {
        /// Request or reply.
        operation: ArpOperation,
        /// `ar$spa`
        sender: Ipv4Addr,
        /// `ar$tpa`
        target: Ipv4Addr,
    },
    /// IPv4 or IPv6.
    Ip(Ip),
    /// Anything else.
    Other,
}

/// Operation of an ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// 1
    Request,
    /// 2
    Reply,
    /// Any other.
    Other(u16),
}

/// An IPv4 or IPv6 packet. IPv6 extension headers (hop-by-hop, routing, fragment, destination options,
/// authentication) have been walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the transport: the last next-header value of IPv6.
    pub protocol: u8,
    /// Present if the packet is a fragment, the first included. An IPv6 atomic fragment (RFC 6946) is a whole packet.
    pub fragment: Option<Fragment>,
    /// What the transport header says; [`Transport::LaterFragment`] where there is none.
    pub transport: Transport,
}

/// Place of a fragment in its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Identification field, 16 bits in IPv4.
    pub id: u32,
    /// Offset in bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
}

/// The transport layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, UDP, UDP-Lite, DCCP, SCTP: protocols whose header begins with two port numbers.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// More of a TCP header; [`Tcp::NONE`] of other protocols, or if it is not there.
        tcp: Tcp,
    },
    /// ICMP or ICMPv6 echo.
    Echo {
        /// Request or reply.
        kind: EchoKind,
        /// Identifier.
        id: u16,
    },
    /// An ICMP or ICMPv6 error about a packet that the receiver of the error had sent.
    IcmpError(IcmpInner),
    /// ICMPv6 neighbour solicitation (RFC 4861, 4.3) with its target.
    NeighborSolicitation(core::net::Ipv6Addr),
    /// ICMPv6 neighbour advertisement (RFC 4861, 4.4) with its target.
    NeighborAdvertisement(core::net::Ipv6Addr),
    /// Any other ICMP or ICMPv6 message, by its type.
    Icmp(u8),
    /// A fragment other than the first: no transport header.
    LaterFragment,
    /// Any other protocol.
    Other,
}

/// Direction of an echo message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoKind {
    /// Type 8, or 128 in ICMPv6.
    Request,
    /// Type 0, or 129 in ICMPv6.
    Reply,
}

/// The packet inside an ICMP error, as far as the error holds it: it was sent by `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpInner {
    /// Source of the packet that met the error.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Its source and destination port; for an echo request the identifier and zero; `None` if it holds neither.
    pub ports: Option<(u16, u16)>,
}

/// What the fragments of one packet have in common (RFC 791, 2.3; RFC 8200, 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification field.
    pub id: u32,
    /// Protocol in IPv4. Zero in IPv6, where it does not count and [`Ip::protocol`] of a later fragment may differ
    /// from the first one's.
    pub protocol: u8,
}

impl Ip {
    /// The key under which the fragments of one packet belong together; `None` for a whole packet.
    #[must_use]
    pub fn fragment_key(&self) -> Option<FragmentKey> {
        self.fragment.map(|fragment| FragmentKey {
            source: self.source,
            destination: self.destination,
            id: fragment.id,
            protocol: if self.source.is_ipv4() { self.protocol } else { 0 },
        })
    }
}

/// Reads the headers of an Ethernet frame (no offload header before it). Padding behind the packet is ignored.
///
/// # Errors
/// [`ParseError::Truncated`] if a header that the frame announces is not all there, [`ParseError::Value`] if a length
/// or version field contradicts itself or an IPv6 packet has more than eight extension headers. A frame of an unknown
/// EtherType or protocol is no error.
pub fn classify(frame: &[u8]) -> Result<PacketView, ParseError> {
    let (ethernet, packet) = tlv::fixed::<EthernetHeader>(frame)?;
    let ethertype = match ethernet.ethertype.get() {
        0..ETHERTYPE_MIN => ETHERTYPE_802_2,
        ethertype => ethertype,
    };
    let layer3 = match ethertype {
        ipv4::ETHERTYPE => ip(&ipv4::datagram(packet, Extent::Whole)?)?,
        ipv6::ETHERTYPE => ip(&ipv6::datagram(packet, Extent::Whole)?)?,
        arp::ETHERTYPE => arp::classify(packet)?,
        _ => Layer3::Other,
    };
    Ok(PacketView { destination: ethernet.destination, source: ethernet.source, ethertype, layer3 })
}

fn ip(packet: &Datagram<'_>) -> Result<Layer3, ParseError> {
    Ok(Layer3::Ip(Ip {
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        fragment: packet.fragment,
        transport: packet.transport()?,
    }))
}
