//! The Ethernet header and the link header that every frame of the protocol begins with.

use crate::{Mac, ParseError, SessionIndex};
use bitflags::bitflags;
use core::fmt;
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// IEEE 802 local experimental EtherType 1, the protocol's default.
pub const DEFAULT_ETHERTYPE: u16 = 0x88b5;
/// The protocol version of this build.
pub const VERSION: u8 = 1;
/// Bytes of the tag behind the body: the AEAD's ([`Flags::SEALED`]) or the gate's ([`Flags::GATED`]).
pub const TAG_LEN: usize = 16;
/// Bytes before the body: Ethernet header and link header.
pub const HEADERS_LEN: usize = size_of::<EthernetHeader>() + size_of::<LinkHeader>();

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |                       destination (48)                        |
/// |                               +-------------------------------+
/// |                               |                               |
/// +-------------------------------+          source (48)          |
/// |                                                               |
/// +-------------------------------+-------------------------------+
/// |           EtherType           |
/// +-------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Station or group that the frame is for.
    pub destination: Mac,
    /// Station that sent it.
    pub source: Mac,
    /// What follows: at least 0x600 for an EtherType, less for an 802.3 length.
    pub ethertype: U16,
}
const _: () = assert!(size_of::<EthernetHeader>() == 14);

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-------+---------------+-------------------------------+
/// |version| flags |     kind      |            length             |
/// +-------+-------+---------------+-------------------------------+
/// |                           receiver                            |
/// +---------------------------------------------------------------+
/// |                            counter                            |
/// |                                                               |
/// +---------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LinkHeader {
    /// High nibble: [`VERSION`]. Low nibble: [`Flags`].
    version_flags: u8,
    /// What the body is.
    pub kind: Kind,
    /// Bytes of the body, tag excluded; authoritative, as Ethernet pads short frames. Zero in a [`Kind::PACKET`], whose body
    /// says itself where it ends.
    pub length: U16,
    /// The receiver's index of the session, zero in frames that belong to none.
    pub receiver: U32,
    /// Number of this frame in its session and direction: nonce of the seal and key of the replay window.
    pub counter: U64,
}
const _: () = assert!(size_of::<LinkHeader>() == 16);

impl LinkHeader {
    /// A header of this build's version. `length` is the body's.
    #[must_use]
    pub fn new(kind: Kind, flags: Flags, length: u16, receiver: SessionIndex, counter: u64) -> Self {
        Self {
            version_flags: VERSION << 4 | flags.bits() & 0xf,
            kind,
            length: U16::new(length),
            receiver: U32::new(receiver.0),
            counter: U64::new(counter),
        }
    }

    /// Protocol version of the sender.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version_flags >> 4
    }

    /// How the body is protected.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.version_flags & 0xf)
    }

    /// The receiver's index of the session.
    #[must_use]
    pub fn receiver(&self) -> SessionIndex {
        SessionIndex(self.receiver.get())
    }
}

/// How the body is protected, and whether the frame may wait: the low nibble of the first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

bitflags! {
    impl Flags: u8 {
        /// An AEAD tag follows the body; headers and body are authentic.
        const SEALED = 0x1;
        /// The body is ciphertext. Only together with [`Flags::SEALED`].
        const ENCRYPTED = 0x2;
        /// A keyed-hash tag follows the body (discovery and handshake only).
        const GATED = 0x4;
        /// The parcels are of flows that are transfers: frames without this flag may overtake it.
        const BULK = 0x8;
        const _ = !0;
    }
}

impl Flags {
    /// Bytes of tag behind the body.
    #[must_use]
    pub fn tag_len(self) -> usize {
        if self.intersects(Self::SEALED.union(Self::GATED)) { TAG_LEN } else { 0 }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(self, f)
    }
}

/// What the body of a frame is. The range tells how to treat an unknown kind; see [`Kind::range`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Kind(pub u8);

