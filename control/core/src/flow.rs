//! [`FlowKey`]: a flow in an order that serves lookups by local port.

use core::net::IpAddr;
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local};

/// A flow. Ordered by protocol and local port first, so that all flows of one socket's port stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowKey {
    pub(crate) protocol: u8,
    pub(crate) local_port: u16,
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) remote_port: u16,
}

impl FlowKey {
    /// The rule that covers exactly this flow.
    pub(crate) fn rule(&self) -> ProtocolAddress {
        ProtocolAddress::Flow {
            protocol: self.protocol,
            local: self.local,
            local_port: self.local_port,
            remote: self.remote,
            remote_port: self.remote_port,
        }
    }

    /// The listener rules that would cover it, the most exact first.
    pub(crate) fn listeners(&self) -> [ProtocolAddress; 3] {
        let family = if self.local.is_ipv4() { Family::V4 } else { Family::V6 };
        [Local::Address(self.local), Local::Any(family), Local::Any(Family::Both)]
            .map(|local| ProtocolAddress::Listener { protocol: self.protocol, local, port: self.local_port })
    }

    /// Whether it is an echo dialogue, which no socket dump shows.
    pub(crate) fn is_echo(&self) -> bool {
        matches!(self.protocol, 1 | 58)
    }
}

impl TryFrom<&ProtocolAddress> for FlowKey {
    type Error = ();

    fn try_from(address: &ProtocolAddress) -> Result<Self, ()> {
        match *address {
            ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => {
                Ok(Self { protocol, local_port, local, remote, remote_port })
            }
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => Err(()),
        }
    }
}
