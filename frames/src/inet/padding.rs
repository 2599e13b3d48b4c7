//! [`without_padding`]: where a frame ends by its packet's own length.

use super::{ipv4, ipv6};
use crate::header::EthernetHeader;
use crate::{ParseError, tlv};

/// Cuts an untagged Ethernet frame where the IPv4 or IPv6 packet in it ends. Unlike [`super::classify()`] it takes no length of
/// zero for "to the end of the frame".
///
/// # Errors
/// [`ParseError::Truncated`] if the packet ends beyond the bytes, [`ParseError::Value`] for another EtherType, another version
/// than the EtherType says, and a length that no packet has: in IPv4 less than a header, in IPv6 the zero of jumbograms.
pub fn without_padding(bytes: &[u8]) -> Result<&[u8], ParseError> {
    let (ethernet, packet) = tlv::fixed::<EthernetHeader>(bytes)?;
    let packet_length = match ethernet.ethertype.get() {
        ipv4::ETHERTYPE => ipv4::packet_length(packet)?,
        ipv6::ETHERTYPE => ipv6::packet_length(packet)?,
        other => return Err(ParseError::Value { field: "ethertype", value: other.into() }),
    };
    let need = size_of::<EthernetHeader>().saturating_add(packet_length);
    bytes.get(..need).ok_or(ParseError::Truncated { need, have: bytes.len() })
}
