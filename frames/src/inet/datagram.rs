//! What IPv4 and IPv6 have in common once their headers have been walked over.

use super::{Fragment, Transport, icmp, transport};
use crate::ParseError;
use core::net::IpAddr;

/// How much of a packet the bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, perhaps with Ethernet padding behind: length fields are checked.
    Whole,
    /// Its beginning, inside an ICMP error: length fields are not looked at (routers are known to mangle them), and
    /// the bytes may end anywhere behind the fixed header.
    Beginning,
}

/// An IP packet with its network headers taken off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Protocol of `payload`.
    pub(super) protocol: u8,
    /// Present unless the packet is whole.
    pub(super) fragment: Option<Fragment>,
    /// Transport header and what follows; in a later fragment, bytes from the middle.
    pub(super) payload: &'a [u8],
}

impl Datagram<'_> {
    /// Reads the transport header.
    pub(super) fn transport(&self) -> Result<Transport, ParseError> {
        if self.is_later_fragment() {
            return Ok(Transport::LaterFragment);
        }
        match self.protocol {
            icmp::ICMP if self.source.is_ipv4() => icmp::classify(self.payload),
            icmp::ICMPV6 if self.source.is_ipv6() => icmp::classify_v6(self.payload),
            protocol if transport::has_ports(protocol) => {
                let (source, destination) = transport::ports(self.payload)?;
                let tcp = transport::tcp(protocol, self.payload);
                Ok(Transport::Ports { source, destination, tcp })
            }
            _ => Ok(Transport::Other),
        }
    }

    /// Whether the payload lacks a transport header.
    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}
