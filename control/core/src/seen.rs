//! What the shell saw in the kernel: plain data, made from system calls.

use core::net::IpAddr;
use core::time::Duration;
use frames::message::Group;
use frames::{ProtocolAddress, SymbolId};

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

/// All open sockets of one network namespace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenSockets {
    /// The sockets, in any order; twins and inherited ones may come more than once.
    pub sockets: Vec<OpenSocket>,
    /// How long it took to look: expensive looks are taken less often.
    pub took: Duration,
}

/// A connection, or a connected datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Its flow: a [`ProtocolAddress::Flow`], anything else is ignored.
    pub flow: ProtocolAddress,
    /// TCP `TIME_WAIT`: keeps a rule that is there, but is no reason to make one.
    pub time_wait: bool,
}

/// All connections of one network namespace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// The connections, in any order.
    pub connections: Vec<Connection>,
    /// How long it took to look.
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
