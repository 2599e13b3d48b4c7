//! [`classify`]: from a frame to addresses, ports and kind, without copying.

use crate::{Mac, ParseError};
use core::net::{IpAddr, Ipv4Addr};

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
    /// Present if the packet is a fragment, the first included.
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

/// Reads the headers of an Ethernet frame (no offload header before it).
///
/// # Errors
/// [`ParseError::Truncated`] if a header that the frame announces is not all there, [`ParseError::Value`] if a length
/// or version field contradicts itself. A frame of an unknown EtherType or protocol is no error.
pub fn classify(frame: &[u8]) -> Result<PacketView, ParseError> {
    let _ = frame;
    todo!()
}
