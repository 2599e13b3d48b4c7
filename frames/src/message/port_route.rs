//! A way that leads out of a port, as a relay says it to controls.

use super::PortAttributes;
use crate::ParseError;
use crate::protocol_address::{address, octets};
use crate::route::Prefix;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A route of the relay's own by the port.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                       destination (128)                       |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                         gateway (128)                         |
/// |                                                               |
/// |                                                               |
/// +---------------+---------------+-------------------------------+
/// | prefix length |     flags     |           reserved            |
/// +---------------+---------------+-------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PortRoute {
    destination: [u8; 16],
    gateway: [u8; 16],
    prefix_length: u8,
    flags: u8,
    reserved: U16,
}
const _: () = assert!(size_of::<PortRoute>() == 36);

/// The gateway is to be taken as reachable at the port, whatever the port's addresses (`RTNH_F_ONLINK`).
const ONLINK: u8 = 0x1;

impl PortRoute {
    /// A route to `destination`. Without a gateway the destinations themselves are neighbours.
    #[must_use]
    pub fn new(destination: Prefix, gateway: Option<IpAddr>, onlink: bool) -> Self {
        Self {
            destination: octets(destination.address()),
            gateway: octets(gateway.unwrap_or(Ipv6Addr::UNSPECIFIED.into())),
            prefix_length: destination.length(),
            flags: if onlink { ONLINK } else { 0 },
            reserved: U16::ZERO,
        }
    }

    /// Where it leads; `None` if the length is beyond the version's, which is refused when it is read.
    #[must_use]
    pub fn destination(&self) -> Option<Prefix> {
        Prefix::new(address(self.destination), self.prefix_length)
    }

    /// The neighbour that gets the packets; its version may be another than the destination's (RFC 5549).
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        Some(address(self.gateway)).filter(|gateway| !gateway.is_unspecified())
    }

    /// Whether the gateway is to be taken as reachable at the port, whatever the port's addresses.
    #[must_use]
    pub fn onlink(&self) -> bool {
        self.flags & ONLINK != 0
    }

    /// The value of a `PORT_ROUTES` TLV.
    pub(super) fn parse_list(value: &[u8]) -> Result<&[Self], ParseError> {
        let routes = <[Self]>::ref_from_bytes(value).map_err(|_| ParseError::Truncated {
            need: value.len().next_multiple_of(size_of::<Self>()),
            have: value.len(),
        })?;
        if routes.len() > PortAttributes::ROUTES_MAX {
            return Err(ParseError::Value { field: "routes", value: routes.len() as u64 });
        }
        routes.iter().try_for_each(Self::check)?;
        Ok(routes)
    }

    fn check(&self) -> Result<(), ParseError> {
        let value = self.prefix_length.into();
        self.destination().map(|_| ()).ok_or(ParseError::Value { field: "prefix length", value })
    }
}

impl fmt::Display for PortRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", address(self.destination), self.prefix_length)?;
        if let Some(gateway) = self.gateway() {
            write!(f, " via {gateway}")?;
        }
        if self.onlink() { f.write_str(" onlink") } else { Ok(()) }
    }
}
