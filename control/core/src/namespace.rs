//! [`Namespace`]: what is known of one network namespace in which symbols stand.

use crate::ended::Ended;
use crate::looks::{Looks, SocketLooks};
use crate::seen::{Connection, OpenSocket, OpenSockets, Parts, SocketPart};
use core::fmt;
use frames::ProtocolAddress;
use std::collections::BTreeSet;

/// A network namespace of the configuration: place in [`crate::Control::namespaces`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u32);

impl NamespaceId {
    /// That of file symbols, which stand in none.
    pub const NONE: Self = Self(u32::MAX);
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {}", self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    /// Its name; none is the daemon's own.
    pub(crate) name: Option<String>,
    /// What the last look at each part found, sorted.
    pub(crate) sockets: Parts<Vec<OpenSocket>>,
    /// The connected datagram sockets that were seen with them.
    pub(crate) datagrams: Vec<Connection>,
    /// Protocol and port of the unconnected datagram sockets among them.
    pub(crate) datagram_ports: BTreeSet<(u8, u16)>,
    pub(crate) socket_looks: SocketLooks,
    pub(crate) connection_looks: Looks,
    pub(crate) group_looks: Looks,
    /// Connections of TCP that ended a moment ago.
    pub(crate) ended: Ended,
}

impl Namespace {
    pub(crate) fn new(id: NamespaceId, name: Option<String>) -> Self {
        Self {
            id,
            name,
            sockets: Parts::default(),
            datagrams: Vec::new(),
            datagram_ports: BTreeSet::new(),
            socket_looks: SocketLooks::default(),
            connection_looks: Looks::default(),
            group_looks: Looks::default(),
            ended: Ended::default(),
        }
    }

    /// Takes what a look found; returns whether other sockets are open.
    pub(crate) fn replace_sockets(&mut self, part: SocketPart, seen: &OpenSockets) -> bool {
        if part == SocketPart::Others {
            self.datagrams.clone_from(&seen.connections);
        }
        let mut sockets = seen.sockets.clone();
        sockets.sort_unstable();
        sockets.dedup();
        let known = self.sockets.of_mut(part);
        if sockets == *known {
            return false;
        }
        *known = sockets;
        if part == SocketPart::Others {
            self.datagram_ports = known.iter().filter_map(datagram_port).collect();
        }
        true
    }

    /// No symbol stands here any more.
    pub(crate) fn forget(&mut self) {
        self.sockets = Parts::default();
        self.datagrams.clear();
        self.datagram_ports.clear();
        self.socket_looks.stop();
        self.connection_looks.stop();
        self.group_looks.stop();
        self.ended = Ended::default();
    }
}

const UDP: u8 = 17;
const UDP_LITE: u8 = 136;

fn datagram_port(socket: &OpenSocket) -> Option<(u8, u16)> {
    match socket.address {
        ProtocolAddress::Listener { protocol: protocol @ (UDP | UDP_LITE), port, .. } => {
            Some((protocol, port))
        }
        ProtocolAddress::Listener { .. }
        | ProtocolAddress::Flow { .. }
        | ProtocolAddress::IpProtocol { .. }
        | ProtocolAddress::EtherType(_) => None,
    }
}
