//! Type-length-value items, and the one place where fixed parts and texts are read and written.
//!
//! Types below 0x8000 are skipped when unknown; from 0x8000 on they must be understood, or the message is refused.

use crate::{BufferTooSmall, ParseError};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Name of a device or a port, UTF-8.
pub const NAME: u16 = 0x0001;
/// Addresses of a port: [`crate::message::PortAddress`] items.
pub const ADDRESSES: u16 = 0x0002;
/// Text for a human, UTF-8.
pub const TEXT: u16 = 0x0003;
/// Digest of the routes that a relay has of the control: [`crate::route::RoutesDigest`].
pub const ROUTES_DIGEST: u16 = 0x0004;
/// A relay's own routes by a port: [`crate::message::PortRoute`] items.
pub const PORT_ROUTES: u16 = 0x0008;
/// Name of another relay, UTF-8.
pub const RELAY: u16 = 0x0010;
/// A device's public key, 32 bytes.
pub const PUBLIC_KEY: u16 = 0x0011;
/// Every type that this build knows, with its name in `PROTOCOL.md`.
pub const ALL: [(u16, &str); 7] = [
    (NAME, "NAME"),
    (ADDRESSES, "ADDRESSES"),
    (TEXT, "TEXT"),
    (ROUTES_DIGEST, "ROUTES_DIGEST"),
    (PORT_ROUTES, "PORT_ROUTES"),
    (RELAY, "RELAY"),
    (PUBLIC_KEY, "PUBLIC_KEY"),
];
/// First type that must be understood.
pub const MANDATORY: u16 = 0x8000;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |             type              |            length             |
/// +-------------------------------+-------------------------------+
/// |  value, `length` bytes, no padding
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TlvHeader {
    kind: U16,
    length: U16,
}
const _: () = assert!(size_of::<TlvHeader>() == 4);

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Its type.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// Iterates over the items of a run of bytes; ends after the first error.
#[derive(Debug, Clone)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// All bytes of `rest` are items.
    #[must_use]
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = core::mem::take(&mut self.rest);
        if whole.is_empty() {
            return None;
        }
        let (header, rest) = match fixed::<TlvHeader>(whole) {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error)),
        };
        let length = usize::from(header.length.get());
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return Some(Err(ParseError::Truncated { need: length, have: rest.len() }));
        };
        self.rest = rest;
        Some(Ok(Tlv { kind: header.kind.get(), value }))
    }
}

/// What to do with an unknown type: skip it, or refuse the message.
///
/// # Errors
/// [`ParseError::MandatoryTlv`].
pub fn skip(kind: u16) -> Result<(), ParseError> {
    if kind >= MANDATORY { Err(ParseError::MandatoryTlv(kind)) } else { Ok(()) }
}

/// Reads a fixed part from the front.
///
/// # Errors
/// [`ParseError::Truncated`].
pub fn fixed<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
) -> Result<(&T, &[u8]), ParseError> {
    T::ref_from_prefix(bytes).map_err(|_| ParseError::Truncated { need: size_of::<T>(), have: bytes.len() })
}

/// Reads a text of 1 to `max` bytes without control characters, as it goes to logs and terminals.
///
/// # Errors
/// [`ParseError::Text`].
pub fn text<'a>(value: &'a [u8], field: &'static str, max: usize) -> Result<&'a str, ParseError> {
    if value.is_empty() || value.len() > max {
        return Err(ParseError::Text { field });
    }
    match core::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => Ok(text),
        _ => Err(ParseError::Text { field }),
    }
}

/// Appends to a caller's buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Begins at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`]; nothing is written then.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        let end = self.len.saturating_add(bytes.len());
        let have = self.buffer.len();
        let room = self.buffer.get_mut(self.len..end).ok_or(BufferTooSmall { need: end, have })?;
        room.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends a fixed part.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn fixed<T: IntoBytes + Immutable>(&mut self, part: &T) -> Result<(), BufferTooSmall> {
        self.bytes(part.as_bytes())
    }

    /// Appends an item. A value longer than 65,535 bytes does not fit any buffer.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn tlv(&mut self, kind: u16, value: &[u8]) -> Result<(), BufferTooSmall> {
        let length = u16::try_from(value.len())
            .map_err(|_| BufferTooSmall { need: value.len(), have: usize::from(u16::MAX) })?;
        self.fixed(&TlvHeader { kind: U16::new(kind), length: U16::new(length) })?;
        self.bytes(value)
    }
}
