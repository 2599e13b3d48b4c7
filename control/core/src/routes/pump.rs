//! The pump: what relays were told is compared with what they should be told, a few keys at a time.

use super::Repair;
use super::stopwatch::Stopwatch;
use super::table::{State, Told};
use crate::relay::RelayId;
use crate::seen::IfIndex;
use crate::symbol::{Interface, Stage};
use crate::{Control, NamespaceId};
use core::ops::Bound;
use frames::message::{
    Message, RouteAdd, RouteDelete, RouteNexthop, RouteReply, RoutesDone, RoutesSlice, Status,
};
use frames::route::{RouteContent, RouteKey, RouteKind, Slice};
use frames::session::Stream;
use frames::{PortId, SymbolId};
use l2link::{PeerId, Time};
use log::{debug, info, warn};
use std::collections::BTreeSet;

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
                Some(Seat { namespace, interface, relay, symbol: symbol.id, port })
            })
            .collect();
        if seats == self.routes.seats {
            return;
        }
        for relay in 0..self.relays.len() {
            let of_relay =
                |seats: &[Seat]| seats.iter().filter(|seat| seat.relay == relay).copied().collect::<Vec<_>>();
            if of_relay(&seats) != of_relay(&self.routes.seats) {
                self.routes.outlet(relay).restart();
            }
        }
        self.routes.seats = seats;
    }

    fn pump_relay(&mut self, relay: usize, peer: PeerId, now: Time) -> bool {
        self.routes.outlet(relay).stopwatch.start(now);
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
            let (_, content) = space.mirror.get(key)?;
            let (kind, mtu) = (content.kind, content.mtu);
            if kind != RouteKind::Unicast {
                let here = |seat: &Seat| seat.relay == relay && seat.namespace == namespace;
                let here = self.routes.seats.iter().any(here);
                return here.then(|| Projection {
                    namespace,
                    kind,
                    mtu,
                    nexthops: Vec::new(),
                    by_hand: false,
                });
            }
            let nexthop = |hop: &RouteNexthop| {
                let (_, port) = self.seat_at(namespace, hop.port().0, relay)?;
                Some(RouteNexthop::new(port, hop.gateway(), hop.weight(), hop.onlink()))
            };
            let nexthops: Vec<RouteNexthop> = content.nexthops.iter().filter_map(nexthop).collect();
            (!nexthops.is_empty()).then_some(Projection { namespace, kind, mtu, nexthops, by_hand: false })
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
        self.symbols.iter().filter(|symbol| symbol.relay == RelayId(relay)).all(|symbol| {
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
