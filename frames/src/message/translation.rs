//! Symbols of kind address: two addresses that stand for each other, and the rules that go with them (M9, figs. 19 and 21).

use super::extras::{Extras, emit_text, only};
use super::rule::RuleAddWire;
use super::{RuleAdd, Status};
use crate::protocol_address::{address, octets};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, PortId, RequestId, SymbolId};
use core::fmt;
use core::net::IpAddr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Two addresses of one version of IP that stand for each other: on the segment the control's, everywhere else the virtual
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translation {
    /// The address of the relay's port for which programs on the control listen.
    pub virtual_address: IpAddr,
    /// The control's own address, in its place.
    pub control_address: IpAddr,
}

impl Translation {
    fn from_octets(virtual_address: [u8; 16], control_address: [u8; 16]) -> Result<Self, ParseError> {
        let translation =
            Self { virtual_address: address(virtual_address), control_address: address(control_address) };
        if translation.virtual_address.is_ipv4() != translation.control_address.is_ipv4() {
            let value = if translation.control_address.is_ipv4() { 4 } else { 6 };
            return Err(ParseError::Value { field: "control address", value });
        }
        Ok(translation)
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.virtual_address, self.control_address)
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
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                     virtual address (128)                     |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                     control address (128)                     |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TranslationRequestWire {
    request: U32,
    symbol: U32,
    port: U32,
    virtual_address: [u8; 16],
    control_address: [u8; 16],
}
const _: () = assert!(size_of::<TranslationRequestWire>() == 44);

/// Asks that two addresses stand for each other (fig. 19): the address symbol's counterpart of a down tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranslationRequest {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port that has the virtual address.
    pub port: PortId,
    /// The addresses.
    pub translation: Translation,
}

impl TranslationRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<TranslationRequestWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            port: PortId(wire.port.get()),
            translation: Translation::from_octets(wire.virtual_address, wire.control_address)?,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&TranslationRequestWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            port: U32::new(self.port.0),
            virtual_address: octets(self.translation.virtual_address),
            control_address: octets(self.translation.control_address),
        })
    }
}

impl fmt::Display for TranslationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.request, self.symbol, self.port, self.translation)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TranslationReplyWire {
    request: U32,
    symbol: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<TranslationReplyWire>() == 12);

/// Answer to [`TranslationRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranslationReply<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub symbol: SymbolId,
    /// In force or refused.
    pub status: Status,
    /// For a human, when refused.
    pub text: &'a str,
}

impl<'a> TranslationReply<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<TranslationReplyWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            status: Status(wire.status.get()),
            text: Extras::parse(rest)?.text(),
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&TranslationReplyWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })?;
        emit_text(writer, self.text)
    }
}

impl fmt::Display for TranslationReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.request, self.symbol, self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |  rule (60 bytes)
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                     virtual address (128)                     |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                     control address (128)                     |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TranslatedRuleAddWire {
    rule: RuleAddWire,
    virtual_address: [u8; 16],
    control_address: [u8; 16],
}
const _: () = assert!(size_of::<TranslatedRuleAddWire>() == 92);

/// The transfer request of an address symbol (fig. 21). Its answers, and its end, are those of [`RuleAdd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranslatedRuleAdd {
    /// The rule. Its tunnel is a number for answers only: packets come without one.
    pub rule: RuleAdd,
    /// The addresses of the symbol, as in its [`TranslationRequest`].
    pub translation: Translation,
}

impl TranslatedRuleAdd {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<TranslatedRuleAddWire>(body)?;
        Ok(Self {
            rule: RuleAdd::from_wire(&wire.rule)?,
            translation: Translation::from_octets(wire.virtual_address, wire.control_address)?,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&TranslatedRuleAddWire {
            rule: self.rule.to_wire(),
            virtual_address: octets(self.translation.virtual_address),
            control_address: octets(self.translation.control_address),
        })
    }
}

impl fmt::Display for TranslatedRuleAdd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.rule, self.translation)
    }
}
