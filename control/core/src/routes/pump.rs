//! The pump: what relays were told is compared with what they should be told, a few keys at a time.

use super::introductions::Way;
use super::stopwatch::Stopwatch;
use super::table::{State, Told};
use super::{RTPROT_KERNEL, Repair};
use crate::relay::RelayId;
use crate::seen::IfIndex;
use crate::symbol::{Interface, Stage, Symbol};
use crate::{Control, NamespaceId};
use core::ops::Bound;
use frames::message::{
    Message, RouteAdd, RouteDelete, RouteNexthop, RouteReply, RoutesDone, RoutesSlice, Status,
};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind, Slice};
use frames::session::Stream;
use frames::{Mac, PortId, SymbolId};
use l2link::{PeerId, PublicKey, Time};
use log::{debug, info, warn};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of one turn for one relay: some hundred microseconds.
const KEYS: usize = 1_024;
/// Bytes that may wait in the link: enough to keep it busy, few enough to send the newest.
const BACKLOG: usize = 128 * 1024;
/// Refusals that are logged one by one.
const REFUSALS_TOLD: usize = 10;

/// What a relay is told of routes.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    pub(super) told: Told,
    /// Keys to be compared.
    marked: BTreeSet<RouteKey>,
    /// All keys are to be compared, from the one behind this on.
    cursor: Cursor,
    /// Symbols of other relays' ports that it was told of, and where those relays are.
    pub(super) introduced: BTreeMap<SymbolId, (Mac, Option<PublicKey>)>,
    /// The relay has been told that it has the whole table.
    ended: bool,
    pub(super) repair: Option<Repair>,
    /// Parts of the table that differed and were said again.
    pub(super) repaired: u64,
    refusals_told: usize,
    stopwatch: Stopwatch,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    Behind(Option<RouteKey>),
    #[default]
    Through,
}

/// A place to which nexthops can lead: a symbol with its interface and its granted port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) namespace: NamespaceId,
    pub(super) interface: IfIndex,
    pub(super) relay: usize,
    pub(super) symbol: SymbolId,
    pub(super) port: PortId,
    /// Of the port, in bytes.
    pub(super) mtu: u32,
}

impl Outlet {
    /// Has a key compared.
    pub(super) fn mark(&mut self, key: RouteKey) {
        self.stopwatch.changed(key);
        match self.cursor {
            // It comes by there anyway.
            Cursor::Behind(last) if last.is_none_or(|last| last < key) => {}
            Cursor::Behind(_) | Cursor::Through => _ = self.marked.insert(key),
        }
    }

    /// Has all keys compared.
    pub(super) fn restart(&mut self) {
        self.cursor = Cursor::Behind(None);
        self.marked.clear();
    }

    fn is_through(&self) -> bool {
        self.cursor == Cursor::Through && self.marked.is_empty()
    }

