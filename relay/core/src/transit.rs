//! Transit from relay to relay: packets that arrive here and leave there, of one router whose ports are both.
//!
//! # Theory of operation
//!
//! The kernel forwards a packet that leaves at another relay into an interface that leads there, as by any route: it has
//! counted the hop, looked at the size, and answered for the router if something was wrong. What the shell reads from that
//! interface goes to the other relay as a parcel without tunnel. There the shell puts it into the interface that leads back,
//! and that kernel forwards it by its own routes and to its own neighbours.
//!
//! That would be two hops. So the first relay gives the one that it took back, and on the whole the router has taken one. What a
//! relay sends by itself has not lost any; it leaves the router as it was made.
//!
//! No hop that is lost means nothing that ends a loop. So a packet from a relay never goes to a relay again: the relay's
//! nftables table sets the hops of such a packet to zero, which no packet that is forwarded has, and here it is dropped.
//!
//! A packet that comes from another relay and is addressed to this one is treated as if it had arrived at the port whose
//! address it is.

use crate::action::{Action, Event};
use crate::fib::Meeting;
use crate::port::Ports;
use crate::relay::{LinkVerdict, OFFLOAD, PortVerdict, Relay};
use core::net::IpAddr;
use frames::data::Tunnel;
use frames::inet::{Layer3, classify, give_hop_back, hops};
use frames::{DropReason, PortId};
use l2link::{Batch, Counters, PeerId, Time};

impl Relay {
    /// The interface that [`Action::OpenTransit`] asked for is there.
    pub fn handle_transit_opened(&mut self, peer: PeerId, ifindex: u32) {
        let Some(relay) = self.partners.get(&peer) else { return };
        self.fib.partner_linked(peer, relay, ifindex);
    }

    /// Somebody removed that interface: another one is asked for.
    pub fn handle_transit_lost(&mut self, peer: PeerId) {
        let Some(relay) = self.partners.get(&peer).cloned() else { return };
        log::warn!(target: "relay::peer", "somebody removed the interface to relay {relay}: making another one");
        self.fib.partner_lost(peer);
        self.actions.push_back(Action::CloseTransit { peer });
        self.actions.push_back(Action::OpenTransit { peer, relay });
    }

    /// Takes a parcel that the kernel forwarded into the interface to another relay. The batch must have room for it.
    pub fn handle_transit(
        &mut self,
        peer: PeerId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let verdict = self.forward(peer, parcel, now, batch);
        verdict.map_or_else(PortVerdict::Drop, |()| PortVerdict::Sent)
    }

    fn forward(
        &mut self,
        peer: PeerId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> Result<(), DropReason> {
        let frame = parcel.get_mut(OFFLOAD..).unwrap_or_default();
        let reason = match (hops(frame), frame.first()) {
            (Some(0), _) => DropReason::RelayLoop,
            // The kernel's own groups and neighbours of the interface.
            (None, _) => DropReason::NotForPort,
            (Some(_), Some(first)) if first & 1 != 0 => DropReason::NotForPort,
            (Some(_), _) => {
                give_hop_back(frame);
                return self.link.send_parcel(peer, Tunnel::NONE, parcel, batch, now);
            }
        };
        self.drops.drop(reason);
        Err(reason)
    }

    /// Tells the link which relays were introduced, where that is news.
    pub(crate) fn meet_relays(&mut self, now: Time) {
        for meeting in self.fib.partners.take_meetings() {
            match meeting {
                Meeting::Introduce { relay, mac, key, salts } => {
                    self.link.introduce(&relay, mac, key, &salts, now);
                }
                Meeting::Dismiss { relay } => {
                    log::info!(target: "relay::peer", "no control introduces relay {relay} any more");
                    self.link.dismiss(&relay, now);
                }
            }
        }
    }

    pub(crate) fn partner_up(&mut self, peer: PeerId, name: String, now: Time) {
        log::info!(target: "relay::peer", "relay {name} is up");
        self.actions.push_back(Action::OpenTransit { peer, relay: name.clone() });
        self.partners.insert(peer, name);
        if let Some(row) = self.peer_row(peer, now) {
            self.tell(Event::PeerUp(row));
        }
    }

    /// Returns whether the peer is a relay.
    pub(crate) fn partner_down(&mut self, peer: PeerId, reason: l2link::DownReason, now: Time) -> bool {
        let Some(name) = self.partners.remove(&peer) else { return false };
        log::info!(target: "relay::peer", "relay {name} is down: {reason}");
        self.fib.partner_lost(peer);
        self.actions.push_back(Action::CloseTransit { peer });
        if let Some(row) = self.peer_row(peer, now) {
            self.tell(Event::PeerDown(row));
        }
        true
    }
}

/// Where a parcel from another relay goes.
pub(crate) fn judge<'a>(
    peer: PeerId,
    parcel: &'a mut [u8],
    ports: &Ports,
    drops: &mut Counters,
) -> LinkVerdict<'a> {
    match place(parcel, ports) {
        Ok(Place::Elsewhere) => LinkVerdict::Forward { peer, parcel },
        Ok(Place::Here { port, icmp }) => {
            if let (Some(port), Some(destination)) = (ports.get(port), parcel.get_mut(OFFLOAD..OFFLOAD + 6)) {
                destination.copy_from_slice(&port.state.mac.0);
            }
            LinkVerdict::Own { peer, port, icmp, parcel }
        }
        Err(reason) => {
            drops.drop(reason);
            LinkVerdict::Drop(reason)
        }
    }
}

enum Place {
    Elsewhere,
    /// At the port with the destination's address.
    Here {
        port: PortId,
        icmp: bool,
    },
}

fn place(parcel: &[u8], ports: &Ports) -> Result<Place, DropReason> {
    let frame = parcel.get(OFFLOAD..).ok_or(DropReason::BadPacket)?;
    let view = classify(frame).map_err(|_| DropReason::BadPacket)?;
    let Layer3::Ip(ip) = view.layer3 else { return Err(DropReason::NotForPort) };
    let group = match ip.destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local()
        }
    };
    if group {
        return Err(DropReason::NotForPort);
    }
    if !ports.is_own(&ip.destination) {
        return Ok(Place::Elsewhere);
    }
    let port = ports.iter().find(|port| port.addresses().any(|address| address == ip.destination));
    let port = port.ok_or(DropReason::Unmatched)?.id;
    Ok(Place::Here { port, icmp: matches!(ip.protocol, ICMP | ICMPV6) })
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
