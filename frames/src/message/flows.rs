//! Live flows of a listener: the relay asks for them when new flows are shared out anew, so that those that are there stay
//! with the control that has them (M10).

use super::extras::{Extras, nonzero, only};
use crate::protocol_address::{Host, address, octets};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, RequestId, UpTunnel};
use core::fmt;
use core::net::IpAddr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

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
struct FlowsRequestWire {
    request: U32,
    tunnel: U32,
}
const _: () = assert!(size_of::<FlowsRequestWire>() == 8);

/// "Which flows of this listener are there?"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowsRequest {
    /// Pairs the reports.
    pub request: RequestId,
    /// The listener's rule.
    pub tunnel: UpTunnel,
}

impl FlowsRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<FlowsRequestWire>(body)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            tunnel: UpTunnel(nonzero("up tunnel", wire.tunnel.get())?),
        })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&FlowsRequestWire { request: U32::new(self.request.0), tunnel: U32::new(self.tunnel.0) })
    }
}

impl fmt::Display for FlowsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request, self.tunnel)
    }
}

/// One flow of a listener: packets from `remote` to `local`, by the listener's protocol.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LiveFlow {
    local_port: U16,
    remote_port: U16,
    local: [u8; 16],
    remote: [u8; 16],
}
const _: () = assert!(size_of::<LiveFlow>() == 36);

impl LiveFlow {
    /// Between these ends.
    #[must_use]
    pub fn new((local, local_port): (IpAddr, u16), (remote, remote_port): (IpAddr, u16)) -> Self {
        Self {
            local_port: U16::new(local_port),
            remote_port: U16::new(remote_port),
            local: octets(local),
            remote: octets(remote),
        }
    }

    /// Address and port at the server.
    #[must_use]
    pub fn local(&self) -> (IpAddr, u16) {
        (address(self.local), self.local_port.get())
    }

    /// Address and port of the client.
    #[must_use]
    pub fn remote(&self) -> (IpAddr, u16) {
        (address(self.remote), self.remote_port.get())
    }
}

impl fmt::Display for LiveFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((local, local_port), (remote, remote_port)) = (self.local(), self.remote());
        write!(f, "{}:{local_port} from {}:{remote_port}", Host(local), Host(remote))
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
/// |             flags             |             count             |
/// +-------------------------------+-------------------------------+
/// |  `count` flows (36 bytes each)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FlowsWire {
    request: U32,
    tunnel: U32,
    flags: U16,
    count: U16,
}
const _: () = assert!(size_of::<FlowsWire>() == 12);

/// No report of the request follows.
const LAST: u16 = 0x1;

/// Some of the flows that a [`FlowsRequest`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flows<'a> {
    /// The request's.
    pub request: RequestId,
    /// The request's.
    pub tunnel: UpTunnel,
    /// With this report all flows have been told.
    pub last: bool,
    /// The flows, at most [`Flows::MAX`].
    pub flows: &'a [LiveFlow],
}

impl<'a> Flows<'a> {
    /// Most flows of one message.
    pub const MAX: usize = 1_000;

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<FlowsWire>(body)?;
        let count = usize::from(wire.count.get());
        if count > Self::MAX {
            return Err(ParseError::Value { field: "count", value: count as u64 });
        }
        let need = count.saturating_mul(size_of::<LiveFlow>());
        let (flows, rest) = <[LiveFlow]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| ParseError::Truncated { need, have: rest.len() })?;
        Extras::parse(rest)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            tunnel: UpTunnel(nonzero("up tunnel", wire.tunnel.get())?),
            last: wire.flags.get() & LAST != 0,
            flows,
        })
    }

    /// Flows beyond [`Flows::MAX`] are left out.
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        let flows = self.flows.get(..Self::MAX).unwrap_or(self.flows);
        writer.fixed(&FlowsWire {
            request: U32::new(self.request.0),
            tunnel: U32::new(self.tunnel.0),
            flags: U16::new(if self.last { LAST } else { 0 }),
            count: U16::new(u16::try_from(flows.len()).unwrap_or(u16::MAX)),
        })?;
        writer.bytes(flows.as_bytes())
    }
}

impl fmt::Display for Flows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} flows {}", self.request, self.tunnel, self.flows.len())?;
        if self.last { f.write_str(" last") } else { Ok(()) }
    }
}
