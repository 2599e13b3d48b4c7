//! [`Ports`]: a socket for each port whose interface is there.

use crate::complaint::Complaint;
use crate::cuts::Cuts;
use crate::interfaces::Address;
use crate::source::Source;
use crate::wire::{Failed, register};
use ::fast_path::Cache;
use frames::data::OffloadHeader;
use frames::message::{Group, PortAddress, PortFlags};
use frames::{DropReason, Mac, PortId};
use l2link::Time;
use l2link_os::{CaptureFilter, Conversations, IfIndex, LinkInfo, PortSocket, SetupError};
use mio::Registry;
use relay_core::{Capture, PortState, Recorded, WaysOut};
use std::collections::BTreeSet;
use std::io;

/// The ports, by their ids.
#[derive(Debug)]
pub(crate) struct Ports {
    /// The place of one that is offered no more stays empty.
    ports: Vec<Option<Port>>,
    /// Of the parcels that were received last.
    cuts: Cuts,
    link_ethertype: u16,
}

#[derive(Debug)]
struct Port {
    id: PortId,
    interface: String,
    /// `None` while there is no such interface, or none that can be used.
    socket: Option<PortSocket>,
    /// The interface's Ethernet address and MTU.
    mac: Mac,
    mtu: u32,
    /// Whether parcels were queued since the last flush.
    queued: bool,
    /// Whether its last turn left something.
    more: bool,
    complaint: Complaint,
}

impl Ports {
    /// Ports of these interfaces, none of them open yet.
    pub(crate) fn new(interfaces: impl IntoIterator<Item = String>, link_ethertype: u16) -> Self {
        let mut ports = Self { ports: Vec::new(), cuts: Cuts::default(), link_ethertype };
        interfaces.into_iter().for_each(|interface| ports.add(interface));
        ports
    }

    fn add(&mut self, interface: String) {
        let id = PortId(u32::try_from(self.ports.len() + 1).unwrap_or(u32::MAX));
        let complaint = Complaint::default();
        let (socket, mac, mtu) = (None, Mac::default(), 0);
        self.ports.push(Some(Port {
            id,
            interface,
            socket,
            mac,
            mtu,
            queued: false,
            more: false,
            complaint,
        }));
    }

    /// Closes the ports that are not in the list, and adds those that are not there: as the core numbers them.
    pub(crate) fn replace(&mut self, interfaces: &[&str]) {
        for port in &mut self.ports {
            port.take_if(|port| !interfaces.contains(&port.interface.as_str()));
        }
        for interface in interfaces {
            if !self.open_or_not().any(|port| port.interface == *interface) {
                self.add((*interface).to_owned());
            }
        }
    }

    fn open_or_not(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten()
    }

    /// Opens the interfaces that are there when the daemon starts. One that is not may come later.
    pub(crate) fn open(&mut self, links: &[LinkInfo], registry: &Registry) -> Result<(), SetupError> {
        for (place, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            match port.find(links) {
                Some(info) => {
                    port.socket = Some(port.open(place, info, self.link_ethertype, registry)?);
                    port.note(info);
                }
                None => log::warn!(
                    target: "relay::port",
                    "port {}: there is no such interface; waiting for it", port.interface
                ),
            }
        }
        Ok(())
    }

    /// Follows the interfaces, and tells the relay what they are like. Returns whether to look again soon.
    pub(crate) fn follow(
        &mut self,
        links: &[LinkInfo],
        addresses: &[Address],
        ways_out: &WaysOut,
        relay: &mut Recorded,
        registry: &Registry,
        now: Time,
    ) -> bool {
        let mut again = false;
        for (place, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            let info = port.find(links);
            let index = info.map(|info| info.ifindex);
            info.into_iter().for_each(|info| port.note(info));
            if port.socket.take_if(|socket| Some(socket.ifindex()) != index || !socket.is_bound()).is_some() {
                // Whatever comes next, the old socket's groups and filter are gone with it.
                relay.handle_port_state(port.id, None);
            }
            if let (Some(info), None) = (info, &port.socket) {
                match port.open(place, info, self.link_ethertype, registry) {
                    Ok(socket) => {
                        port.socket = Some(socket);
                        port.complaint.clear();
                    }
                    Err(error) => {
                        port.complaint.warn("relay::port", format!("port {}: {error}", port.interface), now);
                        again = true;
                    }
                }
            }
            let state = info.filter(|_| port.socket.is_some()).map(|info| state(info, addresses, ways_out));
            relay.handle_port_state(port.id, state);
        }
        let elsewhere: Vec<_> = addresses
            .iter()
            .filter(|address| !self.open_or_not().any(|port| port.is(address.at.ifindex)))
            .map(|address| address.at.address)
            .collect();
        relay.handle_addresses(&elsewhere);
        again
    }

