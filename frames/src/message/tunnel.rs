//! Down tunnels: the control asks, the relay allots (M4, figs. 8 and 9).

use super::Status;
use super::extras::{nonzero, only};
use crate::tlv::Writer;
use crate::{BufferTooSmall, DownTunnel, ParseError, PortId, RequestId, SymbolId};
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
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TunnelRequestWire {
    request: U32,
    symbol: U32,
    port: U32,
}
const _: () = assert!(size_of::<TunnelRequestWire>() == 12);

/// Asks for a down tunnel (fig. 8). The patent's "control address" is the session's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelRequest {
    /// Pairs the reply.
    pub request: RequestId,
    /// The sender's symbol.
    pub symbol: SymbolId,
    /// The port.
    pub port: PortId,
}

impl TunnelRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<TunnelRequestWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            port: PortId(wire.port.get()),
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&TunnelRequestWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            port: U32::new(self.port.0),
        })
    }
}

impl fmt::Display for TunnelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.request, self.symbol, self.port)
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
/// |                          down tunnel                          |
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TunnelReplyWire {
    request: U32,
    symbol: U32,
    port: U32,
    tunnel: U32,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<TunnelReplyWire>() == 20);

/// Answer to [`TunnelRequest`] (fig. 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelReply {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub symbol: SymbolId,
    /// The request's.
    pub port: PortId,
    /// The tunnel allotted; zero if refused.
    pub tunnel: DownTunnel,
    /// Granted or refused.
    pub status: Status,
}

impl TunnelReply {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<TunnelReplyWire>(body)?;
        let status = Status(wire.status.get());
        if status == Status::OK {
            nonzero("down tunnel", wire.tunnel.get())?;
        }
        Ok(Self {
            request: RequestId(wire.request.get()),
            symbol: SymbolId(wire.symbol.get()),
            port: PortId(wire.port.get()),
            tunnel: DownTunnel(wire.tunnel.get()),
            status,
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&TunnelReplyWire {
            request: U32::new(self.request.0),
            symbol: U32::new(self.symbol.0),
            port: U32::new(self.port.0),
            tunnel: U32::new(self.tunnel.0),
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })
    }
}

impl fmt::Display for TunnelReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}: {}", self.request, self.symbol, self.port, self.tunnel, self.status)
    }
}
