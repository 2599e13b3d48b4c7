//! Routes: the control sends its table, the relay sets its own (M12).

use super::Status;
use super::extras::{Extras, emit_text, nonzero, only};
use crate::protocol_address::octets;
use crate::route::{Prefix, RouteContent, RouteKey, RouteKind, Slice, TableDigest};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError, PortId, RequestId, SymbolId};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |    family     | prefix length |           reserved            |
/// +---------------+---------------+-------------------------------+
/// |                             table                             |
/// +---------------------------------------------------------------+
/// |                            metric                             |
/// +---------------------------------------------------------------+
/// |                                                               |
/// |                         prefix (128)                          |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RouteKeyWire {
    family: u8,
    prefix_length: u8,
    reserved: U16,
    table: U32,
    metric: U32,
    prefix: [u8; 16],
}
const _: () = assert!(size_of::<RouteKeyWire>() == 28);

impl RouteKeyWire {
    pub(crate) fn new(key: &RouteKey) -> Self {
        Self {
            family: family(Some(key.prefix.address())),
            prefix_length: key.prefix.length(),
            reserved: U16::ZERO,
            table: U32::new(key.table),
            metric: U32::new(key.metric),
            prefix: octets(key.prefix.address()),
        }
    }

    fn key(&self) -> Result<RouteKey, ParseError> {
        let address = address(self.family, self.prefix)?
            .ok_or(ParseError::Value { field: "family", value: self.family.into() })?;
        let bad = ParseError::Value { field: "prefix length", value: self.prefix_length.into() };
        let prefix = Prefix::new(address, self.prefix_length).ok_or(bad)?;
        // Bits beyond the length would be a second name for one prefix.
        if prefix.address() == address {
            Ok(RouteKey { table: self.table.get(), prefix, metric: self.metric.get() })
        } else {
            Err(bad)
        }
    }
}

const FAMILY_NONE: u8 = 0;
const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;

fn family(address: Option<IpAddr>) -> u8 {
    match address {
        None => FAMILY_NONE,
        Some(IpAddr::V4(_)) => FAMILY_IPV4,
        Some(IpAddr::V6(_)) => FAMILY_IPV6,
    }
}

/// The address of a family that is told apart by a field of its own: an IPv6 prefix may look like a mapped IPv4 one.
fn address(family: u8, octets: [u8; 16]) -> Result<Option<IpAddr>, ParseError> {
    match family {
        FAMILY_NONE => Ok(None),
        FAMILY_IPV4 => {
            let v4 = Ipv6Addr::from(octets).to_ipv4_mapped();
            let value = u64::from(family);
            v4.map(|v4: Ipv4Addr| Some(v4.into())).ok_or(ParseError::Value { field: "family", value })
        }
        FAMILY_IPV6 => Ok(Some(Ipv6Addr::from(octets).into())),
        other => Err(ParseError::Value { field: "family", value: other.into() }),
    }
}

/// One nexthop of a route.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             port                              |
/// +-------------------------------+---------------+---------------+
/// |            weight             |     flags     |    family     |
/// +-------------------------------+---------------+---------------+
/// |                                                               |
/// |                         gateway (128)                         |
/// |                                                               |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct RouteNexthop {
    port: U32,
    weight: U16,
    flags: u8,
    family: u8,
    gateway: [u8; 16],
}
const _: () = assert!(size_of::<RouteNexthop>() == 24);

/// The gateway is to be taken as reachable at the port, whatever the port's addresses (`RTNH_F_ONLINK`).
const ONLINK: u8 = 0x1;
/// The port is one of another relay: its place holds the number of the control's symbol of it.
const AT_RELAY: u8 = 0x2;

impl RouteNexthop {
    /// Most nexthops of a route: what `ip route` and FRR allow.
    pub const MAX: usize = 256;

    /// A nexthop by way of `port`. Without a gateway the destination itself is a neighbour. `weight` is its share of flows,
    /// 1 to 65,535 (zero counts as 1).
    #[must_use]
    pub fn new(port: PortId, gateway: Option<IpAddr>, weight: u16, onlink: bool) -> Self {
        Self {
            port: U32::new(port.0),
            weight: U16::new(weight.max(1)),
            flags: if onlink { ONLINK } else { 0 },
            family: family(gateway),
            gateway: gateway.map_or([0; 16], octets),
        }
    }

    /// A nexthop by way of a port of another relay, which `symbol` stands for. The gateway is the one there.
    #[must_use]
    pub fn at_relay(symbol: SymbolId, gateway: Option<IpAddr>, weight: u16) -> Self {
        Self { flags: AT_RELAY, ..Self::new(PortId(symbol.0), gateway, weight, false) }
    }

