//! What a socket listens for, as rules name it.

use crate::ParseError;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |     class     |    family     |           protocol            |
/// +---------------+---------------+-------------------------------+
/// |          local port           |          remote port          |
/// +-------------------------------+-------------------------------+
/// |                                                               |
/// |                     local address (128)                       |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                     remote address (128)                      |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
/// IPv4 addresses are written as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2); all zero is "any".
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ProtocolAddressWire {
    class: u8,
    family: u8,
    protocol: U16,
    local_port: U16,
    remote_port: U16,
    local: [u8; 16],
    remote: [u8; 16],
}
const _: () = assert!(size_of::<ProtocolAddressWire>() == 40);

/// IP versions that a wildcard address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6: a dual-stack wildcard socket.
    Both = 0,
    /// IPv4 only.
    V4 = 4,
    /// IPv6 only.
    V6 = 6,
}

/// The local address of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Local {
    /// Any address of the port, of these versions.
    Any(Family),
    /// This one. An unspecified address arrives as [`Local::Any`] of its version, an IPv4-mapped one as IPv4.
    Address(IpAddr),
}

/// EtherType of packet sockets that get all frames, also those that leave: `ETH_P_ALL` (linux/if_ether.h).
pub const ETHERTYPE_ALL: u16 = 0x0003;

/// What a socket listens for: TCP, UDP and the like with ports, an IP protocol, or an EtherType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolAddress {
    /// A listener: packets to `local` and `port`, from anywhere.
    Listener {
        /// IP protocol number with ports: 6, 17, 33, 132, 136.
        protocol: u8,
        /// Local address.
        local: Local,
        /// Local port, not zero.
        port: u16,
    },
    /// A flow: packets from `remote` to `local`. For ICMP and ICMPv6 echo (protocols 1 and 58) `local_port` is the
    /// identifier of the replies and `remote_port` is zero.
    Flow {
        /// IP protocol number.
        protocol: u8,
        /// Local address.
        local: IpAddr,
        /// Local port.
        local_port: u16,
        /// Remote address, of the same version.
        remote: IpAddr,
        /// Remote port.
        remote_port: u16,
    },
    /// All packets of an IP protocol: a raw socket.
    IpProtocol {
        /// IP protocol number; 255 does not receive (raw(7)) and is refused.
        protocol: u8,
        /// Local address.
        local: Local,
    },
    /// All frames of an EtherType: a packet socket. Values below 0x600 are Linux's pseudo types, of which 0x0003
    /// means all frames and 0x0004 means 802.2 LLC frames (`linux/if_ether.h`).
    EtherType(u16),
}

const CLASS_LISTENER: u8 = 1;
const CLASS_FLOW: u8 = 2;
const CLASS_IP_PROTOCOL: u8 = 3;
const CLASS_ETHERTYPE: u8 = 4;

