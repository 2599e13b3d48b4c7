//! What a control needs to know of a port to build its symbol.

use super::PortRoute;
use super::extras::Extras;
use crate::protocol_address::{address, octets};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, Mac, ParseError};
use bitflags::bitflags;
use core::fmt;
use core::net::IpAddr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// State bits of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PortFlags(u32);

bitflags! {
    impl PortFlags: u32 {
        /// The interface exists on the relay.
        const PRESENT = 0x1;
        /// It is administratively up (`IFF_UP`).
        const UP = 0x2;
        /// It has carrier (`IFF_LOWER_UP`).
        const CARRIER = 0x4;
        const _ = !0;
    }
}

impl fmt::Display for PortFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            match (self.contains(Self::PRESENT), self.contains(Self::UP), self.contains(Self::CARRIER)) {
                (false, ..) => "absent",
                (true, false, _) => "down",
                (true, true, false) => "no-carrier",
                (true, true, true) => "up",
            },
        )
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                          generation                           |
/// +---------------------------------------------------------------+
/// |                             flags                             |
/// +---------------------------------------------------------------+
/// |                              mtu                              |
/// +---------------------------------------------------------------+
/// |                             speed                             |
/// +---------------------------------------------------------------+
/// |                           mac (48)                            |
/// |                               +-------------------------------+
/// |                               |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: NAME, ADDRESSES, PORT_ROUTES
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AttributesWire {
    generation: U32,
    flags: U32,
    mtu: U32,
    speed: U32,
    mac: Mac,
    reserved: U16,
}
const _: () = assert!(size_of::<AttributesWire>() == 24);

/// What a control needs to know of a port to build its symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortAttributes<'a> {
    /// Rises with every change of the attributes; an older one is ignored.
    pub generation: u32,
    /// State.
    pub flags: PortFlags,
    /// Largest packet in bytes, Ethernet header excluded.
    pub mtu: u32,
    /// Speed in Mb/s, zero if unknown.
    pub speed: u32,
    /// Ethernet address.
    pub mac: Mac,
    /// Interface name.
    pub name: &'a str,
    /// Addresses in the relay's order, at most [`PortAttributes::ADDRESSES_MAX`].
    pub addresses: &'a [PortAddress],
    /// The relay's own routes by the port, at most [`PortAttributes::ROUTES_MAX`]. Several to one destination share its
    /// packets.
    pub routes: &'a [PortRoute],
}

impl<'a> PortAttributes<'a> {
    /// Most addresses of a port, so that every message fits [`super::MESSAGE_MAX`].
    pub const ADDRESSES_MAX: usize = 1024;
    /// Most routes that are said of a port: what a host's way out may take, not the table of a router.
    pub const ROUTES_MAX: usize = 64;

    pub(super) fn parse(bytes: &'a [u8]) -> Result<(Self, Extras<'a>), ParseError> {
        let (wire, rest) = tlv::fixed::<AttributesWire>(bytes)?;
        let extras = Extras::parse(rest)?;
        let attributes = Self {
            generation: wire.generation.get(),
            flags: PortFlags::from_bits_retain(wire.flags.get()),
            mtu: wire.mtu.get(),
            speed: wire.speed.get(),
            mac: wire.mac,
            name: extras.name()?,
            addresses: extras.addresses,
            routes: extras.port_routes,
        };
        Ok((attributes, extras))
    }

    /// Addresses beyond [`PortAttributes::ADDRESSES_MAX`] and routes beyond [`PortAttributes::ROUTES_MAX`] are left out.
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&AttributesWire {
            generation: U32::new(self.generation),
            flags: U32::new(self.flags.bits()),
            mtu: U32::new(self.mtu),
            speed: U32::new(self.speed),
            mac: self.mac,
            reserved: U16::ZERO,
        })?;
        writer.tlv(tlv::NAME, self.name.as_bytes())?;
        if !self.addresses.is_empty() {
            let addresses = self.addresses.get(..Self::ADDRESSES_MAX).unwrap_or(self.addresses);
            writer.tlv(tlv::ADDRESSES, addresses.as_bytes())?;
        }
        if !self.routes.is_empty() {
            let routes = self.routes.get(..Self::ROUTES_MAX).unwrap_or(self.routes);
            writer.tlv(tlv::PORT_ROUTES, routes.as_bytes())?;
        }
        Ok(())
    }
}

impl fmt::Display for PortAttributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "name {} generation {} {} mac {} mtu {} speed {}",
            self.name, self.generation, self.flags, self.mac, self.mtu, self.speed
        )?;
        self.addresses.iter().try_for_each(|address| write!(f, " {address}"))?;
        self.routes.iter().try_for_each(|route| write!(f, " route {route}"))
    }
}

/// One address of a port with its prefix length.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                        address (128)                          |
/// |                                                               |
/// |                                                               |
/// +---------------+---------------+-------------------------------+
/// | prefix length |     flags     |           reserved            |
/// +---------------+---------------+-------------------------------+
/// ```
/// An IPv4 address is written as IPv4-mapped IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PortAddress {
    address: [u8; 16],
    prefix_length: u8,
    flags: u8,
    reserved: U16,
}
const _: () = assert!(size_of::<PortAddress>() == 20);

/// A control gave the address to the port ([`super::PortAddresses`]).
const GIVEN: u8 = 0x1;

impl PortAddress {
    /// An address with its prefix length in bits of its own version: 0 to 32, or 0 to 128.
    #[must_use]
    pub fn new(address: IpAddr, prefix_length: u8) -> Self {
        Self { address: octets(address), prefix_length, flags: 0, reserved: U16::ZERO }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.address)
    }

    /// Its prefix length in bits.
    #[must_use]
    pub fn prefix_length(&self) -> u8 {
        self.prefix_length
    }

    /// The same address, said to be given to the port by a control.
    #[must_use]
    pub fn given(self) -> Self {
        Self { flags: self.flags | GIVEN, ..self }
    }

    /// Whether a control gave it to the port. A control that owns the port's addressing does not take it for the relay's.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.flags & GIVEN != 0
    }

    /// The value of an `ADDRESSES` TLV.
    pub(super) fn parse_list(value: &[u8]) -> Result<&[Self], ParseError> {
        let addresses = <[Self]>::ref_from_bytes(value).map_err(|_| ParseError::Truncated {
            need: value.len().next_multiple_of(size_of::<Self>()),
            have: value.len(),
        })?;
        if addresses.len() > PortAttributes::ADDRESSES_MAX {
            return Err(ParseError::Value { field: "addresses", value: addresses.len() as u64 });
        }
        addresses.iter().try_for_each(Self::check)?;
        Ok(addresses)
    }

    pub(super) fn check(&self) -> Result<(), ParseError> {
        let longest = if self.address().is_ipv4() { 32 } else { 128 };
        if self.prefix_length > longest {
            return Err(ParseError::Value { field: "prefix length", value: self.prefix_length.into() });
        }
        Ok(())
    }
}

impl fmt::Display for PortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix_length)
    }
}
