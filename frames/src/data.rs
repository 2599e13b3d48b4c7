//! Data frames: tunnelled packets, whole ([`Data`]), in pieces ([`Piece`]), or as a kernel's fast path sends them ([`Packet`]).
//!
//! A *parcel* is what crosses the link: an [`OffloadHeader`] and behind it one Ethernet frame as it stood at the port
//! or at the symbol, which may be a TCP or UDP super-packet of up to 64 KiB. A parcel that does not fit one link frame
//! is cut at any byte and put together at the far end. A [`Packet`] stands for a parcel whose offload header is all zero.

use crate::{BufferTooSmall, DownTunnel, ParseError, UpTunnel, tlv};
use bitflags::bitflags;
use core::fmt;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

mod packet;

pub use packet::{Packet, PacketHeader};

/// Longest parcel in bytes: offload header, Ethernet header with two VLAN tags, and the largest IP packet.
pub const PARCEL_MAX: usize = size_of::<OffloadHeader>() + 14 + 8 + 65_535;

/// A tunnel id as a data frame carries it: an [`UpTunnel`] from relay to control, a [`DownTunnel`] the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tunnel(pub u32);

impl Tunnel {
    /// Of packets of address symbols: their addresses say whose they are.
    pub const NONE: Self = Self(0);
}

impl From<UpTunnel> for Tunnel {
    fn from(tunnel: UpTunnel) -> Self {
        Self(tunnel.0)
    }
}

impl From<DownTunnel> for Tunnel {
    fn from(tunnel: DownTunnel) -> Self {
        Self(tunnel.0)
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel {}", self.0)
    }
}

/// `struct virtio_net_hdr` (virtio 1.2, 5.1.6) in network byte order: what of checksum and segmentation is still to do.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |     flags     |   gso type    |         header length         |
/// +---------------+---------------+-------------------------------+
/// |           gso size            |        checksum start         |
/// +-------------------------------+-------------------------------+
/// |        checksum offset        |
/// +-------------------------------+
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct OffloadHeader {
    /// [`OffloadFlags`].
    pub flags: u8,
    /// [`GsoType`].
    pub gso_type: u8,
    /// Length in bytes of all headers up to and with the transport's; a hint.
    pub header_length: U16,
    /// Payload bytes of each segment to be made.
    pub gso_size: U16,
    /// Where the checksummed part begins, in bytes from the Ethernet header.
    pub checksum_start: U16,
    /// Where the checksum is put, in bytes from `checksum_start`.
    pub checksum_offset: U16,
}
const _: () = assert!(size_of::<OffloadHeader>() == 10);

impl OffloadHeader {
    /// Checks the header against the frame behind it, so that no kernel is given a header that it would refuse
    /// (`virtio_net_hdr_to_skb`, `tun_get_user`, `packet_snd`), and no peer makes it touch bytes outside the frame.
    ///
    /// # Errors
    /// [`ParseError::Value`] with the field's name.
    pub fn check(&self, frame_len: usize) -> Result<(), ParseError> {
        let bad = |field, value: U16| Err(ParseError::Value { field, value: value.get().into() });
        if usize::from(self.header_length.get()) > frame_len {
            return bad("header length", self.header_length);
        }
        let needs_checksum =
            OffloadFlags::from_bits_retain(self.flags).contains(OffloadFlags::NEEDS_CHECKSUM);
        if needs_checksum && self.checksum_end() > frame_len {
            return bad("checksum start", self.checksum_start);
        }
        let segmented_checksum_offset = match GsoType(self.gso_type & !GsoType::ECN) {
            GsoType::NONE => return Ok(()),
            GsoType::TCP4 | GsoType::TCP6 => TCP_CHECKSUM_OFFSET,
            GsoType::UDP_L4 => UDP_CHECKSUM_OFFSET,
            GsoType(other) => return Err(ParseError::Value { field: "gso type", value: other.into() }),
        };
        if matches!(self.gso_size.get(), 0 | GSO_BY_FRAGS) {
            return bad("gso size", self.gso_size);
        }
        if needs_checksum && self.checksum_offset.get() != segmented_checksum_offset {
            return bad("checksum offset", self.checksum_offset);
        }
        Ok(())
    }

    /// Bytes of the frame up to and with the checksum field.
    fn checksum_end(&self) -> usize {
        let start = usize::from(self.checksum_start.get());
        start.saturating_add(usize::from(self.checksum_offset.get())).saturating_add(2)
    }
}

impl fmt::Display for OffloadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = OffloadFlags::from_bits_retain(self.flags);
        if flags.contains(OffloadFlags::NEEDS_CHECKSUM) {
            write!(f, "checksum of {}.. at +{}", self.checksum_start, self.checksum_offset)?;
        } else if flags.contains(OffloadFlags::CHECKSUM_VALID) {
            f.write_str("checksum verified")?;
        } else {
            f.write_str("checksum as is")?;
        }
        match GsoType(self.gso_type & !GsoType::ECN) {
            GsoType::NONE => Ok(()),
            kind => write!(f, ", {kind} segments of {}", self.gso_size),
        }
    }
}

/// Place of the checksum in the TCP header (RFC 9293, 3.1).
const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Place of the checksum in the UDP header (RFC 768).
const UDP_CHECKSUM_OFFSET: u16 = 6;
/// Linux's mark for a list of packets; refused from outside.
const GSO_BY_FRAGS: u16 = 0xffff;

/// Bits of [`OffloadHeader::flags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OffloadFlags(u8);

bitflags! {
    impl OffloadFlags: u8 {
        /// The transport checksum holds the pseudo-header's sum only and must be completed.
        const NEEDS_CHECKSUM = 0x1;
        /// The transport checksum has been verified.
        const CHECKSUM_VALID = 0x2;
        const _ = !0;
    }
}

