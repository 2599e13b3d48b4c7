//! ARP for IPv4 over Ethernet (RFC 826).

use super::{ArpOperation, Layer3};
use crate::{Mac, ParseError, tlv};
use core::net::Ipv4Addr;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(super) const ETHERTYPE: u16 = 0x0806;

const HARDWARE_ETHERNET: u16 = 1;
/// Linux takes it for Ethernet on an Ethernet interface (`arp_process`).
const HARDWARE_IEEE_802: u16 = 6;
const PROTOCOL_IPV4: u16 = 0x0800;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Fixed {
    hardware: U16,
    protocol: U16,
    hardware_length: u8,
    protocol_length: u8,
    operation: U16,
}
const _: () = assert!(size_of::<Fixed>() == 8);

/// The addresses behind [`Fixed`], for lengths 6 and 4.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Addresses {
    _sender_hardware: Mac,
    sender: [u8; 4],
    _target_hardware: Mac,
    target: [u8; 4],
}
const _: () = assert!(size_of::<Addresses>() == 20);

/// ARP for other hardware or protocols is [`Layer3::Other`].
pub(super) fn classify(packet: &[u8]) -> Result<Layer3, ParseError> {
    let (fixed, rest) = tlv::fixed::<Fixed>(packet)?;
    if !matches!(fixed.hardware.get(), HARDWARE_ETHERNET | HARDWARE_IEEE_802)
        || fixed.protocol.get() != PROTOCOL_IPV4
        || fixed.hardware_length != 6
        || fixed.protocol_length != 4
    {
        return Ok(Layer3::Other);
    }
    let (addresses, _padding) = tlv::fixed::<Addresses>(rest)?;
    Ok(Layer3::Arp {
        operation: match fixed.operation.get() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            other => ArpOperation::Other(other),
        },
        sender: Ipv4Addr::from(addresses.sender),
        target: Ipv4Addr::from(addresses.target),
    })
}