    /// The control's symbol of another relay's port, if packets leave there.
    #[must_use]
    pub fn symbol(&self) -> Option<SymbolId> {
        (self.flags & AT_RELAY != 0).then(|| SymbolId(self.port.get()))
    }

    /// The relay's port by which packets leave, unless they leave at another relay.
    #[must_use]
    pub fn port(&self) -> PortId {
        PortId(self.port.get())
    }

    /// The neighbour that gets the packets; its version may be another than the route's (RFC 5549).
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        address(self.family, self.gateway).ok().flatten()
    }

    /// Share of flows among the route's nexthops.
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.weight.get()
    }

    /// Whether the gateway is to be taken as reachable at the port, whatever the port's addresses.
    #[must_use]
    pub fn onlink(&self) -> bool {
        self.flags & ONLINK != 0
    }

    fn check(&self) -> Result<(), ParseError> {
        nonzero("port", self.port.get())?;
        address(self.family, self.gateway)?;
        if self.weight.get() == 0 {
            return Err(ParseError::Value { field: "weight", value: 0 });
        }
        Ok(())
    }
}

impl fmt::Display for RouteNexthop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.gateway() {
            write!(f, "via {gateway} ")?;
        }
        match self.symbol() {
            Some(symbol) => write!(f, "another relay's port, {symbol}")?,
            None => self.port().fmt(f)?,
        }
        if self.weight() != 1 {
            write!(f, " weight {}", self.weight())?;
        }
        if self.onlink() { f.write_str(" onlink") } else { Ok(()) }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |  route key (28 bytes)
/// +---------------------------------------------------------------+
/// |                              mtu                              |
/// +---------------+---------------+-------------------------------+
/// |     kind      |   reserved    |             count             |
/// +---------------+---------------+-------------------------------+
/// |  `count` nexthops (24 bytes each)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RouteAddWire {
    request: U32,
    key: RouteKeyWire,
    mtu: U32,
    kind: u8,
    reserved: u8,
    count: U16,
}
const _: () = assert!(size_of::<RouteAddWire>() == 40);

/// "This route is in my table", in place of what was said of its key before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteAdd<'a> {
    /// Numbers the route messages of an association, from 1.
    pub request: RequestId,
    /// Which route.
    pub key: RouteKey,
    /// Where it leads.
    pub content: RouteContent<'a>,
}

impl<'a> RouteAdd<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<RouteAddWire>(body)?;
        let count = usize::from(wire.count.get());
        let (nexthops, rest) = <[RouteNexthop]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| ParseError::Truncated { need: count.saturating_mul(24), have: rest.len() })?;
        Extras::parse(rest)?;
        let kind = RouteKind::ALL.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == wire.kind);
        let kind = kind.ok_or(ParseError::Value { field: "kind", value: wire.kind.into() })?;
        if count > RouteNexthop::MAX || (kind == RouteKind::Unicast) == nexthops.is_empty() {
            return Err(ParseError::Value { field: "count", value: count as u64 });
        }
        nexthops.iter().try_for_each(RouteNexthop::check)?;
        Ok(Self {
            request: RequestId(wire.request.get()),
            key: wire.key.key()?,
            content: RouteContent { kind, mtu: wire.mtu.get(), nexthops },
        })
    }

    /// Nexthops beyond [`RouteNexthop::MAX`] are left out.
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        let nexthops = self.content.nexthops.get(..RouteNexthop::MAX).unwrap_or(self.content.nexthops);
        writer.fixed(&RouteAddWire {
            request: U32::new(self.request.0),
            key: RouteKeyWire::new(&self.key),
            mtu: U32::new(self.content.mtu),
            kind: self.content.kind as u8,
            reserved: 0,
            count: U16::new(u16::try_from(nexthops.len()).unwrap_or(u16::MAX)),
        })?;
        writer.bytes(nexthops.as_bytes())
    }
}

impl fmt::Display for RouteAdd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.request, self.key, self.content)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |  route key (28 bytes)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RouteDeleteWire {
    request: U32,
    key: RouteKeyWire,
}
const _: () = assert!(size_of::<RouteDeleteWire>() == 32);

/// "This route is in my table no more."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteDelete {
    /// Numbers the route messages of an association.
    pub request: RequestId,
    /// Which route.
    pub key: RouteKey,
}

impl RouteDelete {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<RouteDeleteWire>(body)?;
        Ok(Self { request: RequestId(wire.request.get()), key: wire.key.key()? })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer
            .fixed(&RouteDeleteWire { request: U32::new(self.request.0), key: RouteKeyWire::new(&self.key) })
    }
}

