//! Frames of a session that are no data: [`Keepalive`], [`Segment`], [`Ack`], [`Close`].

use crate::message::TableDigestWire;
use crate::route::RoutesDigest;
use crate::tlv::{self, Tlvs};
use crate::{BufferTooSmall, ParseError};
use core::fmt;
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// One of the three reliable streams of a session. They never wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Ports and their events.
    Events = 0,
    /// Tunnels, rules, memberships.
    Rules = 1,
    /// Routes in bulk.
    Routes = 2,
}

impl Stream {
    /// All, highest priority first.
    pub const ALL: [Self; 3] = [Self::Events, Self::Rules, Self::Routes];
}

impl TryFrom<u8> for Stream {
    type Error = ParseError;

    fn try_from(value: u8) -> Result<Self, ParseError> {
        match value {
            0 => Ok(Self::Events),
            1 => Ok(Self::Rules),
            2 => Ok(Self::Routes),
            _ => Err(ParseError::Value { field: "stream", value: value.into() }),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::Rules => "rules",
            Self::Routes => "routes",
        })
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             sent                              |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                             echo                              |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                             held                              |
/// +---------------------------------------------------------------+
/// |                           interval                            |
/// +---------------------------------------------------------------+
/// |  TLVs: ROUTES_DIGEST
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct KeepaliveWire {
    sent: U64,
    echo: U64,
    held: U32,
    interval: U32,
}
const _: () = assert!(size_of::<KeepaliveWire>() == 24);

/// "I am alive."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// The sender's clock when it sent this, in µs.
    pub sent: u64,
    /// `sent` of the peer's newest keepalive, zero if there was none.
    pub echo: u64,
    /// For how long the sender held that one before this answer, in µs.
    pub held: u32,
    /// Longest time until the sender's next frame, in µs: the receiver's liveness time-out is a multiple of it.
    pub interval: u32,
    /// What a relay has of the control's routes.
    pub routes: Option<RoutesDigest>,
}

/// The value of a `ROUTES_DIGEST` TLV.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            request                            |
/// +---------------------------------------------------------------+
/// |  digest (12 bytes)
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RoutesDigestWire {
    request: U32,
    digest: TableDigestWire,
}
const _: () = assert!(size_of::<RoutesDigestWire>() == 16);

impl Keepalive {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<KeepaliveWire>(body)?;
        let mut routes = None;
        for item in Tlvs::new(rest) {
            let item = item?;
            match item.kind {
                tlv::ROUTES_DIGEST => {
                    let (wire, _) = tlv::fixed::<RoutesDigestWire>(item.value)?;
                    routes = Some(RoutesDigest { request: wire.request.get(), table: wire.digest.digest() });
                }
                other => tlv::skip(other)?,
            }
        }
        Ok(Self {
            routes,
            sent: wire.sent.get(),
            echo: wire.echo.get(),
            held: wire.held.get(),
            interval: wire.interval.get(),
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&KeepaliveWire {
            sent: U64::new(self.sent),
            echo: U64::new(self.echo),
            held: U32::new(self.held),
            interval: U32::new(self.interval),
        })?;
        if let Some(RoutesDigest { request, table }) = self.routes {
            let value = RoutesDigestWire { request: U32::new(request), digest: TableDigestWire::new(table) };
            writer.tlv(tlv::ROUTES_DIGEST, value.as_bytes())?;
        }
        Ok(writer.len())
    }
}

impl fmt::Display for Keepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, echo, held, interval, routes } = self;
        write!(f, "sent {sent} us, echo {echo} us held {held} us, interval {interval} us")?;
        match routes {
            Some(RoutesDigest { request, table }) => write!(f, ", routes up to {request}: {table}"),
            None => Ok(()),
        }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+-----------------------------------------------+
/// |    stream     |                   reserved                    |
/// +---------------+-----------------------------------------------+
/// |                            offset                             |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |  bytes of the stream
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentWire {
    stream: u8,
    reserved: [u8; 3],
    offset: U64,
}
const _: () = assert!(size_of::<SegmentWire>() == 12);

