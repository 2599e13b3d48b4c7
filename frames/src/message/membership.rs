//! Memberships: what a port's interface must accept beyond its own addresses.

use super::extras::only;
use crate::protocol_address::{address, octets};
use crate::tlv::Writer;
use crate::{BufferTooSmall, Mac, ParseError, PortId};
use core::fmt;
use core::net::IpAddr;
use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------+-----------------------------------------------+
/// |     class     |                   reserved                    |
/// +---------------+-----------------------------------------------+
/// |                                                               |
/// |                          group (128)                          |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
/// Class 1: an IP address, IPv4 as IPv4-mapped IPv6. Class 2: an Ethernet address in the first 48 bits.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MembershipWire {
    port: U32,
    class: u8,
    reserved: [u8; 3],
    group: [u8; 16],
}
const _: () = assert!(size_of::<MembershipWire>() == 24);

const CLASS_IP: u8 = 1;
const CLASS_ETHERNET: u8 = 2;

/// A group address, or one more unicast address, that the port's interface must accept for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// An IP multicast group: the relay joins it, so that switches and routers learn of it.
    Ip(IpAddr),
    /// An Ethernet address: the interface accepts it.
    Ethernet(Mac),
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Ethernet(mac) => mac.fmt(f),
        }
    }
}

/// A program joined (`MEMBERSHIP_ADD`) or left (`MEMBERSHIP_DELETE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The port.
    pub port: PortId,
    /// The group.
    pub group: Group,
}

impl Membership {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<MembershipWire>(body)?;
        let [a, b, c, d, e, f, ..] = wire.group;
        let group = match wire.class {
            CLASS_IP => Group::Ip(address(wire.group)),
            CLASS_ETHERNET => Group::Ethernet(Mac([a, b, c, d, e, f])),
            class => return Err(ParseError::Value { field: "class", value: class.into() }),
        };
        Ok(Self { port: PortId(wire.port.get()), group })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        let (class, group) = match self.group {
            Group::Ip(address) => (CLASS_IP, octets(address)),
            Group::Ethernet(Mac([a, b, c, d, e, f])) => {
                (CLASS_ETHERNET, [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        };
        writer.fixed(&MembershipWire { port: U32::new(self.port.0), class, reserved: [0; 3], group })
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} group {}", self.port, self.group)
    }
}