impl fmt::Display for RouteDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request, self.key)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |  route key (28 bytes)
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RouteReplyWire {
    key: RouteKeyWire,
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<RouteReplyWire>() == 32);

/// The state of a route at the relay, whenever it is another than the control must believe: refused, or installed after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteReply<'a> {
    /// Which route.
    pub key: RouteKey,
    /// [`Status::OK`]: installed. Else not, for this reason.
    pub status: Status,
    /// More on the reason, empty if there is none.
    pub text: &'a str,
}

impl<'a> RouteReply<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<RouteReplyWire>(body)?;
        let text = Extras::parse(rest)?.text();
        Ok(Self { key: wire.key.key()?, status: Status(wire.status.get()), text })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RouteReplyWire {
            key: RouteKeyWire::new(&self.key),
            status: U16::new(self.status.0),
            reserved: U16::ZERO,
        })?;
        emit_text(writer, self.text)
    }
}

impl fmt::Display for RouteReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RoutesDoneWire {
    request: U32,
}

/// Every route message up to and including this one has been dealt with: what has no [`RouteReply`] with a refusal is
/// installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutesDone {
    /// The newest.
    pub request: RequestId,
}

impl RoutesDone {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        Ok(Self { request: RequestId(only::<RoutesDoneWire>(body)?.request.get()) })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RoutesDoneWire { request: U32::new(self.request.0) })
    }
}

impl fmt::Display for RoutesDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |                            prefix                             |
/// +---------------+-----------------------------------------------+
/// |     bits      |                   reserved                    |
/// +---------------+-----------------------------------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RoutesSliceWire {
    request: U32,
    prefix: U32,
    bits: u8,
    reserved: [u8; 3],
}
const _: () = assert!(size_of::<RoutesSliceWire>() == 12);

/// Speaks of a part of the control's table: `ROUTES_BEGIN`, `ROUTES_END`, `ROUTES_DIGEST_REQUEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutesSlice {
    /// Numbers the route messages of an association.
    pub request: RequestId,
    /// The part.
    pub slice: Slice,
}

impl RoutesSlice {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<RoutesSliceWire>(body)?;
        Ok(Self { request: RequestId(wire.request.get()), slice: slice(wire.bits, wire.prefix.get())? })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&RoutesSliceWire {
            request: U32::new(self.request.0),
            prefix: U32::new(self.slice.prefix()),
            bits: self.slice.bits(),
            reserved: [0; 3],
        })
    }
}

fn slice(bits: u8, prefix: u32) -> Result<Slice, ParseError> {
    Slice::new(bits, prefix).ok_or(ParseError::Value { field: "bits", value: bits.into() })
}

impl fmt::Display for RoutesSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request, self.slice)
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             count                             |
/// +---------------------------------------------------------------+
/// |                              sum                              |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct TableDigestWire {
    count: U32,
    sum: U64,
}
const _: () = assert!(size_of::<TableDigestWire>() == 12);

impl TableDigestWire {
    pub(crate) fn new(digest: TableDigest) -> Self {
        Self { count: U32::new(digest.count), sum: U64::new(digest.sum) }
    }

    pub(crate) fn digest(&self) -> TableDigest {
        TableDigest { count: self.count.get(), sum: self.sum.get() }
    }
}

/// Digests of the sixteen parts of a slice, in answer to `ROUTES_DIGEST_REQUEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutesDigestReply {
    /// The request and its slice.
    pub of: RoutesSlice,
    /// One digest for each of [`Slice::parts`]; the rest zero where the slice cannot be cut.
    pub parts: [TableDigest; Slice::PARTS],
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |  request and slice (12 bytes)
/// +---------------------------------------------------------------+
/// |  16 digests (12 bytes each)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RoutesDigestReplyWire {
    slice: RoutesSliceWire,
    digests: [TableDigestWire; Slice::PARTS],
}
const _: () = assert!(size_of::<RoutesDigestReplyWire>() == 204);

impl RoutesDigestReply {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let wire = only::<RoutesDigestReplyWire>(body)?;
        let of = RoutesSlice {
            request: RequestId(wire.slice.request.get()),
            slice: slice(wire.slice.bits, wire.slice.prefix.get())?,
        };
        Ok(Self { of, parts: wire.digests.map(|part| part.digest()) })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        self.of.emit(writer)?;
        writer.fixed(&self.parts.map(TableDigestWire::new))
    }
}

impl fmt::Display for RoutesDigestReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.fmt(f)
    }
}