    /// Whether this is the interface of a port that is open.
    pub(crate) fn has(&self, ifindex: IfIndex) -> bool {
        self.open_or_not().any(|port| port.is(ifindex))
    }

    /// The interface of a port.
    pub(crate) fn interface(&self, id: PortId) -> Option<&str> {
        let port = self.open_or_not().find(|port| port.id == id);
        port.map(|port| port.interface.as_str())
    }

    /// The interface number of a port; zero while there is none.
    pub(crate) fn ifindex(&self, id: PortId) -> IfIndex {
        let port = self.open_or_not().find(|port| port.id == id);
        port.and_then(|port| port.socket.as_ref()).map_or(IfIndex(0), PortSocket::ifindex)
    }

    /// The interfaces of the ports that are open.
    pub(crate) fn ifindexes(&self) -> BTreeSet<u32> {
        let sockets = self.open_or_not().filter_map(|port| port.socket.as_ref());
        sockets.map(|socket| socket.ifindex().0).collect()
    }

    /// How many places there are.
    pub(crate) fn len(&self) -> usize {
        self.ports.len()
    }

    /// The id of the port at this place, if it is still offered.
    pub(crate) fn id(&self, place: usize) -> Option<PortId> {
        self.ports.get(place)?.as_ref().map(|port| port.id)
    }

    /// Takes parcels out of a port's socket, and cuts those that are in tunnels; zero if none waits. After a failure, which ends
    /// with the call, there may be.
    pub(crate) fn receive(
        &mut self,
        place: usize,
        relay: &mut Recorded,
        conversations: &mut Conversations,
        now: Time,
    ) -> Result<usize, Failed> {
        let Some(Some(port)) = self.ports.get_mut(place) else { return Ok(0) };
        let Some(socket) = &mut port.socket else { return Ok(0) };
        let received = socket.receive(conversations, now);
        relay.handle_drops(DropReason::PortRxOverrun, socket.overruns());
        relay.handle_drops(DropReason::TooLarge, socket.skipped());
        match received {
            Ok(count) => Ok(self.cuts.cut(socket, count)),
            Err(error) => {
                if error.kind() != io::ErrorKind::NetworkDown {
                    let text = format!("receiving at port {}: {error}", port.interface);
                    port.complaint.warn("relay::port", text, now);
                }
                Err(Failed)
            }
        }
    }

    /// Notes whether a turn of the port at this place has left something.
    pub(crate) fn note_turn(&mut self, place: usize, more: bool) {
        if let Some(Some(port)) = self.ports.get_mut(place) {
            port.more = more;
        }
    }

    /// Whether its last turn has left something.
    pub(crate) fn has_more(&self, place: usize) -> bool {
        self.ports.get(place).is_some_and(|port| port.as_ref().is_some_and(|port| port.more))
    }

    /// Parcel `index` of those that there were after the last [`Ports::receive`], which was at this place.
    pub(crate) fn parcel(&self, place: usize, index: usize) -> &[u8] {
        let socket = self.ports.get(place).and_then(|port| port.as_ref()?.socket.as_ref());
        socket.map_or(&[], |socket| self.cuts.parcel(socket, index))
    }

    /// Queues a parcel that leaves by a port. Returns whether the port is open.
    pub(crate) fn queue(&mut self, id: PortId, parcel: &mut [u8]) -> bool {
        let Some(port) = self.by_id(id) else { return false };
        let Some(socket) = &mut port.socket else { return false };
        socket.queue(parcel);
        port.queued = true;
        true
    }

    /// Sends a super-packet by the port of this interface to a neighbor there: the parcel has its Ethernet addresses then. Returns
    /// whether there is such a port that is open, its MTU allows packets of `longest` bytes, and the kernel took it.
    pub(crate) fn send_to(
        &mut self,
        interface: IfIndex,
        neighbor: Mac,
        longest: usize,
        parcel: &mut [u8],
    ) -> bool {
        let mut ports = self.ports.iter_mut().flatten();
        let Some(port) = ports.find(|port| port.is(interface) && longest <= port.mtu as usize) else {
            return false;
        };
        let header = parcel.get_mut(size_of::<OffloadHeader>()..).and_then(<[u8]>::first_chunk_mut::<12>);
        let (Some(header), Some(socket)) = (header, &mut port.socket) else { return false };
        header[..6].copy_from_slice(&neighbor.0);
        header[6..].copy_from_slice(&port.mac.0);
        let sent = socket.send(parcel);
        // For what there was no room for.
        port.queued |= sent;
        sent
    }

