//! Rules, and the keys by which the dispatch table finds them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::protocol_address::{Family, Local, octets};
use frames::{PortId, ProtocolAddress, SymbolId, UpTunnel};
use l2link::PeerId;

/// {port, protocol address} → {up tunnel, control}: a transfer request (M5) in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The control.
    pub(crate) peer: PeerId,
    /// Allotted by the control.
    pub(crate) tunnel: UpTunnel,
    /// The control's symbol.
    pub(crate) symbol: SymbolId,
    pub(crate) port: PortId,
    pub(crate) protocol_address: ProtocolAddress,
    /// Share of new flows; 0 takes none.
    pub(crate) weight: u16,
    /// Left from an earlier session of the control, in force until the control ends its table.
    pub(crate) stale: bool,
    /// Its place in the order in which rules came; set by the table.
    pub(crate) since: u64,
    /// Packets sent up.
    pub(crate) packets: u64,
    /// Bytes sent up, Ethernet header included.
    pub(crate) bytes: u64,
}

/// What one lookup in the dispatch table asks for. Addresses are in their 128-bit form; "any" is the unspecified
/// address of a version, so that a wildcard of both versions stands under two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Flow { port: PortId, protocol: u8, local: u128, local_port: u16, remote: u128, remote_port: u16 },
    Listener { port: PortId, protocol: u8, local: u128, local_port: u16 },
    IpProtocol { port: PortId, protocol: u8, local: u128 },
    EtherType { port: PortId, ethertype: u16 },
}

impl Key {
    #[inline]
    pub(crate) fn flow(
        port: PortId,
        protocol: u8,
        (local, local_port): (IpAddr, u16),
        (remote, remote_port): (IpAddr, u16),
    ) -> Self {
        Self::Flow { port, protocol, local: wide(local), local_port, remote: wide(remote), remote_port }
    }

    pub(crate) fn listener(port: PortId, protocol: u8, local: IpAddr, local_port: u16) -> Self {
        Self::Listener { port, protocol, local: wide(local), local_port }
    }

    pub(crate) fn ip_protocol(port: PortId, protocol: u8, local: IpAddr) -> Self {
        Self::IpProtocol { port, protocol, local: wide(local) }
    }

    pub(crate) fn ethertype(port: PortId, ethertype: u16) -> Self {
        Self::EtherType { port, ethertype }
    }

    /// The keys under which a rule stands: one, or two for a wildcard of both versions of IP.
    pub(crate) fn of(port: PortId, address: &ProtocolAddress) -> impl Iterator<Item = Self> + use<> {
        let (first, second) = match *address {
            ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => {
                (Self::flow(port, protocol, (local, local_port), (remote, remote_port)), None)
            }
            ProtocolAddress::Listener { protocol, local, port: local_port } => {
                let key = |local| Self::listener(port, protocol, local, local_port);
                let (first, second) = locals(local);
                (key(first), second.map(key))
            }
            ProtocolAddress::IpProtocol { protocol, local } => {
                let key = |local| Self::ip_protocol(port, protocol, local);
                let (first, second) = locals(local);
                (key(first), second.map(key))
            }
            ProtocolAddress::EtherType(ethertype) => (Self::ethertype(port, ethertype), None),
        };
        core::iter::once(first).chain(second)
    }

    /// Place of the key's class in counts by class.
    pub(crate) const fn class(&self) -> usize {
        match self {
            Self::Flow { .. } => Self::FLOW,
            Self::Listener { .. } => 1,
            Self::IpProtocol { .. } => 2,
            Self::EtherType { .. } => 3,
        }
    }

    pub(crate) const CLASSES: usize = 4;
    /// The class of flows.
    pub(crate) const FLOW: usize = 0;
}

/// "Any address" of the version of `address`.
pub(crate) const fn any_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn locals(local: Local) -> (IpAddr, Option<IpAddr>) {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match local {
        Local::Address(address) => (address, None),
        Local::Any(Family::V4) => (V4, None),
        Local::Any(Family::V6) => (V6, None),
        Local::Any(Family::Both) => (V4, Some(V6)),
    }
}

#[inline]
fn wide(address: IpAddr) -> u128 {
    u128::from_be_bytes(octets(address))
}
