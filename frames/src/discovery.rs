//! Frames outside any session: [`Hello`] and the handshake.

use crate::tlv::{self, Tlvs};
use crate::{BootId, BufferTooSmall, ParseError, SessionIndex};
use core::fmt;
use zerocopy::network_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Longest device name, in bytes of UTF-8.
pub const NAME_MAX: usize = 63;

/// Which of the two devices a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Owns the network ports.
    Relay = 1,
    /// Runs the programs.
    Control = 2,
}

impl Role {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Relay => Self::Control,
            Self::Control => Self::Relay,
        }
    }
}

impl TryFrom<u8> for Role {
    type Error = ParseError;

    fn try_from(value: u8) -> Result<Self, ParseError> {
        match value {
            1 => Ok(Self::Relay),
            2 => Ok(Self::Control),
            _ => Err(ParseError::Value { field: "role", value: value.into() }),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Control => "control",
        })
    }
}

/// Security mode of a device; fixed by configuration, never negotiated. A number space that may grow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Mode(pub u8);

impl Mode {
    /// No protection at all.
    pub const NONE: Self = Self(0);
    /// One key shared by the devices of the segment.
    pub const PSK: Self = Self(1);
    /// A key pair per device.
    pub const KEYS: Self = Self(2);
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::PSK => f.write_str("psk"),
            Self::KEYS => f.write_str("keys"),
            Self(other) => write!(f, "mode {other}"),
        }
    }
}

/// How data frames are protected. A number space that may grow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Protection(pub u8);

impl Protection {
    /// Neither authentic nor secret: the only one in mode `none`, `data = "clear"` otherwise.
    pub const CLEAR: Self = Self(0);
    /// Authentic, readable on the wire.
    pub const SEALED: Self = Self(1);
    /// Authentic and secret.
    pub const ENCRYPTED: Self = Self(2);
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CLEAR => f.write_str("clear"),
            Self::SEALED => f.write_str("sealed"),
            Self::ENCRYPTED => f.write_str("encrypted"),
            Self(other) => write!(f, "protection {other}"),
        }
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// |     role      |     mode      |     data      |    control    |
/// +---------------+---------------+---------------+---------------+
/// |                             boot                              |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |  TLVs: NAME
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloWire {
    role: u8,
    mode: Mode,
    data: Protection,
    control: Protection,
    boot: U64,
}
const _: () = assert!(size_of::<HelloWire>() == 12);

/// "I am here": body of `HELLO`, and payload of both handshake frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Role of the sender.
    pub role: Role,
    /// Security mode of the sender.
    pub mode: Mode,
    /// Protection that the sender gives data frames and asks of them.
    pub data: Protection,
    /// Protection that the sender gives session frames and asks of them.
    pub control: Protection,
    /// Boot id of the sender.
    pub boot: BootId,
    /// Name of the sender, 1 to [`NAME_MAX`] bytes.
    pub name: &'a str,
}

impl<'a> Hello<'a> {
    /// Parses the body of a `HELLO`, or the payload of a handshake frame.
    ///
    /// # Errors
    /// [`ParseError`] for a truncated body, an unknown role, a missing or bad name, an unknown mandatory TLV.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<HelloWire>(body)?;
        let mut name = None;
        for item in Tlvs::new(rest) {
            let item = item?;
            match item.kind {
                tlv::NAME => name = Some(tlv::text(item.value, "name", NAME_MAX)?),
                other => tlv::skip(other)?,
            }
        }
        Ok(Self {
            role: Role::try_from(wire.role)?,
            mode: wire.mode,
            data: wire.data,
            control: wire.control,
            boot: BootId(wire.boot.get()),
            name: name.ok_or(ParseError::MissingTlv(tlv::NAME))?,
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`]: at most 79 bytes are needed.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&HelloWire {
            role: self.role as u8,
            mode: self.mode,
            data: self.data,
            control: self.control,
            boot: U64::new(self.boot.0),
        })?;
        writer.tlv(tlv::NAME, self.name.as_bytes())?;
        Ok(writer.len())
    }
}

impl fmt::Display for Hello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, mode, data, control, boot, name } = self;
        write!(f, "{role} {name} boot {boot} mode {mode} control {control} data {data}")
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                            sender                             |
/// +---------------------------------------------------------------+
/// |                          association                          |
/// |                                                               |
/// +---------------------------------------------------------------+
/// |  Noise message; in mode `none` the payload (a Hello) in clear
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HandshakeWire {
    sender: U32,
    association: U64,
}
const _: () = assert!(size_of::<HandshakeWire>() == 12);

/// Body of `HANDSHAKE_INIT` and of `HANDSHAKE_RESPONSE` (whose link header's `receiver` is the initiator's index).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The sender's index of the session to be: what the other side writes into `receiver` from now on.
    pub sender: SessionIndex,
    /// Names the lifetime of the reliable streams. The initiator draws a new one to begin afresh and repeats the
    /// present one to change keys only; the responder repeats it.
    pub association: u64,
    /// The Noise message, or the payload in clear in mode `none`. The payload is a [`Hello`].
    pub noise: &'a [u8],
}

impl<'a> Handshake<'a> {
    /// Bytes before the Noise message.
    pub const PREFIX_LEN: usize = size_of::<HandshakeWire>();

    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError::Truncated`]; [`ParseError::Value`] for a sender of zero.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, noise) = tlv::fixed::<HandshakeWire>(body)?;
        if wire.sender.get() == 0 {
            return Err(ParseError::Value { field: "sender", value: 0 });
        }
        Ok(Self { sender: SessionIndex(wire.sender.get()), association: wire.association.get(), noise })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = tlv::Writer::new(buffer);
        writer.fixed(&HandshakeWire {
            sender: U32::new(self.sender.0),
            association: U64::new(self.association),
        })?;
        writer.bytes(self.noise)?;
        Ok(writer.len())
    }
}

impl fmt::Display for Handshake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sender, length) = (self.sender.0, self.noise.len());
        write!(f, "sender {sender:#010x} association {:016x} noise of {length} bytes", self.association)
    }
}
