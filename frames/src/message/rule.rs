//! Rules: the control asks for packets as sockets open, and gives them up as sockets close (M5, M6, fig. 10).

use super::Status;
use super::extras::{Extras, emit_text, nonzero, only};
use crate::protocol_address::ProtocolAddressWire;
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use core::fmt;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// |                           up tunnel                           |
/// +-------------------------------+-------------------------------+
/// |            weight             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  protocol address (40 bytes)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RuleAddWire {
    request: U32,
    symbol: U32,
    port: U32,
    tunnel: U32,
    weight: U16,
    reserved: U16,
    protocol_address: ProtocolAddressWire,
}
const _: () = assert!(size_of::<RuleAddWire>() == 60);

/// The transfer request (fig. 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleAdd {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
    /// The tunnel that the sender allotted.
    pub tunnel: UpTunnel,
    /// Share of new flows among several controls with the same rule, 1 to 65,535; 0 means draining: no new flow.
    pub weight: u16,
    /// Which packets.
    pub protocol_address: ProtocolAddress,
}

impl RuleAdd {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        Self::from_wire(only::<RuleAddWire>(body)?)
    }

    pub(super) fn from_wire(wire: &RuleAddWire) -> Result<Self, ParseError> {
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            port: PortId(wire.port.get()),
            tunnel: UpTunnel(nonzero("up tunnel", wire.tunnel.get())?),
            weight: wire.weight.get(),
            protocol_address: ProtocolAddress::from_wire(&wire.protocol_address)?,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&self.to_wire())
    }

    pub(super) fn to_wire(self) -> RuleAddWire {
        RuleAddWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            port: U32::new(self.port.0),
            tunnel: U32::new(self.tunnel.0),
            weight: U16::new(self.weight),
            reserved: U16::ZERO,
            protocol_address: self.protocol_address.to_wire(),
        }
    }
}

impl fmt::Display for RuleAdd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.request, self.symbol, self.port, self.tunnel)?;
        write!(f, " weight {}: {}", self.weight, self.protocol_address)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                           up tunnel                           |
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleReplyWire {
    request: U32,
    tunnel: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<RuleReplyWire>() == 12);

/// Answer to [`RuleAdd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleReply<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub tunnel: UpTunnel,
    /// In force or refused.
    pub status: Status,
    /// For a human, when refused.
    pub text: &'a str,
}

impl<'a> RuleReply<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<RuleReplyWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            tunnel: UpTunnel(wire.tunnel.get()),
            status: Status(wire.status.get()),
            text: Extras::parse(rest)?.text(),
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RuleReplyWire {
            request: U32::new(self.request.0),
            tunnel: U32::new(self.tunnel.0),
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })?;
        emit_text(writer, self.text)
    }
}

impl fmt::Display for RuleReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.request, self.tunnel, self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                           up tunnel                           |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleDeleteWire {
    request: U32,
    tunnel: U32,
}
const _: () = assert!(size_of::<RuleDeleteWire>() == 8);

/// Deletes a rule (`RULE_DELETE`), or confirms that it is gone (`RULE_DELETED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleDelete {
    /// Pairs the answer.
    pub request: RequestId,
    /// The rule's tunnel.
    pub tunnel: UpTunnel,
}

impl RuleDelete {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<RuleDeleteWire>(body)?;
        Ok(Self { request: RequestId(wire.request.get()), tunnel: UpTunnel(wire.tunnel.get()) })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RuleDeleteWire { request: U32::new(self.request.0), tunnel: U32::new(self.tunnel.0) })
    }
}

impl fmt::Display for RuleDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request, self.tunnel)
    }
}
