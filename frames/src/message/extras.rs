//! The TLVs behind the fixed parts of messages. Of a type that comes twice, the last one counts.

use super::{PortAddress, PortRoute, TEXT_MAX};
use crate::discovery::NAME_MAX;
use crate::tlv::{self, Tlvs, Writer};
use crate::{BufferTooSmall, ParseError};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The TLVs that messages know.
#[derive(Default)]
pub(super) struct Extras<'a> {
    name: Option<&'a str>,
    relay: Option<&'a str>,
    text: Option<&'a str>,
    pub(super) public_key: Option<[u8; 32]>,
    pub(super) addresses: &'a [PortAddress],
    pub(super) port_routes: &'a [PortRoute],
}

impl<'a> Extras<'a> {
    pub(super) fn parse(rest: &'a [u8]) -> Result<Self, ParseError> {
        let mut extras = Self::default();
        for item in Tlvs::new(rest) {
            let item = item?;
            match item.kind {
                tlv::NAME => extras.name = Some(tlv::text(item.value, "name", NAME_MAX)?),
                tlv::RELAY => extras.relay = Some(tlv::text(item.value, "relay", NAME_MAX)?),
                tlv::TEXT => extras.text = Some(tlv::text(item.value, "text", TEXT_MAX)?),
                tlv::PUBLIC_KEY => {
                    let length = u64::try_from(item.value.len()).unwrap_or(u64::MAX);
                    let bad = ParseError::Value { field: "length of a public key", value: length };
                    extras.public_key = Some(item.value.try_into().map_err(|_| bad)?);
                }
                tlv::ADDRESSES => extras.addresses = PortAddress::parse_list(item.value)?,
                tlv::PORT_ROUTES => extras.port_routes = PortRoute::parse_list(item.value)?,
                other => tlv::skip(other)?,
            }
        }
        Ok(extras)
    }

    /// The name, which must be there.
    pub(super) fn name(&self) -> Result<&'a str, ParseError> {
        self.name.ok_or(ParseError::MissingTlv(tlv::NAME))
    }

    /// The name of another relay, which must be there.
    pub(super) fn relay(&self) -> Result<&'a str, ParseError> {
        self.relay.ok_or(ParseError::MissingTlv(tlv::RELAY))
    }

    /// The text, empty if there is none.
    pub(super) fn text(&self) -> &'a str {
        self.text.unwrap_or_default()
    }
}

/// A fixed part with nothing but skippable TLVs behind it.
pub(super) fn only<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    body: &[u8],
) -> Result<&T, ParseError> {
    let (wire, rest) = tlv::fixed::<T>(body)?;
    Extras::parse(rest)?;
    Ok(wire)
}

/// Refuses zero where the definition excludes it.
pub(super) fn nonzero(field: &'static str, value: u32) -> Result<u32, ParseError> {
    if value == 0 { Err(ParseError::Value { field, value: 0 }) } else { Ok(value) }
}

/// Appends a text for a human, cut to one line of at most [`TEXT_MAX`] bytes; nothing if it is empty.
pub(super) fn emit_text(writer: &mut Writer<'_>, text: &str) -> Result<(), BufferTooSmall> {
    let line = text.split(char::is_control).next().unwrap_or_default();
    let end = (0..=TEXT_MAX.min(line.len())).rfind(|&end| line.is_char_boundary(end)).unwrap_or_default();
    match line.get(..end) {
        None | Some("") => Ok(()),
        Some(line) => writer.tlv(tlv::TEXT, line.as_bytes()),
    }
}
