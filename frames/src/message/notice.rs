//! Notices: one device tells the operator of the other.

use super::Status;
use super::extras::{Extras, emit_text};
use crate::tlv::{self, Writer};
use crate::{BufferTooSmall, ParseError};
use core::fmt;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |            status             |           reserved            |
/// +-------------------------------+-------------------------------+
/// |  TLVs: TEXT
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NoticeWire {
    status: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<NoticeWire>() == 4);

/// What an operator should know; shown and logged, and a hint to ask again for a port that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What kind of trouble.
    pub status: Status,
    /// The text, one line of at most [`super::TEXT_MAX`] bytes; emitting cuts what is longer.
    pub text: &'a str,
}

impl<'a> Notice<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (wire, rest) = tlv::fixed::<NoticeWire>(body)?;
        Ok(Self { status: Status(wire.status.get()), text: Extras::parse(rest)?.text() })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        writer.fixed(&NoticeWire { status: U16::new(self.status.0), reserved: U16::ZERO })?;
        emit_text(writer, self.text)
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}
