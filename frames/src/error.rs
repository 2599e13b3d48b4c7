//! Errors of parsing and emitting. Both are `Copy` and carry the offending values.

use core::fmt;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes end too early.
    Truncated {
        /// Bytes that the item needs.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The version nibble is not one that this build speaks.
    Version(u8),
    /// The frame kind is unknown.
    Kind(u8),
    /// The message type is unknown; the message can be skipped by its length.
    MessageType(u16),
    /// A field holds a value that its definition excludes.
    Value {
        /// The field's name in `PROTOCOL.md`.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A text is not UTF-8, is empty, is longer than its limit, or holds control characters.
    Text {
        /// The field's name in `PROTOCOL.md`.
        field: &'static str,
    },
    /// A TLV that must be understood is unknown.
    MandatoryTlv(u16),
    /// A TLV without which the message makes no sense is missing.
    MissingTlv(u16),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, have } => write!(f, "truncated: need {need} bytes, have {have}"),
            Self::Version(version) => write!(f, "protocol version {version} is not supported"),
            Self::Kind(kind) => write!(f, "frame kind {kind:#04x} is unknown"),
            Self::MessageType(kind) => write!(f, "message type {kind:#06x} is unknown"),
            Self::Value { field, value } => write!(f, "{field} holds {value:#x}, which is not allowed"),
            Self::Text { field } => write!(f, "{field} is not a text of allowed length"),
            Self::MandatoryTlv(kind) => write!(f, "mandatory TLV {kind:#06x} is unknown"),
            Self::MissingTlv(kind) => write!(f, "TLV {kind:#06x} is missing"),
        }
    }
}

impl core::error::Error for ParseError {}

/// The caller's buffer does not hold what is to be emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferTooSmall {
    /// Bytes that the item needs, as far as is known when it does not fit.
    pub need: usize,
    /// Bytes that the buffer has.
    pub have: usize,
}

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer of {} bytes is too small for {}", self.have, self.need)
    }
}

impl core::error::Error for BufferTooSmall {}
