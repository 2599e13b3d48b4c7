//! Ports: a control asks for one, the relay answers with its attributes and reports their changes (M3).

use super::extras::{Extras, emit_text, nonzero, only};
use super::{PortAttributes, Status};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, PortId, RequestId, SymbolId};
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
/// |  TLVs: NAME (of the port)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortRequestWire {
    request: U32,
    symbol: U32,
}
const _: () = assert!(size_of::<PortRequestWire>() == 8);

/// "I want a symbol of this port."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest<'a> {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port's interface name on the relay.
    pub name: &'a str,
}

impl<'a> PortRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<PortRequestWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            name: Extras::parse(rest)?.name()?,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer
            .fixed(&PortRequestWire { request: U32::new(self.request.0), symbol: U32::new(self.symbol.0) })?;
        writer.tlv(tlv::NAME, self.name.as_bytes())
    }
}

impl fmt::Display for PortRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} name {}", self.request, self.symbol, self.name)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  if status is 0: attributes (24 bytes); TLVs: NAME, ADDRESSES, PORT_ROUTES
/// |  else TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortReplyWire {
    request: U32,
    symbol: U32,
    port: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<PortReplyWire>() == 16);

/// Answer to [`PortRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortReply<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub symbol: SymbolId,
    /// Granted or refused, and why.
    pub status: Status,
    /// The port; zero if refused.
    pub port: PortId,
    /// For a human, when refused.
    pub text: &'a str,
    /// Present if and only if `status` is [`Status::OK`]; [`super::Message::emit`] relies on it.
    pub attributes: Option<PortAttributes<'a>>,
}

impl<'a> PortReply<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<PortReplyWire>(body)?;
        let status = Status(wire.status.get());
        let (attributes, extras) = if status == Status::OK {
            nonzero("port", wire.port.get())?;
            let (attributes, extras) = PortAttributes::parse(rest)?;
            (Some(attributes), extras)
        } else {
            (None, Extras::parse(rest)?)
        };
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            status,
            port: PortId(wire.port.get()),
            text: extras.text(),
            attributes,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&PortReplyWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            port: U32::new(self.port.0),
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })?;
        if let (Status::OK, Some(attributes)) = (self.status, &self.attributes) {
            attributes.emit(writer)?;
        }
        emit_text(writer, self.text)
    }
}

impl fmt::Display for PortReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.request, self.symbol, self.port, self.status)?;
        match &self.attributes {
            Some(attributes) => write!(f, ", {attributes}"),
            None if self.text.is_empty() => Ok(()),
            None => write!(f, " ({})", self.text),
        }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// |  attributes (24 bytes); TLVs: NAME, ADDRESSES, PORT_ROUTES
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortUpdateWire {
    port: U32,
}
const _: () = assert!(size_of::<PortUpdateWire>() == 4);

/// A granted port changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortUpdate<'a> {
    /// The port.
    pub port: PortId,
    /// Its attributes now. Without [`super::PortFlags::PRESENT`] the interface is gone for the time being.
    pub attributes: PortAttributes<'a>,
}

impl<'a> PortUpdate<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<PortUpdateWire>(body)?;
        let (attributes, _) = PortAttributes::parse(rest)?;
        Ok(Self { port: PortId(wire.port.get()), attributes })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&PortUpdateWire { port: U32::new(self.port.0) })?;
        self.attributes.emit(writer)
    }
}

impl fmt::Display for PortUpdate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.port, self.attributes)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortReleaseWire {
    symbol: U32,
    port: U32,
}
const _: () = assert!(size_of::<PortReleaseWire>() == 8);

/// The control gives a port back; its rules and tunnels go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRelease {
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
}

impl PortRelease {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<PortReleaseWire>(body)?;
        Ok(Self { symbol: SymbolId(wire.symbol.get()), port: PortId(wire.port.get()) })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&PortReleaseWire { symbol: U32::new(self.symbol.0), port: U32::new(self.port.0) })
    }
}

impl fmt::Display for PortRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.symbol, self.port)
    }
}