/// A stretch of a reliable stream. A stream is a run of bytes that holds messages one behind the other
/// ([`crate::message::MessageHeader`]); segments may cut it anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The stream.
    pub stream: Stream,
    /// Place of the first byte in the stream, counted from its beginning.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Bytes before the stretch.
    pub const PREFIX_LEN: usize = size_of::<SegmentWire>();

    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`]; [`ParseError::Value`] if the stretch ends beyond the largest offset.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, bytes) = tlv::fixed::<SegmentWire>(body)?;
        let offset = wire.offset.get();
        if offset.checked_add(bytes.len() as u64).is_none() {
            return Err(ParseError::Value { field: "offset", value: offset });
        }
        Ok(Self { stream: Stream::try_from(wire.stream)?, offset, bytes })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&SegmentWire {
            stream: self.stream as u8,
            reserved: [0; 3],
            offset: U64::new(self.offset),
        })?;
        writer.bytes(self.bytes)?;
        Ok(writer.len())
    }
}

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {}+{}", self.stream, self.offset, self.bytes.len())
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |    stream     |     count     |           reserved            |
/// +---------------+---------------+-------------------------------+
/// |                          cumulative                           |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                             limit                             |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |  `count` ranges (16 bytes each)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckWire {
    stream: u8,
    count: u8,
    reserved: U16,
    cumulative: U64,
    limit: U64,
}
const _: () = assert!(size_of::<AckWire>() == 20);

/// A stretch of a stream that arrived beyond a gap: offsets `start` up to and without `end`.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                             start                             |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |                              end                              |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AckRange {
    /// First byte that arrived.
    pub start: U64,
    /// First byte behind it that did not.
    pub end: U64,
}
const _: () = assert!(size_of::<AckRange>() == 16);

/// What arrived of one reliable stream, and how far the sender may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The stream.
    pub stream: Stream,
    /// All bytes before this offset arrived.
    pub cumulative: u64,
    /// The sender may send bytes before this offset: the reader's credit. Never shrinks.
    pub limit: u64,
    /// What arrived beyond `cumulative`, in rising order, at most 32 ranges.
    pub ranges: &'a [AckRange],
}

impl<'a> Ack<'a> {
    /// Most ranges in one frame.
    pub const RANGES_MAX: usize = 32;

    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`]; [`ParseError::Value`] for ranges that are empty, out of order or before `cumulative`.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<AckWire>(body)?;
        let count = usize::from(wire.count);
        if count > Self::RANGES_MAX {
            return Err(ParseError::Value { field: "count", value: wire.count.into() });
        }
        let (ranges, _later) = <[AckRange]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| ParseError::Truncated { need: count.saturating_mul(16), have: rest.len() })?;
        let mut floor = wire.cumulative.get();
        for range in ranges {
            if range.start.get() <= floor || range.end.get() <= range.start.get() {
                return Err(ParseError::Value { field: "range", value: range.start.get() });
            }
            floor = range.end.get();
        }
        Ok(Self {
            stream: Stream::try_from(wire.stream)?,
            cumulative: wire.cumulative.get(),
            limit: wire.limit.get(),
            ranges,
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes. Ranges beyond
    /// [`Ack::RANGES_MAX`] are left out.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let ranges = self.ranges.get(..Self::RANGES_MAX).unwrap_or(self.ranges);
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&AckWire {
            stream: self.stream as u8,
            count: u8::try_from(ranges.len()).unwrap_or(u8::MAX),
            reserved: U16::ZERO,
            cumulative: U64::new(self.cumulative),
            limit: U64::new(self.limit),
        })?;
        writer.bytes(ranges.as_bytes())?;
        Ok(writer.len())
    }
}

impl fmt::Display for Ack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ack {} limit {}", self.stream, self.cumulative, self.limit)?;
        self.ranges.iter().try_for_each(|range| write!(f, " {}..{}", range.start, range.end))
    }
}

/// Why a peer ends a session. A number space that may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseReason(pub u16);

impl CloseReason {
    /// The daemon stops in order: all that it owned goes at once.
    pub const SHUTDOWN: Self = Self(1);
    /// The peer's name is in use by another live device with another boot id.
    pub const NAME_IN_USE: Self = Self(2);
    /// A stream of the peer's breaks the definition of a message so that it cannot be followed any further.
    pub const BAD_STREAM: Self = Self(3);
    /// Of two relays: no control introduces them to each other any more.
    pub const DISMISSED: Self = Self(4);
    /// In mode `keys`: the peer is not among the sender's, or under another key.
    pub const NOT_A_PEER: Self = Self(5);

    /// Every reason that this build knows, with its name in `PROTOCOL.md`.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::SHUTDOWN, "SHUTDOWN"),
        (Self::NAME_IN_USE, "NAME_IN_USE"),
        (Self::BAD_STREAM, "BAD_STREAM"),
        (Self::DISMISSED, "DISMISSED"),
        (Self::NOT_A_PEER, "NOT_A_PEER"),
    ];
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SHUTDOWN => f.write_str("peer stopped"),
            Self::NAME_IN_USE => f.write_str("the name is in use by another live device"),
            Self::BAD_STREAM => f.write_str("a message stream cannot be followed"),
            Self::DISMISSED => f.write_str("no control introduces it any more"),
            Self::NOT_A_PEER => f.write_str("it does not have this device and its key among its peers"),
            Self(other) => write!(f, "reason {other}"),
        }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |            reason             |           reserved            |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CloseWire {
    reason: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<CloseWire>() == 4);

/// The peer ends the session in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub reason: CloseReason,
}

impl Close {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError::Truncated`].
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let (wire, _later) = tlv::fixed::<CloseWire>(body)?;
        Ok(Self { reason: CloseReason(wire.reason.get()) })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&CloseWire { reason: U16::new(self.reason.0), reserved: U16::ZERO })?;
        Ok(writer.len())
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}
