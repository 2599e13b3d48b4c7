//! [`Outlets`]: what address symbols send, on its way out by the kernel's own routes.
//!
//! A socket for each virtual address, opened with its first packet. It takes whole packets only, so super-packets are cut here,
//! checksums completed, and IPv4 packets that are larger than the interface by which they would leave cut, if they may be.

use crate::complaint::Complaint;
use frames::data::PARCEL_MAX;
use frames::inet::{Fragments, Segments};
use l2link::Time;
use l2link_os::{IfIndex, IpSocket, NotSent};
use relay_core::Outlet;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// The sockets.
#[derive(Debug)]
pub(crate) struct Outlets {
    sockets: BTreeMap<IpAddr, (IfIndex, IpSocket)>,
    packet: Box<[u8]>,
    fragment: Box<[u8]>,
    complaint: Complaint,
}

/// What became of a parcel.
#[derive(Debug, Default)]
pub(crate) struct Routed<'a> {
    /// Packets for which there was no room.
    pub(crate) full: u64,
    /// Packets that the kernel refused.
    pub(crate) errors: u64,
    /// A packet that is larger than its way, whose sender is to be told, and the MTU.
    pub(crate) too_big: Option<(&'a [u8], u32)>,
}

/// What the kernel said of a packet.
enum Fate {
    Sent,
    Full,
    Refused,
    TooBig(u32),
}

impl Default for Outlets {
    fn default() -> Self {
        Self {
            sockets: BTreeMap::new(),
            packet: vec![0; PARCEL_MAX].into_boxed_slice(),
            fragment: vec![0; PARCEL_MAX].into_boxed_slice(),
            complaint: Complaint::default(),
        }
    }
}

impl Outlets {
    /// Sends the packets of a parcel. Link-local destinations are on the network of `scope`.
    pub(crate) fn send(&mut self, outlet: &Outlet, parcel: &[u8], scope: IfIndex, now: Time) -> Routed<'_> {
        let refused = Routed { errors: 1, ..Routed::default() };
        let Ok(mut segments) = Segments::new(parcel) else { return refused };
        let Some(destination) = segments.destination() else { return refused };
        let socket = match socket(&mut self.sockets, outlet.source, scope) {
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
                // The others of a super-packet are as large.
                Fate::TooBig(mtu) => {
                    routed.too_big = self.packet.get(..len).map(|packet| (packet, mtu));
                    break;
                }
            }
        }
        routed
    }

    /// Nothing is sent from this address for now.
    pub(crate) fn forget(&mut self, source: IpAddr) {
        self.sockets.remove(&source);
    }
}

fn socket(
    sockets: &mut BTreeMap<IpAddr, (IfIndex, IpSocket)>,
    source: IpAddr,
    scope: IfIndex,
) -> io::Result<&IpSocket> {
    if sockets.get(&source).is_none_or(|(of, _)| *of != scope) {
        sockets.insert(source, (scope, IpSocket::open(source, scope)?));
    }
    sockets.get(&source).map(|(_, socket)| socket).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn send(socket: &IpSocket, packet: &[u8], room: &mut [u8], destination: IpAddr) -> Fate {
    match socket.send(packet, destination) {
        Err(NotSent::TooLarge) => {}
        result => return fate(&result),
    }
    let Ok(mtu) = socket.mtu_towards(destination) else { return Fate::Refused };
    let Some(mut fragments) = Fragments::new(packet, mtu) else { return Fate::TooBig(mtu) };
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
        Err(NotSent::TooLarge | NotSent::Refused(_)) => Fate::Refused,
    }
}
