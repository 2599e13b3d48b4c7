//! Relays that a control introduces to one another, so that packets of its router go from one to the other (M15).

use super::extras::{Extras, only};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, Mac, ParseError, SymbolId};
use core::fmt;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// |                           mac (48)                            |
/// |                               +-------------------------------+
/// |                               |           reserved            |
/// +-------------------------------+-------------------------------+
/// |                                                               |
/// |                                                               |
/// |                                                               |
/// |                          salt (256)                           |
/// |                                                               |
/// |                                                               |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |  TLVs: RELAY, NAME (of the port), PUBLIC_KEY
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RelayIntroduceWire {
    symbol: U32,
    mac: Mac,
    reserved: U16,
    salt: [u8; 32],
}
const _: () = assert!(size_of::<RelayIntroduceWire>() == 44);

/// "This symbol of mine is a port of that relay, to which you may send what leaves by it."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayIntroduce<'a> {
    /// The sender's symbol, by which nexthops name the port.
    pub symbol: SymbolId,
    /// Where the other relay is.
    pub mac: Mac,
    /// What makes the key of the two relays: it is worth nothing without the psk.
    pub salt: [u8; 32],
    /// The other relay's name.
    pub relay: &'a str,
    /// The port's interface name there.
    pub port: &'a str,
    /// The other relay's public key, in mode `keys`.
    pub key: Option<[u8; 32]>,
}

impl<'a> RelayIntroduce<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<RelayIntroduceWire>(body)?;
        let extras = Extras::parse(rest)?;
        Ok(Self {
            symbol: SymbolId(wire.symbol.get()),
            mac: wire.mac,
            salt: wire.salt,
            relay: extras.relay()?,
            port: extras.name()?,
            key: extras.public_key,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RelayIntroduceWire {
            symbol: U32::new(self.symbol.0),
            mac: self.mac,
            reserved: U16::ZERO,
            salt: self.salt,
        })?;
        writer.tlv(tlv::RELAY, self.relay.as_bytes())?;
        writer.tlv(tlv::NAME, self.port.as_bytes())?;
        self.key.map_or(Ok(()), |key| writer.tlv(tlv::PUBLIC_KEY, &key))
    }
}

impl fmt::Display for RelayIntroduce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} relay {} at {} name {}", self.symbol, self.relay, self.mac, self.port)?;
        if self.key.is_some() { f.write_str(" with its key") } else { Ok(()) }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            symbol                             |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RelayDismissWire {
    symbol: U32,
}
const _: () = assert!(size_of::<RelayDismissWire>() == 4);

/// "Nothing leaves by this symbol any more."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayDismiss {
    /// The symbol of a [`RelayIntroduce`].
    pub symbol: SymbolId,
}

impl RelayDismiss {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        Ok(Self { symbol: SymbolId(only::<RelayDismissWire>(body)?.symbol.get()) })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RelayDismissWire { symbol: U32::new(self.symbol.0) })
    }
}

impl fmt::Display for RelayDismiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.symbol.fmt(f)
    }
}
