//! Which sockets the programs of one network namespace have open.
//!
//! # Theory of operation
//!
//! The truth is a dump: [`SocketTable`] asks the kernel for every socket of the namespace and knows nothing else.
//! Everything else only says *when* to look again: [`crate::trigger`] when a socket may have been opened,
//! [`DestroyEvents`] when one was closed, [`MembershipEvents`] when a multicast group was joined or left. An event
//! that is lost or comes too often therefore costs time, never correctness. One rule makes it so: *drain the events,
//! then dump*. What changes while the dump is read may be missing from it or be in it for the last time, but its event
//! comes afterwards and causes the next dump.
//!
//! | sockets | dumped by | close told by |
//! |---|---|---|
//! | TCP (MPTCP listeners are TCP ones to the wire), UDP, UDP-Lite | `INET_DIAG` | [`DestroyEvents`] |
//! | SCTP, DCCP | `INET_DIAG`, where the kernel has it | nothing: dump from time to time while one is known |
//! | raw IP | `INET_RAW_DIAG`, else `/proc/net/raw{,6}` | nothing: likewise |
//! | packet (`AF_PACKET`) | `PACKET_DIAG` | nothing: likewise |
//!
//! ICMP "ping" sockets are clients only and are left out: their flows are learned from the first packet.
//!
//! All descriptors are opened inside the namespace once and keep pointing at it, so looking needs no `setns(2)`.

mod destroy;
mod held;
mod inet_diag;
mod membership;
pub(crate) mod netlink;
mod packet_diag;
mod proc_file;
mod proc_raw;
mod table;

pub use destroy::{ClosedSocket, DestroyEvents, Destroyed};
pub use held::{HeldKind, HeldSocket};
pub use membership::{Membership, MembershipEvents, MembershipTable};
pub use table::SocketTable;

use crate::IfIndex;
use core::net::{IpAddr, SocketAddr};
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local};

/// Sockets that are dumped together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those of `listen(2)`: TCP, SCTP, DCCP.
    Listeners,
    /// All others that wait for packets from anyone: UDP, UDP-Lite, raw and packet sockets.
    Others,
}

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketKind {
    /// TCP, and the TCP side of MPTCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite (RFC 3828).
    UdpLite,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
    /// A raw socket of this IP protocol.
    Raw {
        /// IP protocol number; 255 means that it only sends (raw(7)).
        protocol: u8,
    },
    /// A packet socket.
    Packet {
        /// EtherType; 0x0003 is every frame, other values below 0x600 are Linux's pseudo types
        /// (`linux/if_ether.h`).
        ethertype: u16,
    },
}

/// State of a socket, with Linux's numbers (`net/tcp_states.h`). A number space that may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketState(pub u8);

impl SocketState {
    /// Connected, of TCP and UDP.
    pub const ESTABLISHED: Self = Self(1);
    /// A TCP connection begun by this side.
    pub const SYN_SENT: Self = Self(2);
    /// A TCP connection begun by the other side.
    pub const SYN_RECV: Self = Self(3);
    /// A TCP connection closed by this side, waiting out old segments.
    pub const TIME_WAIT: Self = Self(6);
    /// Not connected: the state of UDP, raw and packet sockets that are not.
    pub const CLOSE: Self = Self(7);
    /// A TCP listener.
    pub const LISTEN: Self = Self(10);
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Its kind.
    pub kind: SocketKind,
    /// Local address. A wildcard says which IP versions it stands for: [`Family::Both`] is a dual-stack socket.
    /// IPv4-mapped addresses are given as the IPv4 ones that they are. [`Family::Both`] for packet sockets.
    pub local: Local,
    /// Local port; zero for raw and packet sockets.
    pub local_port: u16,
    /// The other end, if connected. Port zero for raw sockets.
    pub remote: Option<SocketAddr>,
    /// The interface to which the socket is bound: `SO_BINDTODEVICE`, the scope of a link-local address, or the
    /// interface of a packet socket.
    pub interface: Option<IfIndex>,
    /// Its state.
    pub state: SocketState,
    /// Inode number as in `/proc/PID/fd`; zero where the kernel tells none (a connection not yet accepted).
    pub inode: u32,
    /// Effective user at its creation.
    pub uid: u32,
    /// Connections that wait to be accepted, and how many there can be; zero of any but a TCP listener.
    pub queue: (u32, u32),
}

impl SocketKind {
    /// IP protocol number of a kind with ports.
    #[must_use]
    pub const fn port_protocol(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Dccp => Some(33),
            Self::Sctp => Some(132),
            Self::UdpLite => Some(136),
            Self::Raw { .. } | Self::Packet { .. } => None,
        }
    }

    /// The reverse.
    const fn of_port_protocol(protocol: u8) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            33 => Some(Self::Dccp),
            132 => Some(Self::Sctp),
            136 => Some(Self::UdpLite),
            _ => None,
        }
    }
}

impl Socket {
    /// What the socket receives by itself, as a rule names it: the listener, IP protocol or EtherType. `None` for a
    /// connection, and for a raw socket that only sends.
    #[must_use]
    pub fn listens_for(&self) -> Option<ProtocolAddress> {
        match self.kind {
            SocketKind::Raw { protocol: 255 } => None,
            SocketKind::Raw { protocol } => Some(ProtocolAddress::IpProtocol { protocol, local: self.local }),
            SocketKind::Packet { ethertype } => Some(ProtocolAddress::EtherType(ethertype)),
            kind if self.remote.is_none() && self.local_port != 0 => Some(ProtocolAddress::Listener {
                protocol: kind.port_protocol()?,
                local: self.local,
                port: self.local_port,
            }),
            _ => None,
        }
    }

    /// The flow of a connected socket, as a rule names it.
    #[must_use]
    pub fn flow(&self) -> Option<ProtocolAddress> {
        let (protocol, remote) = (self.kind.port_protocol()?, self.remote?);
        match self.local {
            Local::Address(local) if local.is_ipv4() == remote.is_ipv4() => Some(ProtocolAddress::Flow {
                protocol,
                local,
                local_port: self.local_port,
                remote: remote.ip(),
                remote_port: remote.port(),
            }),
            Local::Address(_) | Local::Any(_) => None,
        }
    }
}

/// An address as the kernel shows it, as a [`Local`]. `v6only` counts for the IPv6 wildcard only.
fn local(address: IpAddr, v6only: bool) -> Local {
    match address.to_canonical() {
        address if !address.is_unspecified() => Local::Address(address),
        IpAddr::V4(_) => Local::Any(Family::V4),
        IpAddr::V6(_) if v6only => Local::Any(Family::V6),
        IpAddr::V6(_) => Local::Any(Family::Both),
    }
}
