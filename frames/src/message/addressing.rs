//! Addresses that a control gives to a relay's port: `addressing = "control"`.

use super::extras::{Extras, emit_text, nonzero};
use super::{PortAddress, PortAttributes, Status};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, PortId};
use core::fmt;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// |  TLVs: ADDRESSES
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortAddressesWire {
    port: U32,
}

/// All addresses that the control wants the port to have besides the relay's own: those of an earlier message that are
/// not in this one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortAddresses<'a> {
    /// The port.
    pub port: PortId,
    /// The addresses, at most [`PortAttributes::ADDRESSES_MAX`].
    pub addresses: &'a [PortAddress],
}

impl<'a> PortAddresses<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<PortAddressesWire>(body)?;
        Ok(Self {
            port: PortId(nonzero("port", wire.port.get())?),
            addresses: Extras::parse(rest)?.addresses,
        })
    }

    /// Addresses beyond [`PortAttributes::ADDRESSES_MAX`] are left out.
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&PortAddressesWire { port: U32::new(self.port.0) })?;
        if self.addresses.is_empty() {
            return Ok(());
        }
        let addresses = self.addresses.get(..PortAttributes::ADDRESSES_MAX).unwrap_or(self.addresses);
        writer.tlv(tlv::ADDRESSES, addresses.as_bytes())
    }
}

impl fmt::Display for PortAddresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port.fmt(f)?;
        self.addresses.iter().try_for_each(|address| write!(f, " {address}"))
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// |  address (20 bytes)
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AddressReplyWire {
    port: U32,
    address: PortAddress,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<AddressReplyWire>() == 28);

/// The state of one address at the relay, whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressReply<'a> {
    /// The port.
    pub port: PortId,
    /// The address.
    pub address: PortAddress,
    /// [`Status::OK`]: the port has it. Else not, for this reason.
    pub status: Status,
    /// More on the reason, empty if there is none.
    pub text: &'a str,
}

impl<'a> AddressReply<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<AddressReplyWire>(body)?;
        wire.address.check()?;
        let text = Extras::parse(rest)?.text();
        let port = PortId(nonzero("port", wire.port.get())?);
        Ok(Self { port, address: wire.address, status: Status(wire.status.get()), text })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&AddressReplyWire {
            port: U32::new(self.port.0),
            address: self.address,
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })?;
        emit_text(writer, self.text)
    }
}

impl fmt::Display for AddressReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.port, self.address, self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}
