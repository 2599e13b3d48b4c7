//! [`Outlets`]: what address symbols send, on its way out by the kernel's own routes.
//!
//! A socket for each virtual address, opened with its first packet. It takes whole packets only, so super-packets are cut here,
//! unless there is a shortcut for them, checksums completed, and IPv4 packets that are larger than the interface by which they would
//! leave cut, if they may be. By the same socket come the errors that the kernel makes later: it takes the packets for those of a
//! program of the relay.

use crate::complaint::Complaint;
use crate::ports::Ports;
use crate::shortcuts::Shortcuts;
use crate::source::Source;
use crate::wire::register;
use frames::PortId;
use frames::data::PARCEL_MAX;
use frames::inet::{Fragments, Obstacle, Segments};
use l2link::Time;
use l2link_os::{IfIndex, IpSocket, NetNs, NotSent, SetupError};
use mio::Registry;
use relay_core::Outlet;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// The sockets.
#[derive(Debug)]
pub(crate) struct Outlets {
    sockets: BTreeMap<IpAddr, Socket>,
    shortcuts: Shortcuts,
    packet: Box<[u8]>,
    fragment: Box<[u8]>,
    complaint: Complaint,
}

#[derive(Debug)]
struct Socket {
    port: PortId,
    scope: IfIndex,
    socket: IpSocket,
}

/// What became of a parcel.
#[derive(Debug, Default)]
pub(crate) struct Routed<'a> {
    /// Packets for which there was no room.
    pub(crate) full: u64,
    /// Packets that the kernel refused.
    pub(crate) errors: u64,
    /// A packet that does not come through, whose sender is to be told, and why.
    pub(crate) stopped: Option<(&'a [u8], Obstacle)>,
}

/// What the kernel said of a packet.
enum Fate {
    Sent,
    Full,
    Refused,
    Stopped(Obstacle),
}

impl Outlets {
    pub(crate) fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Ok(Self {
            sockets: BTreeMap::new(),
            shortcuts: Shortcuts::open(netns)?,
            packet: vec![0; PARCEL_MAX].into_boxed_slice(),
            fragment: vec![0; PARCEL_MAX].into_boxed_slice(),
            complaint: Complaint::default(),
        })
    }

    /// Sends the packets of a parcel, whose Ethernet header may be overwritten.
    pub(crate) fn send(
        &mut self,
        outlet: &Outlet,
        parcel: &mut [u8],
        ports: &mut Ports,
        registry: &Registry,
        now: Time,
    ) -> Routed<'_> {
        let refused = Routed { errors: 1, ..Routed::default() };
        let Ok(mut segments) = Segments::new(parcel) else { return refused };
        let Some(destination) = segments.destination() else { return refused };
        let longest = segments.longest_of_tcp().filter(|_| !is_of_one_network(destination));
        let ends = (outlet.source, destination);
        // Link-local destinations are on the network of this port.
        let scope = ports.ifindex(outlet.port);
        if let Some(longest) = longest {
            if self.shortcuts.send(ends, longest, parcel, ports, now) {
                return Routed::default();
            }
            let Ok(anew) = Segments::new(parcel) else { return refused };
            segments = anew;
        }
        let socket = match socket(&mut self.sockets, outlet, scope, registry) {
            Ok(socket) => socket,
            Err(error) => {
                let text = format!("sending from {}: {error}", outlet.source);
                self.complaint.warn("relay::port", text, now);
                return refused;
            }
        };
        let mut routed = Routed::default();
        while let Some(len) = segments.write_next(&mut self.packet) {
            let Some(packet) = self.packet.get(..len) else { break };
            match send(socket, packet, &mut self.fragment, destination) {
                Fate::Sent => {}
                Fate::Full => routed.full += 1,
                Fate::Refused => routed.errors += 1,
                // The others of a super-packet fare no better.
                Fate::Stopped(obstacle) => {
                    routed.stopped = self.packet.get(..len).map(|packet| (packet, obstacle));
                    break;
                }
            }
        }
        if longest.is_some() && (routed.full, routed.errors, &routed.stopped) == (0, 0, &None) {
            self.shortcuts.note_taken(ends, now);
        }
        routed
    }

    /// The next of the errors that the kernel sent to these addresses, with the port whose address it is.
    pub(crate) fn next_error(&mut self, now: Time) -> Option<(PortId, &[u8])> {
        for Socket { port, socket, .. } in self.sockets.values() {
            match socket.next_error(&mut self.packet) {
                Ok(Some(len)) => return Some((*port, self.packet.get(..len)?)),
                Ok(None) => {}
                Err(error) => {
                    self.complaint.warn("relay::port", format!("listening for errors: {error}"), now);
                }
            }
        }
        None
    }

    /// Nothing is sent from this address for now.
    pub(crate) fn forget(&mut self, source: IpAddr) {
        self.sockets.remove(&source);
    }
}

/// Whether the kernel needs to be told by which interface.
fn is_of_one_network(destination: IpAddr) -> bool {
    matches!(destination, IpAddr::V6(destination) if destination.is_unicast_link_local())
}

fn socket<'a>(
    sockets: &'a mut BTreeMap<IpAddr, Socket>,
    outlet: &Outlet,
    scope: IfIndex,
    registry: &Registry,
) -> io::Result<&'a IpSocket> {
    let fits = |known: &Socket| known.scope == scope && known.port == outlet.port;
    if !sockets.get(&outlet.source).is_some_and(fits) {
        let socket = IpSocket::open(outlet.source, scope)?;
        register(registry, &socket, Source::OwnErrors)?;
        sockets.insert(outlet.source, Socket { port: outlet.port, scope, socket });
    }
    let found = sockets.get(&outlet.source).map(|known| &known.socket);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn send(socket: &IpSocket, packet: &[u8], room: &mut [u8], destination: IpAddr) -> Fate {
    match socket.send(packet, destination) {
        Err(NotSent::TooLarge) => {}
        result => return fate(&result),
    }
    let Ok(mtu) = socket.mtu_towards(destination) else { return Fate::Refused };
    let Some(mut fragments) = Fragments::new(packet, mtu) else {
        return Fate::Stopped(Obstacle::TooBig(mtu));
    };
    while let Some(len) = fragments.write_next(room) {
        let fragment = room.get(..len).unwrap_or_default();
        let result = socket.send(fragment, destination);
        if result.is_err() {
            return fate(&result);
        }
    }
    Fate::Sent
}

fn fate(result: &Result<(), NotSent>) -> Fate {
    match result {
        Ok(()) => Fate::Sent,
        Err(NotSent::Full) => Fate::Full,
        Err(NotSent::NoRoute) => Fate::Stopped(Obstacle::NoRoute),
        Err(NotSent::TooLarge | NotSent::Refused(_)) => Fate::Refused,
    }
}
