//! What the shell saw in the kernel: plain data, made from system calls.

use crate::NamespaceId;
use core::net::IpAddr;
use core::time::Duration;
use frames::message::Group;
use frames::route::{RouteKey, RouteKind};
use frames::{ProtocolAddress, SymbolId};
use std::borrow::Cow;

/// Number of an interface in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// A socket that receives from anyone: listener, unconnected datagram socket, raw socket, packet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenSocket {
    /// What it listens for; never a flow.
    pub address: ProtocolAddress,
    /// The interface to which it is bound (`SO_BINDTODEVICE`, `sll_ifindex`, the scope of a link-local address).
    pub interface: Option<IfIndex>,
}

/// Sockets that are looked at together: events tell which of the two may have changed, and a look at one of them does not wait
/// for what looks at the other cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketPart {
    /// Those of `listen(2)`: TCP, SCTP, DCCP.
    Listeners,
    /// All others: UDP, UDP-Lite, raw and packet sockets.
    Others,
}

impl SocketPart {
    /// Both, those first for which clients wait.
    pub const ALL: [Self; 2] = [Self::Listeners, Self::Others];

    /// That of the sockets of an IP protocol.
    #[must_use]
    pub const fn of_protocol(protocol: u8) -> Self {
        match protocol {
            TCP | DCCP | SCTP => Self::Listeners,
            _ => Self::Others,
        }
    }

    /// That of the sockets that want a rule.
    #[must_use]
    pub const fn of(rule: &ProtocolAddress) -> Self {
        match *rule {
            ProtocolAddress::Listener { protocol, .. } => Self::of_protocol(protocol),
            ProtocolAddress::Flow { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => Self::Others,
        }
    }
}

pub(crate) const TCP: u8 = 6;
const DCCP: u8 = 33;
const SCTP: u8 = 132;

/// Something of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts<T> {
    listeners: T,
    others: T,
}

impl<T> Parts<T> {
    pub(crate) const fn of(&self, part: SocketPart) -> &T {
        match part {
            SocketPart::Listeners => &self.listeners,
            SocketPart::Others => &self.others,
        }
    }

    pub(crate) const fn of_mut(&mut self, part: SocketPart) -> &mut T {
        match part {
            SocketPart::Listeners => &mut self.listeners,
            SocketPart::Others => &mut self.others,
        }
    }

    /// Both, in the order of [`SocketPart::ALL`].
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        [&self.listeners, &self.others].into_iter()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.listeners, &mut self.others].into_iter()
    }
}

/// All open sockets of one part, of one network namespace, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenSockets {
    /// The sockets, in any order; twins and inherited ones may come more than once.
    pub sockets: Vec<OpenSocket>,
    /// Connected datagram sockets, if the part is that of datagrams.
    pub connections: Vec<Connection>,
    /// The queues of listeners in which connections wait.
    pub queues: Vec<Queue>,
    /// The processor's time that it took to look: expensive looks are taken less often.
    pub took: Duration,
}

/// Connections that wait to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Whose.
    pub listener: ProtocolAddress,
    /// How many.
    pub waiting: u32,
    /// How many there can be (`listen(2)`).
    pub room: u32,
}

/// A connection, or a connected datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Its flow: a [`ProtocolAddress::Flow`], anything else is ignored.
    pub flow: ProtocolAddress,
    /// TCP `TIME_WAIT`: keeps a rule that is there, but is no reason to make one.
    pub time_wait: bool,
}

/// A socket by the number under which processes hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberedSocket {
    /// Where it is.
    pub namespace: NamespaceId,
    /// What it listens for, or its flow.
    pub address: ProtocolAddress,
    /// As of an [`OpenSocket`].
    pub interface: Option<IfIndex>,
    /// Inode number, as `/proc/PID/fd` shows it; never zero.
    pub inode: u32,
}

/// All connections of one network namespace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// The connections, in any order.
    pub connections: Vec<Connection>,
    /// The processor's time that it took to look.
    pub took: Duration,
}

/// A socket that the kernel told was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClosedSocket {
    /// IP protocol number.
    pub protocol: u8,
    /// Local address.
    pub local: IpAddr,
    /// Local port.
    pub local_port: u16,
    /// The other end's address and port, if it was connected.
    pub remote: Option<(IpAddr, u16)>,
}

/// The groups to which a symbol's interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolGroups {
    /// The symbol.
    pub symbol: SymbolId,
    /// IP and Ethernet groups, those that the kernel joins by itself included.
    pub groups: Vec<Group>,
}

/// A route of a namespace's kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which.
    pub key: RouteKey,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Largest packet in bytes, zero for the interface's.
    pub mtu: u32,
    /// Where it leads.
    pub nexthops: Vec<RouteHop>,
    /// What of it cannot be told to a relay, in words.
    pub unsupported: Option<Cow<'static, str>>,
}

/// A nexthop of a [`Route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteHop {
    /// The interface by which packets leave.
    pub interface: IfIndex,
    /// The neighbour; none if the destination itself is one.
    pub gateway: Option<IpAddr>,
    /// Share of flows, from 1.
    pub weight: u16,
    /// Whether the gateway counts as reachable whatever the interface's addresses.
    pub onlink: bool,
}

/// How a route came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChange {
    /// As a new one, beside what there is of its key.
    New,
    /// In the place of the one of its key.
    Replaced,
    /// Behind the one of its key.
    Appended,
}

/// Versions of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteFamilies {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl RouteFamilies {
    /// Both.
    pub const BOTH: Self = Self { ipv4: true, ipv6: true };

    /// That of a route.
    #[must_use]
    pub fn of(key: &RouteKey) -> Self {
        let ipv4 = key.prefix.address().is_ipv4();
        Self { ipv4, ipv6: !ipv4 }
    }
}