impl Kind {
    /// "I am here": [`crate::discovery::Hello`], multicast or unicast.
    pub const HELLO: Self = Self(0x01);
    /// First frame of the handshake, control to relay.
    pub const HANDSHAKE_INIT: Self = Self(0x02);
    /// Second frame of the handshake, relay to control.
    pub const HANDSHAKE_RESPONSE: Self = Self(0x03);
    /// Reserved: cookie for a responder under load.
    pub const COOKIE: Self = Self(0x04);
    /// "I am alive", with round-trip times.
    pub const KEEPALIVE: Self = Self(0x20);
    /// A stretch of one reliable stream.
    pub const SEGMENT: Self = Self(0x21);
    /// What arrived of one reliable stream, and how far the sender may go on.
    pub const ACK: Self = Self(0x22);
    /// The peer ends the session in order.
    pub const CLOSE: Self = Self(0x23);
    /// One whole tunnelled packet.
    pub const DATA: Self = Self(0x40);
    /// A piece of a tunnelled packet larger than the link's MTU.
    pub const PIECE: Self = Self(0x41);
    /// A tunnelled packet whose own headers tell where it ends, from a kernel's fast path.
    pub const PACKET: Self = Self(0x42);

    /// Every kind that this build handles, with its name in `PROTOCOL.md`.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::HELLO, "HELLO"),
        (Self::HANDSHAKE_INIT, "HANDSHAKE_INIT"),
        (Self::HANDSHAKE_RESPONSE, "HANDSHAKE_RESPONSE"),
        (Self::KEEPALIVE, "KEEPALIVE"),
        (Self::SEGMENT, "SEGMENT"),
        (Self::ACK, "ACK"),
        (Self::CLOSE, "CLOSE"),
        (Self::DATA, "DATA"),
        (Self::PIECE, "PIECE"),
        (Self::PACKET, "PACKET"),
    ];

    /// The range that the kind lies in.
    #[must_use]
    pub const fn range(self) -> KindRange {
        match self.0 {
            0x01..=0x1f => KindRange::Discovery,
            0x20..=0x3f => KindRange::Session,
            0x40..=0x5f => KindRange::Data,
            0x00 | 0x60..=0xff => KindRange::Reserved,
        }
    }

    /// The kind's name in `PROTOCOL.md`, if this build handles it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a receiver treats an unknown kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindRange {
    /// 0x01-0x1f, outside any session: counted and dropped.
    Discovery,
    /// 0x20-0x3f, always sealed in a secured mode: opened, counts as a sign of life, skipped.
    Session,
    /// 0x40-0x5f, sealed unless the configuration leaves data clear: counted and dropped.
    Data,
    /// The rest: counted and dropped.
    Reserved,
}

/// A frame taken apart: headers, body and tag, all views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The Ethernet header.
    pub ethernet: &'a EthernetHeader,
    /// The link header.
    pub header: &'a LinkHeader,
    /// `header.length` bytes; of a [`Kind::PACKET`] all that follows the headers, padding included.
    pub body: &'a [u8],
    /// [`TAG_LEN`] bytes if the frame is sealed or gated, none otherwise and in a [`Kind::PACKET`], which never is.
    pub tag: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a whole Ethernet frame apart. Padding behind the tag is ignored; the EtherType is not looked at, as it
    /// is configurable and the socket is bound to it.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] if headers, body or tag are incomplete, [`ParseError::Version`] for a foreign version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let truncated = |need| ParseError::Truncated { need, have: bytes.len() };
        let (ethernet, rest) = EthernetHeader::ref_from_prefix(bytes).map_err(|_| truncated(HEADERS_LEN))?;
        let (header, rest) = LinkHeader::ref_from_prefix(rest).map_err(|_| truncated(HEADERS_LEN))?;
        if header.version() != VERSION {
            return Err(ParseError::Version(header.version()));
        }
        if header.kind == Kind::PACKET {
            return Ok(Self { ethernet, header, body: rest, tag: &[] });
        }
        let length = usize::from(header.length.get());
        let tag_len = header.flags().tag_len();
        let need = HEADERS_LEN.saturating_add(length).saturating_add(tag_len);
        let (body, rest) = rest.split_at_checked(length).ok_or(truncated(need))?;
        let (tag, _padding) = rest.split_at_checked(tag_len).ok_or(truncated(need))?;
        Ok(Self { ethernet, header, body, tag })
    }
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} {} [{}] session {:#010x} counter {} length {}",
            self.ethernet.source,
            self.ethernet.destination,
            self.header.kind,
            self.header.flags(),
            self.header.receiver.get(),
            self.header.counter.get(),
            self.header.length.get()
        )
    }
}
