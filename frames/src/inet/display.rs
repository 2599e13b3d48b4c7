//! One line per packet, as tcpdump would print it.

use super::{ArpOperation, EchoKind, Fragment, IcmpInner, Ip, Layer3, PacketView, Transport};
use crate::protocol_address::{Host, Protocol};
use core::fmt;

impl fmt::Display for PacketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} ethertype {:#06x}", self.source, self.destination, self.ethertype)?;
        match self.layer3 {
            Layer3::Arp { operation: ArpOperation::Request, sender, target } => {
                write!(f, ": arp who-has {target} tell {sender}")
            }
            Layer3::Arp { operation: ArpOperation::Reply, sender, target } => {
                write!(f, ": arp {sender} is-at {} to {target}", self.source)
            }
            Layer3::Arp { operation: ArpOperation::Other(operation), sender, target } => {
                write!(f, ": arp operation {operation} {sender} > {target}")
            }
            Layer3::Ip(ip) => write!(f, ": {ip}"),
            Layer3::Other => Ok(()),
        }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, protocol, fragment, transport } = self;
        let protocol = Protocol(*protocol);
        match transport {
            Transport::Ports { source: source_port, destination: destination_port, .. } => write!(
                f,
                "{}:{source_port} > {}:{destination_port} {protocol}",
                Host(*source),
                Host(*destination)
            )?,
            transport => write!(f, "{source} > {destination} {protocol}{transport}")?,
        }
        match fragment {
            Some(fragment) => write!(f, " {fragment}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frag {}@{}{}", self.id, self.offset, if self.more { "+" } else { "" })
    }
}

/// What follows the protocol's name: nothing where that says it all.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports { source, destination, .. } => write!(f, " {source} > {destination}"),
            Self::Echo { kind: EchoKind::Request, id } => write!(f, " echo request id {id}"),
            Self::Echo { kind: EchoKind::Reply, id } => write!(f, " echo reply id {id}"),
            Self::IcmpError(inner) => write!(f, " error about {inner}"),
            Self::NeighborSolicitation(target) => write!(f, " who-has {target}"),
            Self::NeighborAdvertisement(target) => write!(f, " tgt-is {target}"),
            Self::Icmp(kind) => write!(f, " type {kind}"),
            Self::LaterFragment | Self::Other => Ok(()),
        }
    }
}

impl fmt::Display for IcmpInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, protocol, ports } = self;
        let protocol = Protocol(*protocol);
        match ports {
            Some((source_port, destination_port)) => {
                write!(
                    f,
                    "{}:{source_port} > {}:{destination_port} {protocol}",
                    Host(*source),
                    Host(*destination)
                )
            }
            None => write!(f, "{source} > {destination} {protocol}"),
        }
    }
}
