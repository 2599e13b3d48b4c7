//! [`Body`]: what a frame of any kind says.

use crate::data::{Packet, Parcels, Piece};
use crate::discovery::{Handshake, Hello};
use crate::header::{Frame, Kind};
use crate::session::{Ack, Close, Keepalive, Segment};
use crate::{BufferTooSmall, ParseError};
use core::fmt;

/// The body of a frame. The link's own receive path calls the parser that it needs; this is for traces and tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// `HELLO`
    Hello(Hello<'a>),
    /// `HANDSHAKE_INIT`
    HandshakeInit(Handshake<'a>),
    /// `HANDSHAKE_RESPONSE`
    HandshakeResponse(Handshake<'a>),
    /// `KEEPALIVE`
    Keepalive(Keepalive),
    /// `SEGMENT`
    Segment(Segment<'a>),
    /// `ACK`
    Ack(Ack<'a>),
    /// `CLOSE`
    Close(Close),
    /// `DATA`
    Data(Parcels<'a>),
    /// `PIECE`
    Piece(Piece<'a>),
    /// `PACKET`
    Packet(Packet<'a>),
}

impl<'a> Body<'a> {
    /// Parses the body of a frame that is not encrypted.
    ///
    /// # Errors
    /// [`ParseError::Value`] for a `PACKET` with a length in its header, otherwise as [`Body::parse`].
    pub fn of(frame: &Frame<'a>) -> Result<Self, ParseError> {
        let Frame { header, body, .. } = frame;
        match header.length.get() {
            length @ 1.. if header.kind == Kind::PACKET => {
                Err(ParseError::Value { field: "length", value: length.into() })
            }
            _ => Self::parse(header.kind, body),
        }
    }

    /// Parses a body that is not (or no longer) encrypted.
    ///
    /// # Errors
    /// [`ParseError::Kind`] for a kind that this build does not handle, otherwise the kind's own.
    pub fn parse(kind: Kind, body: &'a [u8]) -> Result<Self, ParseError> {
        Ok(match kind {
            Kind::HELLO => Self::Hello(Hello::parse(body)?),
            Kind::HANDSHAKE_INIT => Self::HandshakeInit(Handshake::parse(body)?),
            Kind::HANDSHAKE_RESPONSE => Self::HandshakeResponse(Handshake::parse(body)?),
            Kind::KEEPALIVE => Self::Keepalive(Keepalive::parse(body)?),
            Kind::SEGMENT => Self::Segment(Segment::parse(body)?),
            Kind::ACK => Self::Ack(Ack::parse(body)?),
            Kind::CLOSE => Self::Close(Close::parse(body)?),
            Kind::DATA => Self::Data(Parcels::parse(body)?),
            Kind::PIECE => Self::Piece(Piece::parse(body)?),
            Kind::PACKET => Self::Packet(Packet::parse(body)?),
            Kind(other) => return Err(ParseError::Kind(other)),
        })
    }

    /// Writes the body to the front of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`].
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        match self {
            Self::Hello(body) => body.emit(buffer),
            Self::HandshakeInit(body) | Self::HandshakeResponse(body) => body.emit(buffer),
            Self::Keepalive(body) => body.emit(buffer),
            Self::Segment(body) => body.emit(buffer),
            Self::Ack(body) => body.emit(buffer),
            Self::Close(body) => body.emit(buffer),
            Self::Data(body) => body.emit(buffer),
            Self::Piece(body) => body.emit(buffer),
            Self::Packet(body) => body.emit(buffer),
        }
    }
}

impl fmt::Display for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(body) => body.fmt(f),
            Self::HandshakeInit(body) | Self::HandshakeResponse(body) => body.fmt(f),
            Self::Keepalive(body) => body.fmt(f),
            Self::Segment(body) => body.fmt(f),
            Self::Ack(body) => body.fmt(f),
            Self::Close(body) => body.fmt(f),
            Self::Data(body) => body.fmt(f),
            Self::Piece(body) => body.fmt(f),
            Self::Packet(body) => body.fmt(f),
        }
    }
}