/// Values of [`OffloadHeader::gso_type`]. A number space that may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GsoType(pub u8);

impl GsoType {
    /// One ordinary packet.
    pub const NONE: Self = Self(0);
    /// TCP over IPv4.
    pub const TCP4: Self = Self(1);
    /// TCP over IPv6.
    pub const TCP6: Self = Self(4);
    /// UDP, either version of IP.
    pub const UDP_L4: Self = Self(5);
    /// Bit in addition: the TCP segments carry ECN CWR.
    pub const ECN: u8 = 0x80;
}

impl fmt::Display for GsoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::TCP4 => f.write_str("tcp4"),
            Self::TCP6 => f.write_str("tcp6"),
            Self::UDP_L4 => f.write_str("udp"),
            Self(other) => write!(f, "gso type {other}"),
        }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            tunnel                             |
/// +-------------------------------+-------------------------------+
/// |            length             |
/// +-------------------------------+
/// |  parcel, `length` bytes
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DataHeader {
    tunnel: U32,
    length: U16,
}
const _: () = assert!(size_of::<DataHeader>() == 6);

impl DataHeader {
    /// A header for a parcel of `length` bytes in `tunnel`.
    #[must_use]
    pub fn new(tunnel: Tunnel, length: u16) -> Self {
        Self { tunnel: U32::new(tunnel.0), length: U16::new(length) }
    }
}

/// One whole parcel in a `DATA`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<'a> {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// The parcel, offload header first.
    pub parcel: &'a [u8],
}

impl<'a> Data<'a> {
    /// Takes the first parcel off a body, and gives it with what follows it.
    ///
    /// # Errors
    /// [`ParseError::Truncated`].
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (header, rest) = tlv::fixed::<DataHeader>(bytes)?;
        let need = usize::from(header.length.get());
        let (parcel, rest) =
            rest.split_at_checked(need).ok_or(ParseError::Truncated { need, have: rest.len() })?;
        Ok((Self { tunnel: Tunnel(header.tunnel.get()), parcel }, rest))
    }

    /// Writes the parcel with its header to the front of `buffer` and returns their length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`], for a parcel over 65,535 bytes too.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let too_small = BufferTooSmall { need: self.parcel.len(), have: usize::from(u16::MAX) };
        let length = u16::try_from(self.parcel.len()).map_err(|_| too_small)?;
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&DataHeader::new(self.tunnel, length))?;
        writer.bytes(self.parcel)?;
        Ok(writer.len())
    }
}

/// Body of `DATA`: one whole parcel or several, each with its header. The link's receive path takes them off one by one
/// by [`Data::split`]; this is for traces and tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parcels<'a>(&'a [u8]);

impl<'a> Parcels<'a> {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] if there is no parcel, or one is incomplete.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (_, mut rest) = Data::split(body)?;
        while !rest.is_empty() {
            (_, rest) = Data::split(rest)?;
        }
        Ok(Self(body))
    }

    /// The parcels in order.
    pub fn iter(self) -> impl Iterator<Item = Data<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (data, behind) = Data::split(rest).ok()?;
            rest = behind;
            Some(data)
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.bytes(self.0)?;
        Ok(writer.len())
    }
}

impl fmt::Display for Parcels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, data) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            data.fmt(f)?;
        }
        Ok(())
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            tunnel                             |
/// +---------------------------------------------------------------+
/// |                            number                             |
/// +-+-------------------------------------------------------------+
/// |L|                           offset                            |
/// +-+-------------------------------------------------------------+
/// |  bytes of the parcel
/// ```
/// L: the parcel ends with this piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PieceHeader {
    tunnel: U32,
    number: U32,
    last_offset: U32,
}
const _: () = assert!(size_of::<PieceHeader>() == 12);

impl PieceHeader {
    const LAST: u32 = 1 << 31;

    /// A header for a piece that begins at `offset` of parcel `number`.
    #[must_use]
    pub fn new(tunnel: Tunnel, number: u32, offset: u32, last: bool) -> Self {
        let last = if last { Self::LAST } else { 0 };
        Self {
            tunnel: U32::new(tunnel.0),
            number: U32::new(number),
            last_offset: U32::new(offset & !Self::LAST | last),
        }
    }
}

/// Body of `PIECE`: a part of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Number of the parcel in its session and direction, counted up by the sender.
    pub number: u32,
    /// Place of the first byte in the parcel.
    pub offset: usize,
    /// Whether the parcel ends with this piece.
    pub last: bool,
    /// The bytes, at least one.
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError::Truncated`]; [`ParseError::Value`] if the piece is empty or ends beyond [`PARCEL_MAX`].
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (header, bytes) = tlv::fixed::<PieceHeader>(body)?;
        let last_offset = header.last_offset.get();
        let offset = (last_offset & !PieceHeader::LAST) as usize;
        if bytes.is_empty() || offset.saturating_add(bytes.len()) > PARCEL_MAX {
            return Err(ParseError::Value { field: "offset", value: offset as u64 });
        }
        Ok(Self {
            tunnel: Tunnel(header.tunnel.get()),
            number: header.number.get(),
            offset,
            last: last_offset & PieceHeader::LAST != 0,
            bytes,
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let offset = u32::try_from(self.offset).unwrap_or(u32::MAX);
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&PieceHeader::new(self.tunnel, self.number, offset, self.last))?;
        writer.bytes(self.bytes)?;
        Ok(writer.len())
    }
}

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parcel of {} bytes", self.tunnel, self.parcel.len())
    }
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = if self.last { ", the last" } else { "" };
        write!(f, "{} parcel {} bytes {}+{}{last}", self.tunnel, self.number, self.offset, self.bytes.len())
    }
}