    /// Sends the parcels that were queued.
    pub(crate) fn flush(&mut self, relay: &mut Recorded) {
        for port in self.ports.iter_mut().flatten().filter(|port| port.queued) {
            port.queued = false;
            let Some(socket) = &mut port.socket else { continue };
            let sent = socket.flush();
            relay.handle_drops(DropReason::PortTxFull, sent.full);
            relay.handle_drops(DropReason::PortTxError, sent.errors);
        }
    }

    /// Takes only these of a port's frames from now on.
    pub(crate) fn set_capture(&mut self, id: PortId, capture: Capture, cache: Option<&mut Cache>, now: Time) {
        let Capture { link_ethertype, mac, joined, addresses } = capture;
        let filter = CaptureFilter { link_ethertype, mac, joined, addresses };
        self.change(id, "changing the filter", now, |socket| {
            let Some(cache) = cache else { return socket.set_filter(&filter) };
            let CaptureFilter { mac, joined, addresses, .. } = &filter;
            let capture = ::fast_path::Capture { mac: *mac, joined, addresses };
            cache.set_port(socket.ifindex().0, &capture, |program| socket.set_filter_program(program))
        });
    }

    /// Lets a port's interface accept a group.
    pub(crate) fn join(&mut self, id: PortId, group: Group, now: Time) {
        self.change(id, "joining a group", now, |socket| match group {
            Group::Ip(address) => socket.join_ip(address),
            Group::Ethernet(mac) => socket.join(mac),
        });
    }

    /// Takes a [`Ports::join`] back.
    pub(crate) fn leave(&mut self, id: PortId, group: Group, now: Time) {
        self.change(id, "leaving a group", now, |socket| match group {
            Group::Ip(address) => socket.leave_ip(address),
            Group::Ethernet(mac) => socket.leave(mac),
        });
    }

    /// Changes a socket; a failure is for the operator to know, and no reason to stop.
    fn change(
        &mut self,
        id: PortId,
        what: &str,
        now: Time,
        change: impl FnOnce(&mut PortSocket) -> io::Result<()>,
    ) {
        let Some(port) = self.by_id(id) else { return };
        let Some(socket) = &mut port.socket else { return };
        if let Err(error) = change(socket) {
            port.complaint.warn("relay::port", format!("port {}: {what}: {error}", port.interface), now);
        }
    }

    fn by_id(&mut self, id: PortId) -> Option<&mut Port> {
        // Ids are places from 1 on.
        self.ports.get_mut((id.0 as usize).checked_sub(1)?)?.as_mut()
    }
}

impl Port {
    fn find<'a>(&self, links: &'a [LinkInfo]) -> Option<&'a LinkInfo> {
        links.iter().find(|info| info.name == self.interface)
    }

    /// Opens the socket with a filter that takes nothing to any address yet: the relay gives it the real one.
    fn open(
        &self,
        place: usize,
        info: &LinkInfo,
        link_ethertype: u16,
        registry: &Registry,
    ) -> Result<PortSocket, SetupError> {
        let mac = info.mac.unwrap_or_default();
        let filter = CaptureFilter { link_ethertype, mac, ..CaptureFilter::default() };
        let socket = PortSocket::open(&self.interface, &filter)?;
        register(registry, &socket, Source::Port(place))
            .map_err(|error| SetupError::system(format!("watching {}", self.interface), error))?;
        Ok(socket)
    }

    fn note(&mut self, info: &LinkInfo) {
        (self.mac, self.mtu) = (info.mac.unwrap_or_default(), info.mtu);
    }

    fn is(&self, ifindex: IfIndex) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.ifindex() == ifindex)
    }
}

fn state(info: &LinkInfo, addresses: &[Address], ways_out: &WaysOut) -> PortState {
    let mut flags = PortFlags::PRESENT;
    flags.set(PortFlags::UP, info.up);
    flags.set(PortFlags::CARRIER, info.carrier);
    PortState {
        ifindex: info.ifindex.0,
        mac: info.mac.unwrap_or_default(),
        mtu: info.mtu,
        speed: info.speed,
        flags,
        addresses: addresses
            .iter()
            .filter(|address| address.at.ifindex == info.ifindex)
            .map(|address| {
                let port_address = PortAddress::new(address.at.address, address.at.prefix);
                if address.given { port_address.given() } else { port_address }
            })
            .collect(),
        routes: ways_out.of(info.ifindex.0),
    }
}
