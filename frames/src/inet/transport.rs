//! The port numbers that the common transport protocols begin with.

use crate::{ParseError, tlv};
use bitflags::bitflags;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |          source port          |       destination port        |
/// +-------------------------------+-------------------------------+
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ports {
    source: U16,
    destination: U16,
}
const _: () = assert!(size_of::<Ports>() == 4);

/// Whether the protocol's header begins with two port numbers (RFC 9293, 768, 4340, 9260, 3828).
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | DCCP | SCTP | UDP_LITE)
}

/// Source and destination port. The rest of the header may be missing: an ICMP error or a first fragment need not
/// hold it.
pub(super) fn ports(payload: &[u8]) -> Result<(u16, u16), ParseError> {
    let (ports, _) = tlv::fixed::<Ports>(payload)?;
    Ok((ports.source.get(), ports.destination.get()))
}

/// What a TCP header says besides its ports (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tcp {
    /// Sequence number.
    pub sequence: u32,
    /// Control bits.
    pub flags: TcpFlags,
}

/// Control bits of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(u8);

bitflags! {
    impl TcpFlags: u8 {
        /// No more data from sender.
        const FIN = 0x01;
        /// Synchronize sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// The acknowledgment field is significant.
        const ACK = 0x10;
        const _ = !0;
    }
}

impl Tcp {
    /// What is known of a packet without a TCP header.
    pub const NONE: Self = Self { sequence: 0, flags: TcpFlags::empty() };

    /// Whether the segment asks for a new connection.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.flags.contains(TcpFlags::SYN) && !self.flags.intersects(TcpFlags::ACK | TcpFlags::RST)
    }

    /// Whether the segment resets a connection.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.flags.contains(TcpFlags::RST)
    }

    /// Whether the segment tells that nobody listens (RFC 9293, 3.10.7.1). The sequence number of a connection that is there
    /// is zero once in four thousand million times.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.flags.contains(TcpFlags::RST | TcpFlags::ACK) && self.sequence == 0
    }
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |          source port          |       destination port        |
/// +-------------------------------+-------------------------------+
/// |                           sequence                            |
/// +---------------------------------------------------------------+
/// |                        acknowledgment                         |
/// +---------------+---------------+-------------------------------+
/// |    offset     |     flags     |            window             |
/// +---------------+---------------+-------------------------------+
/// ```
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TcpWire {
    ports: Ports,
    sequence: U32,
    acknowledgment: U32,
    offset: u8,
    flags: u8,
    window: U16,
}
const _: () = assert!(size_of::<TcpWire>() == 16);

/// The beginning of a TCP header, as far as it is there: an ICMP error or a first fragment need not hold it.
pub(super) fn tcp(protocol: u8, payload: &[u8]) -> Tcp {
    match tlv::fixed::<TcpWire>(payload) {
        Ok((wire, _)) if protocol == TCP => {
            Tcp { sequence: wire.sequence.get(), flags: TcpFlags::from_bits_retain(wire.flags) }
        }
        _ => Tcp::NONE,
    }
}