    /// Whether no key has been compared since all are to be.
    fn is_new(&self) -> bool {
        self.cursor == Cursor::Behind(None)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Control {
    /// Tells relays what they should know of routes, as far as the links have room. Returns whether there is more to be
    /// done at once; otherwise it is to be called after anything else happened.
    pub fn pump_routes(&mut self, now: Time) -> bool {
        self.find_seats();
        let mut more = false;
        for relay in 0..self.relays.len() {
            if let Some(peer) = self.relays[relay].peer {
                more |= self.pump_relay(relay, peer, now);
            }
        }
        more
    }

    /// Where nexthops can lead now. A relay for which that is news has all routes compared.
    fn find_seats(&mut self) {
        let seats: Vec<Seat> = self
            .symbols
            .iter()
            .filter_map(|symbol| {
                let Stage::Granted(port) = symbol.stage else { return None };
                // A route by an address symbol is no route by its port.
                if symbol.config.translation.is_some() {
                    return None;
                }
                let interface = symbol.ifindex()?;
                let (namespace, RelayId(relay)) = (symbol.namespace, symbol.relay);
                let mtu = symbol.attributes.as_ref().map_or(0, |attributes| attributes.mtu);
                Some(Seat { namespace, interface, relay, symbol: symbol.id, port, mtu })
            })
            .collect();
        if seats == self.routes.seats {
            return;
        }
        for relay in 0..self.relays.len() {
            if view(&seats, relay) != view(&self.routes.seats, relay) {
                self.routes.outlet(relay).restart();
            }
        }
        self.routes.seats = seats;
    }

    fn pump_relay(&mut self, relay: usize, peer: PeerId, now: Time) -> bool {
        self.routes.outlet(relay).stopwatch.start(now);
        if self.routes.outlet(relay).is_new() {
            self.introduce(relay, peer);
        }
        self.dismiss(relay, peer);
        if self.routes.outlet(relay).repair.as_ref().is_some_and(|repair| repair.holds(now)) {
            return false;
        }
        for _ in 0..KEYS {
            let outlet = self.routes.outlet(relay);
            if !outlet.told.has_room() || self.link.backlog(peer, Stream::Routes) >= BACKLOG {
                return false;
            }
            let Some(key) = self.next_key(relay) else {
                self.end_routes(relay, peer);
                return false;
            };
            self.tell(relay, peer, key);
        }
        true
    }

    /// The next key to be compared.
    fn next_key(&mut self, relay: usize) -> Option<RouteKey> {
        let outlet = self.routes.outlets.get_mut(relay)?;
        if let Some(key) = outlet.marked.pop_first() {
            return Some(key);
        }
        let Cursor::Behind(last) = outlet.cursor else { return None };
        let mirrored =
            self.routes.spaces.iter().filter_map(|space| space.mirror.keys_behind(last.as_ref()).next());
        let behind = (last.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let fixed = self.routes.spaces.iter().filter_map(|space| Some(space.fixed.range(behind).next()?.0));
        let next = mirrored.chain(fixed).chain(outlet.told.keys_behind(last.as_ref()).next()).min().copied();
        outlet.cursor = next.map_or(Cursor::Through, |key| Cursor::Behind(Some(key)));
        next
    }

    /// Tells a relay what is new of a key.
    fn tell(&mut self, relay: usize, peer: PeerId, key: RouteKey) {
        let projection = self.project(relay, &key);
        let content = projection.as_ref().map(|projection| RouteContent {
            kind: projection.kind,
            mtu: projection.mtu,
            nexthops: &projection.nexthops,
        });
        let outlet = self.routes.outlet(relay);
        let request = outlet.told.tell(key, content.as_ref());
        outlet.stopwatch.told(&key, request);
        let Some(request) = request else { return };
        let message = match content {
            Some(content) => Message::RouteAdd(RouteAdd { request, key, content }),
            None => Message::RouteDelete(RouteDelete { request, key }),
        };
        self.link.send_message(peer, &message);
    }

    /// What a relay should know of a key.
    pub(super) fn project(&self, relay: usize, key: &RouteKey) -> Option<Projection> {
        let spaces = (0..).map(NamespaceId).zip(&self.routes.spaces);
        spaces.into_iter().find_map(|(namespace, space)| {
            if let Some(fixed) = self.routes.project_fixed(namespace, space, relay, key) {
                return Some(fixed);
            }
            let (known, content) = space.mirror.get(key)?;
            let (kind, mtu, by_hand) = (content.kind, content.mtu, false);
            if kind != RouteKind::Unicast {
                let here = |seat: &Seat| seat.relay == relay && seat.namespace == namespace;
                let here = self.routes.seats.iter().any(here);
                return here.then(|| Projection { namespace, kind, mtu, nexthops: Vec::new(), by_hand });
            }
            let way = |hop: &RouteNexthop| {
                let leads = |seat: &&Seat| (seat.namespace, seat.interface.0) == (namespace, hop.port().0);
                let seat = self.routes.seats.iter().find(leads)?;
                Some(Way { seat, gateway: hop.gateway(), weight: hop.weight(), onlink: hop.onlink() })
            };
            let (nexthops, mtu) = self.routes.ways_of(relay, content.nexthops.iter().filter_map(way), mtu);
            let leaves_here = || nexthops.iter().any(|hop| hop.symbol().is_none());
            if known.protocol == RTPROT_KERNEL && (leaves_here() || self.has_subnet(relay, key)) {
                // Its kernel has the route by itself.
                return None;
            }
            (!nexthops.is_empty()).then_some(Projection { namespace, kind, mtu, nexthops, by_hand })
        })
    }

    /// Whether a port of the relay is in this subnet.
    fn has_subnet(&self, relay: usize, key: &RouteKey) -> bool {
        let symbols = self.symbols.iter().filter(|symbol| symbol.relay == RelayId(relay));
        let mut addresses = symbols.filter_map(|symbol| symbol.attributes.as_ref());
        addresses.any(|attributes| {
            let mut subnets = attributes.all_addresses();
            subnets.any(|(address, length)| Prefix::new(*address, *length) == Some(key.prefix))
        })
    }

    /// Says `ROUTES_END` once everything is known and said, so that the relay sweeps what it has besides.
    fn end_routes(&mut self, relay: usize, peer: PeerId) {
        let outlet = self.routes.outlet(relay);
        if outlet.ended || !outlet.is_through() || !self.routes_known(relay) {
            return;
        }
        let outlet = self.routes.outlet(relay);
        outlet.ended = true;
        let request = outlet.told.request(false);
        self.link.send_message(peer, &Message::RoutesEnd(RoutesSlice { request, slice: Slice::ALL }));
    }

    /// Whether every route that may have to be told to a relay is known.
    fn routes_known(&self, relay: usize) -> bool {
        let own = |symbol: &Symbol| symbol.relay == RelayId(relay);
        let beside = |symbol: &Symbol| {
            self.symbols.iter().any(|other| own(other) && other.namespace == symbol.namespace)
        };
        let matters = |symbol: &&Symbol| own(symbol) || (self.together_by.is_some() && beside(symbol));
        self.symbols.iter().filter(matters).all(|symbol| {
            let space = self.routes.spaces.get(symbol.namespace.0 as usize);
            let known = space.is_none_or(|space| !space.mirrored || space.mirror.is_complete());
            match (&symbol.stage, &symbol.interface) {
                (Stage::Waiting | Stage::Requested, _) => false,
                (Stage::Refused(_), _) | (Stage::Granted(_), Interface::Failed(_)) => true,
                (Stage::Granted(_), Interface::None | Interface::Creating) => false,
                (Stage::Granted(_), Interface::Created(_)) => known,
            }
        })
    }

    /// A relay has a new association: it is told everything anew.
    pub(crate) fn begin_routes(&mut self, RelayId(relay): RelayId) {
        let outlet = self.routes.outlet(relay);
        *outlet = Outlet { repaired: outlet.repaired, ..Outlet::default() };
        outlet.restart();
    }

    pub(crate) fn handle_route_reply(&mut self, relay: RelayId, reply: &RouteReply<'_>) {
        let RouteReply { key, status, text } = reply;
        let reason = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
        let name = &self.relays[relay.0].name;
        if *status == Status::OK {
            debug!(target: "control::route", "route {key}: installed by relay {name} after all");
        }
        let outlet = self.routes.outlet(relay.0);
        if *status != Status::OK {
            outlet.refusals_told += 1;
            match outlet.refusals_told {
                ..=REFUSALS_TOLD => {
                    warn!(target: "control::route", "route {key}: refused by relay {name}: {reason}")
                }
                told if told == REFUSALS_TOLD + 1 => {
                    info!(target: "control::route", "more routes are refused by relay {name}: `l2ctl show routes` lists them");
                }
                _ => {}
            }
        }
        outlet.told.reply(*key, *status, reason);
    }

    pub(crate) fn handle_routes_done(&mut self, relay: RelayId, done: RoutesDone, now: Time) {
        let outlet = self.routes.outlet(relay.0);
        outlet.told.done(done.request);
        if let Some((key, took)) = outlet.stopwatch.stop(done.request, now)
            && matches!(outlet.told.state(&key), None | Some(State::Installed))
        {
            self.latencies.routes.record(took);
        }
    }
}

/// The seats that matter for a relay: its own, and those in the namespaces in which it has some.
fn view(seats: &[Seat], relay: usize) -> Vec<Seat> {
    let own = |seat: &Seat| seats.iter().any(|own| own.relay == relay && own.namespace == seat.namespace);
    seats.iter().filter(|seat| own(seat)).copied().collect()
}

/// A route as a relay should know it.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) namespace: NamespaceId,
    pub(super) kind: RouteKind,
    pub(super) mtu: u32,
    pub(super) nexthops: Vec<RouteNexthop>,
    /// Whether it is one by hand.
    pub(super) by_hand: bool,
}
