//! Relays that are one router: each is told of the others' ports, so that what arrives at one can leave at another.
//!
//! A relay with a symbol in a mirrored namespace is introduced to every other relay with one there. What it is told are the
//! symbols: nexthops name them. All pairs have a salt of their own, drawn once, from which the two make their key; in
//! mode `keys` they are told each other's public key as well. What is
//! said of a relay with which contact was lost stays said: it may be in contact with the others still, and is back soon;
//! routes by its symbols are taken back in any case. A relay that refuses a port is not meant any more.

use super::Routes;
use super::pump::Seat;
use crate::Control;
use crate::symbol::Stage;
use core::net::IpAddr;
use frames::discovery::Role;
use frames::message::{Message, RelayDismiss, RelayIntroduce, RouteNexthop};
use frames::{Mac, SymbolId};
use l2link::PeerId;
use std::collections::BTreeMap;

/// The salts of pairs of relays, by their places, the smaller one first.
#[derive(Default)]
pub(super) struct Salts(BTreeMap<(usize, usize), [u8; 32]>);

impl core::fmt::Debug for Salts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Salts({})", self.0.len())
    }
}

/// A nexthop of a route, and where it leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) seat: &'a Seat,
    pub(super) gateway: Option<IpAddr>,
    pub(super) weight: u16,
    pub(super) onlink: bool,
}

impl Routes {
    /// The nexthops by which a relay can send, its own ports before those of other relays, and the MTU that it is to tell: of
    /// a route that leaves at others only that of their narrowest port, as one answers for the router where the packet
    /// arrives, not where it cannot leave.
    pub(super) fn ways_of<'a>(
        &'a self,
        relay: usize,
        ways: impl Iterator<Item = Way<'a>>,
        mtu: u32,
    ) -> (Vec<RouteNexthop>, u32) {
        let (own, others): (Vec<Way<'_>>, Vec<Way<'_>>) = ways.partition(|way| way.seat.relay == relay);
        let mut nexthops: Vec<RouteNexthop> = own
            .iter()
            .map(|way| RouteNexthop::new(way.seat.port, way.gateway, way.weight, way.onlink))
            .collect();
        let others: Vec<Way<'_>> = others.into_iter().filter(|way| self.shares(relay, way.seat)).collect();
        let narrowest = others.iter().map(|way| way.seat.mtu).min().filter(|_| own.is_empty());
        let mtu = narrowest.filter(|narrowest| mtu == 0 || *narrowest < mtu).unwrap_or(mtu);
        nexthops.extend(
            others.iter().map(|way| RouteNexthop::at_relay(way.seat.symbol, way.gateway, way.weight)),
        );
        nexthops.truncate(RouteNexthop::MAX);
        (nexthops, mtu)
    }

    /// Whether a relay has a symbol in the namespace of this one, whose routes are told to relays.
    fn shares(&self, relay: usize, seat: &Seat) -> bool {
        self.spaces.get(seat.namespace.0 as usize).is_some_and(|space| space.mirrored)
            && self.seats.iter().any(|own| own.relay == relay && own.namespace == seat.namespace)
    }
}

impl Control {
    /// Tells a relay which symbols are ports of other relays, where that is news.
    pub(super) fn introduce(&mut self, relay: usize, peer: PeerId) {
        let wanted = self.seats_elsewhere(relay);
        for (seat, mac) in &wanted {
            let key = self.link.key_of(Role::Relay, &self.relays[seat.relay].name);
            let told = &mut self.routes.outlet(relay).introduced;
            if told.insert(seat.symbol, (*mac, key)) == Some((*mac, key)) {
                continue;
            }
            let salt = self.salt(relay, seat.relay);
            let Some(symbol) = self.symbols.iter().find(|symbol| symbol.id == seat.symbol) else { continue };
            let introduction = RelayIntroduce {
                symbol: seat.symbol,
                mac: *mac,
                salt,
                relay: &self.relays[seat.relay].name,
                port: &symbol.config.port,
                key: key.map(|key| key.0),
            };
            self.link.send_message(peer, &Message::RelayIntroduce(introduction));
        }
    }

    /// Takes back what was said of symbols that their relay refuses by now.
    pub(super) fn dismiss(&mut self, relay: usize, peer: PeerId) {
        let is_refused = |symbol: &SymbolId| {
            self.symbol(*symbol).is_none_or(|symbol| matches!(symbol.stage, Stage::Refused(_)))
        };
        let introduced = self.routes.outlets.get(relay).map(|outlet| &outlet.introduced);
        let refused: Vec<SymbolId> =
            introduced.into_iter().flat_map(BTreeMap::keys).copied().filter(is_refused).collect();
        for symbol in refused {
            self.routes.outlet(relay).introduced.remove(&symbol);
            self.link.send_message(peer, &Message::RelayDismiss(RelayDismiss { symbol }));
        }
    }

    /// Symbols of other relays in the namespaces in which this one has some, and where those relays are.
    fn seats_elsewhere(&self, relay: usize) -> Vec<(Seat, Mac)> {
        let peers = self.link.peers();
        let mac = |seat: &Seat| {
            let peer = self.relays[seat.relay].peer?;
            peers.iter().find(|info| info.peer == peer).map(|info| info.mac)
        };
        let seats = self.routes.seats.iter().filter(|seat| seat.relay != relay);
        seats
            .filter(|seat| self.routes.shares(relay, seat))
            .filter_map(|seat| Some((*seat, mac(seat)?)))
            .collect()
    }

    /// Whether symbols of several relays lie in one namespace.
    pub(crate) fn has_several_relays(&self) -> bool {
        self.symbols.iter().any(|one| {
            let other =
                |other: &crate::symbol::Symbol| other.namespace == one.namespace && other.relay != one.relay;
            self.symbols.iter().any(other)
        })
    }

    fn salt(&mut self, one: usize, other: usize) -> [u8; 32] {
        let link = &mut self.link;
        *self.routes.salts.0.entry((one.min(other), one.max(other))).or_insert_with(|| link.draw_salt())
    }
}