impl ProtocolAddress {
    /// Reads the wire form. Fields that the class does not use are ignored.
    ///
    /// # Errors
    /// [`ParseError::Value`] for an unknown class or family, a family that contradicts its address, a zero local port
    /// of a listener, protocol 255, a protocol over 255.
    pub fn from_wire(wire: &ProtocolAddressWire) -> Result<Self, ParseError> {
        let protocol = || match wire.protocol.to_bytes() {
            [0, protocol @ 0..=254] => Ok(protocol),
            _ => Err(ParseError::Value { field: "protocol", value: wire.protocol.get().into() }),
        };
        match wire.class {
            CLASS_LISTENER => match wire.local_port.get() {
                0 => Err(ParseError::Value { field: "local port", value: 0 }),
                port => Ok(Self::Listener { protocol: protocol()?, local: wire.local()?, port }),
            },
            CLASS_FLOW => {
                let (local, remote) = (address(wire.local), address(wire.remote));
                if local.is_ipv4() != remote.is_ipv4() || local.is_ipv4() != (wire.family == Family::V4 as u8)
                {
                    return Err(ParseError::Value { field: "family", value: wire.family.into() });
                }
                Ok(Self::Flow {
                    protocol: protocol()?,
                    local,
                    local_port: wire.local_port.get(),
                    remote,
                    remote_port: wire.remote_port.get(),
                })
            }
            CLASS_IP_PROTOCOL => Ok(Self::IpProtocol { protocol: protocol()?, local: wire.local()? }),
            CLASS_ETHERTYPE => Ok(Self::EtherType(wire.protocol.get())),
            class => Err(ParseError::Value { field: "class", value: class.into() }),
        }
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> ProtocolAddressWire {
        let mut wire = ProtocolAddressWire {
            class: 0,
            family: 0,
            protocol: U16::ZERO,
            local_port: U16::ZERO,
            remote_port: U16::ZERO,
            local: [0; 16],
            remote: [0; 16],
        };
        match *self {
            Self::Listener { protocol, local, port } => {
                wire.class = CLASS_LISTENER;
                wire.protocol = U16::new(protocol.into());
                wire.set_local(local);
                wire.local_port = U16::new(port);
            }
            Self::Flow { protocol, local, local_port, remote, remote_port } => {
                wire.class = CLASS_FLOW;
                wire.protocol = U16::new(protocol.into());
                wire.set_local(Local::Address(local));
                wire.local_port = U16::new(local_port);
                wire.remote = octets(remote);
                wire.remote_port = U16::new(remote_port);
            }
            Self::IpProtocol { protocol, local } => {
                wire.class = CLASS_IP_PROTOCOL;
                wire.protocol = U16::new(protocol.into());
                wire.set_local(local);
            }
            Self::EtherType(ethertype) => {
                wire.class = CLASS_ETHERTYPE;
                wire.protocol = U16::new(ethertype);
            }
        }
        wire
    }
}

impl ProtocolAddressWire {
    fn local(&self) -> Result<Local, ParseError> {
        let bad = || ParseError::Value { field: "family", value: self.family.into() };
        let family = match self.family {
            0 => Family::Both,
            4 => Family::V4,
            6 => Family::V6,
            _ => return Err(bad()),
        };
        if self.local == [0; 16] {
            return Ok(Local::Any(family));
        }
        let local = address(self.local);
        match (local, family) {
            (IpAddr::V4(_), Family::V4) | (IpAddr::V6(_), Family::V6) => {
                Ok(if local.is_unspecified() { Local::Any(family) } else { Local::Address(local) })
            }
            _ => Err(bad()),
        }
    }

    fn set_local(&mut self, local: Local) {
        match local {
            Local::Any(family) => self.family = family as u8,
            Local::Address(address) => {
                let address = address.to_canonical();
                self.family = if address.is_ipv4() { Family::V4 as u8 } else { Family::V6 as u8 };
                self.local = octets(address);
            }
        }
    }
}

/// An address in the 16 bytes that the wire has for it.
#[must_use]
#[inline]
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 bytes of the wire stand for.
#[must_use]
pub fn address(octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// Name of an IP protocol number in the IANA registry, for those that programs commonly use.
#[must_use]
pub const fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmp6",
        88 => "eigrp",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(Family::Both) => f.write_str("*"),
            Self::Any(Family::V4) => f.write_str("0.0.0.0"),
            Self::Any(Family::V6) => f.write_str("[::]"),
            Self::Address(address) => Host(*address).fmt(f),
        }
    }
}

impl fmt::Display for ProtocolAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Listener { protocol, local, port } => write!(f, "{} {local}:{port}", Protocol(protocol)),
            Self::Flow { protocol, local, local_port, remote, remote_port } => write!(
                f,
                "{} {}:{local_port} from {}:{remote_port}",
                Protocol(protocol),
                Host(local),
                Host(remote)
            ),
            Self::IpProtocol { protocol, local } => write!(f, "ip {} {local}", Protocol(protocol)),
            Self::EtherType(ethertype) => write!(f, "ethertype {ethertype:#06x}"),
        }
    }
}

/// An IP protocol by its name, if it has one.
pub(crate) struct Protocol(pub(crate) u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

/// An address as it stands before a colon and a port.
pub(crate) struct Host(pub(crate) IpAddr);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "[{v6}]"),
        }
    }
}
