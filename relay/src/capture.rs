//! What captures see: packets at the ports, and in the tunnels.

use crate::daemon::Daemon;
use crate::ports::Ports;
use frames::discovery::Role;
use frames::{DropReason, PortId};
use l2link::PeerId;
use l2link_os::api::{ApiServer, Request, Verb};
use l2link_os::capture::{Captures, Direction, Handling, Offer, Side, Sighting};
use relay_core::{PortVerdict, Recorded, Relay};

impl Daemon {
    /// Serves a request for a capture. Returns whether it was one.
    pub(crate) fn serve_capture(&mut self, request: &Request) -> bool {
        if request.verb() != Some(Verb::Capture) {
            return false;
        }
        let places = self.relay.show_ports().into_iter().map(|port| Side::Port(port.name)).collect();
        let peers = self.relay.link().peers().into_iter().map(|peer| peer.name).collect();
        let offer = Offer { role: Role::Relay, device: &self.name, places, peers };
        self.captures.begin(&mut self.api, request, &offer);
        if self.captures.is_active() {
            self.relay.keep_passages();
        }
        true
    }

    /// Sends what the captures have, and ends those that are over.
    pub(crate) fn serve_captures(&mut self) {
        if !self.captures.is_active() {
            return;
        }
        // Fragments that were held, which left when their first had come.
        let mut handling = Handling::begin();
        collect(&mut handling, &mut self.relay, &self.ports);
        self.captures.record(&mut self.api, &handling);
        self.captures.serve(&mut self.api);
        if !self.captures.is_active() {
            self.relay.drop_passages();
        }
    }
}

/// A packet has arrived at a port, if anybody wants to know.
pub(crate) fn arrives(captures: &Captures, port: Option<&str>, parcel: &[u8]) -> Option<Handling> {
    let (mut handling, port) = (captures.handling()?, port?);
    handling.set_place(port);
    handling.came(Sighting::new(Side::Port(port.to_owned()), Direction::Inbound, parcel));
    Some(handling)
}

/// It leaves by a port.
pub(crate) fn leaves(handling: &mut Option<Handling>, ports: &Ports, port: PortId, parcel: &[u8]) {
    let Some((handling, port)) = handling.as_mut().zip(ports.interface(port)) else { return };
    handling.set_place(port);
    handling.went(Sighting::new(Side::Port(port.to_owned()), Direction::Outbound, parcel));
}

/// It was refused where it would have left.
pub(crate) fn refused(handling: &mut Option<Handling>, reason: DropReason) {
    if let Some(handling) = handling {
        handling.refused(reason);
    }
}

/// What passes between the kernel and another relay.
pub(crate) fn transit(relay: &Relay, peer: PeerId, direction: Direction, parcel: &[u8]) -> Sighting {
    Sighting::new(Side::Transit { relay: relay.peer_name(peer).to_owned() }, direction, parcel)
}

/// The end of a packet from a port or the kernel.
pub(crate) fn end(
    mut handling: Handling,
    verdict: PortVerdict,
    relay: &mut Recorded,
    ports: &Ports,
    captures: &mut Captures,
    api: &mut ApiServer,
) {
    collect(&mut handling, relay, ports);
    match verdict {
        PortVerdict::Drop(reason) => handling.dropped(reason),
        PortVerdict::Held => handling.hold(),
        PortVerdict::Sent | PortVerdict::Full => {}
    }
    captures.record(api, &handling);
}

/// Adds what passed through the link meanwhile.
pub(crate) fn collect(handling: &mut Handling, relay: &mut Recorded, ports: &Ports) {
    while let Some((passage, port)) = relay.poll_passage() {
        let port = port.and_then(|port| ports.interface(port));
        port.into_iter().for_each(|port| handling.set_place(port));
        let peer = relay.peer_name(passage.peer).to_owned();
        let side = Side::Tunnel { peer, port: port.map(str::to_owned) };
        handling.passed(side, &passage);
    }
}
