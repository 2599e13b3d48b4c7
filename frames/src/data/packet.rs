//! [`Packet`]: the data frame of senders that cannot write anything that differs from frame to frame.

use super::Tunnel;
use crate::{BufferTooSmall, ParseError, inet, tlv};
use core::fmt;
use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            tunnel                             |
/// +---------------------------------------------------------------+
/// |  Ethernet frame, up to the end of its IP packet
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PacketHeader {
    tunnel: U32,
}
const _: () = assert!(size_of::<PacketHeader>() == 4);

impl PacketHeader {
    /// A header for a packet in `tunnel`.
    #[must_use]
    pub fn new(tunnel: Tunnel) -> Self {
        Self { tunnel: U32::new(tunnel.0) }
    }
}

/// Body of `PACKET`: an Ethernet frame whose IP packet tells where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// An untagged Ethernet frame with IPv4 or IPv6, without padding.
    pub frame: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses the body; padding behind the packet is left out.
    ///
    /// # Errors
    /// [`ParseError::Truncated`], and as [`inet::without_padding`].
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (header, rest) = tlv::fixed::<PacketHeader>(body)?;
        Ok(Self { tunnel: Tunnel(header.tunnel.get()), frame: inet::without_padding(rest)? })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&PacketHeader::new(self.tunnel))?;
        writer.bytes(self.frame)?;
        Ok(writer.len())
    }
}

impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packet of {} bytes", self.tunnel, self.frame.len())
    }
}
