//! What the shell sees of symbols, sockets and the kernel's routes.

use super::{Input, Recorded};
use crate::NamespaceId;
use crate::action::Failure;
use crate::seen::{
    ClosedSocket, Connections, IfIndex, OpenSockets, Route, RouteChange, RouteFamilies, SocketPart,
    SymbolGroups,
};
use frames::route::RouteKey;
use frames::{Mac, SymbolId};
use l2link::Time;
use std::borrow::Cow;
use std::net::IpAddr;

/// Each as the method of [`Control`](crate::Control) of the same name.
#[allow(missing_docs, reason = "the control's methods say what they do")]
impl Recorded {
    pub fn handle_interface_changed(&mut self, mac: Mac, mtu: u32) {
        self.note(|| Input::InterfaceChanged { mac, mtu });
        self.control.handle_interface_changed(mac, mtu);
    }

    pub fn handle_symbol_created(&mut self, symbol: SymbolId, interface: IfIndex, now: Time) {
        self.note(|| Input::SymbolCreated { symbol, interface, now });
        self.control.handle_symbol_created(symbol, interface, now);
    }

    pub fn handle_symbol_failed(&mut self, symbol: SymbolId, failure: Failure, now: Time) {
        self.note(|| Input::SymbolFailed { symbol, failure: failure.clone(), now });
        self.control.handle_symbol_failed(symbol, failure, now);
    }

    pub fn handle_symbol_adopted(&mut self, symbol: SymbolId, interface: IfIndex, carrier: bool, now: Time) {
        self.note(|| Input::SymbolAdopted { symbol, interface, carrier, now });
        self.control.handle_symbol_adopted(symbol, interface, carrier, now);
    }

    pub fn handle_symbol_addresses(&mut self, symbol: SymbolId, addresses: &[(IpAddr, u8)]) {
        self.note(|| Input::SymbolAddresses { symbol, addresses: addresses.into() });
        self.control.handle_symbol_addresses(symbol, addresses);
    }

    pub fn handle_symbol_altered(&mut self, symbol: SymbolId, altered: Option<&str>, now: Time) {
        self.note(|| Input::SymbolAltered { symbol, altered: altered.map(Cow::Borrowed), now });
        self.control.handle_symbol_altered(symbol, altered, now);
    }

    pub fn handle_hint(&mut self, namespace: Option<NamespaceId>, part: SocketPart, now: Time) {
        self.note(|| Input::Hint { namespace, part, now });
        self.control.handle_hint(namespace, part, now);
    }

    pub fn handle_sockets(
        &mut self,
        namespace: NamespaceId,
        part: SocketPart,
        seen: &OpenSockets,
        now: Time,
    ) {
        self.note(|| Input::Sockets { namespace, part, seen: Cow::Borrowed(seen), now });
        self.control.handle_sockets(namespace, part, seen, now);
    }

    pub fn handle_connections(&mut self, namespace: NamespaceId, seen: &Connections, now: Time) {
        self.note(|| Input::Connections { namespace, seen: Cow::Borrowed(seen), now });
        self.control.handle_connections(namespace, seen, now);
    }

    pub fn handle_socket_closed(&mut self, namespace: NamespaceId, closed: &ClosedSocket, now: Time) {
        self.note(|| Input::SocketClosed { namespace, closed: *closed, now });
        self.control.handle_socket_closed(namespace, closed, now);
    }

    pub fn handle_closed_overrun(&mut self, namespace: NamespaceId, now: Time) {
        self.note(|| Input::ClosedOverrun { namespace, now });
        self.control.handle_closed_overrun(namespace, now);
    }

    pub fn handle_memberships_changed(&mut self, namespace: NamespaceId, now: Time) {
        self.note(|| Input::MembershipsChanged { namespace, now });
        self.control.handle_memberships_changed(namespace, now);
    }

    pub fn handle_memberships(&mut self, namespace: NamespaceId, seen: &[SymbolGroups], now: Time) {
        self.note(|| Input::Memberships { namespace, seen: seen.into(), now });
        self.control.handle_memberships(namespace, seen, now);
    }

    pub fn handle_route_dump_begins(&mut self, namespace: NamespaceId, families: RouteFamilies) {
        self.note(|| Input::RouteDumpBegins { namespace, families });
        self.control.handle_route_dump_begins(namespace, families);
    }

    pub fn handle_route_dumped(&mut self, namespace: NamespaceId, route: &Route) {
        self.note(|| Input::RouteDumped { namespace, route: Cow::Borrowed(route) });
        self.control.handle_route_dumped(namespace, route);
    }

    pub fn handle_route_dump_ends(&mut self, namespace: NamespaceId, families: RouteFamilies, now: Time) {
        self.note(|| Input::RouteDumpEnds { namespace, families, now });
        self.control.handle_route_dump_ends(namespace, families, now);
    }

    pub fn handle_route(&mut self, namespace: NamespaceId, route: &Route, change: RouteChange) {
        self.note(|| Input::Route { namespace, route: Cow::Borrowed(route), change });
        self.control.handle_route(namespace, route, change);
    }

    pub fn handle_route_gone(
        &mut self,
        namespace: NamespaceId,
        key: RouteKey,
        protocol: u8,
        nexthops: usize,
    ) {
        self.note(|| Input::RouteGone { namespace, key, protocol, nexthops });
        self.control.handle_route_gone(namespace, key, protocol, nexthops);
    }

    pub fn handle_routes_lost(&mut self, namespace: NamespaceId) {
        self.note(|| Input::RoutesLost { namespace });
        self.control.handle_routes_lost(namespace);
    }

    pub fn pump_routes(&mut self, now: Time) -> bool {
        self.note(|| Input::PumpRoutes { now });
        self.control.pump_routes(now)
    }

    pub fn verify(&mut self, now: Time) {
        self.note(|| Input::Verify { now });
        self.control.verify(now);
    }
}
