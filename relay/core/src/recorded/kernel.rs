//! What the shell sees of interfaces and of the kernel's routes.

use super::{Input, Recorded};
use crate::config::PortConfig;
use crate::fib::{FibConfig, RouteFailure, RouteSeen, RoutesSeen};
use crate::given::GivenAddress;
use crate::port::PortState;
use core::time::Duration;
use frames::route::RouteKey;
use frames::{Mac, PortId};
use l2link::{PeerId, PublicKey, Time};
use std::borrow::Cow;
use std::net::IpAddr;

/// Each as the method of [`Relay`](crate::Relay) of the same name.
#[allow(missing_docs, reason = "the relay's methods say what they do")]
impl Recorded {
    pub fn handle_port_state(&mut self, id: PortId, state: Option<PortState>) {
        self.note(|| Input::PortState { port: id, state: Cow::Borrowed(&state) });
        self.relay.handle_port_state(id, state);
    }

    pub fn handle_addresses(&mut self, addresses: &[IpAddr]) {
        self.note(|| Input::Addresses { addresses: addresses.into() });
        self.relay.handle_addresses(addresses);
    }

    pub fn handle_link_interface(&mut self, mac: Mac, mtu: u32) {
        self.note(|| Input::LinkInterface { mac, mtu });
        self.relay.handle_link_interface(mac, mtu);
    }

    pub fn handle_transit_opened(&mut self, peer: PeerId, ifindex: u32) {
        self.note(|| Input::TransitOpened { peer, ifindex });
        self.relay.handle_transit_opened(peer, ifindex);
    }

    pub fn handle_transit_lost(&mut self, peer: PeerId) {
        self.note(|| Input::TransitLost { peer });
        self.relay.handle_transit_lost(peer);
    }

    pub fn handle_address_failure(&mut self, address: &GivenAddress, errno: i32, text: &str, now: Time) {
        self.note(|| Input::AddressFailure { address: *address, errno, text: text.into(), now });
        self.relay.handle_address_failure(address, errno, text, now);
    }

    pub fn handle_look_begins(&mut self) {
        self.note(|| Input::LookBegins);
        self.relay.handle_look_begins();
    }

    pub fn handle_route_seen(&mut self, seen: &RouteSeen) {
        self.note(|| Input::RouteSeen { seen: Cow::Borrowed(seen) });
        self.relay.handle_route_seen(seen);
    }

    pub fn handle_look_ends(&mut self, all: RoutesSeen, now: Time) {
        self.note(|| Input::LookEnds { all, now });
        self.relay.handle_look_ends(all, now);
    }

    pub fn handle_route_told(&mut self, told: &RouteSeen) {
        self.note(|| Input::RouteTold { told: Cow::Borrowed(told) });
        self.relay.handle_route_told(told);
    }

    pub fn handle_route_gone(&mut self, key: RouteKey, nexthops: usize) {
        self.note(|| Input::RouteGone { key, nexthops });
        self.relay.handle_route_gone(key, nexthops);
    }

    pub fn handle_route_overwritten(&mut self, key: RouteKey) {
        self.note(|| Input::RouteOverwritten { key });
        self.relay.handle_route_overwritten(key);
    }

    pub fn handle_foreign_route_gone(&mut self, key: RouteKey) {
        self.note(|| Input::ForeignRouteGone { key });
        self.relay.handle_foreign_route_gone(key);
    }

    pub fn handle_interfaces_changed(&mut self, now: Time) {
        self.note(|| Input::InterfacesChanged { now });
        self.relay.handle_interfaces_changed(now);
    }

    pub fn change_routes(&mut self) {
        self.note(|| Input::ChangeRoutes);
        self.relay.change_routes();
    }

    pub fn handle_routes_changed(&mut self, failures: &[RouteFailure], now: Time) {
        self.note(|| Input::RoutesChanged { failures: failures.into(), now });
        self.relay.handle_routes_changed(failures, now);
    }

    pub fn verify(&mut self) {
        self.note(|| Input::Verify);
        self.relay.verify();
    }

    pub fn reconfigure(&mut self, ports: &[PortConfig], fib: FibConfig) {
        self.note(|| Input::Reconfigure { ports: ports.into(), fib: fib.clone() });
        self.relay.reconfigure(ports, fib);
    }

    pub fn set_liveness(&mut self, keepalive: Duration, missed: u32) {
        self.note(|| Input::SetLiveness { keepalive, missed });
        self.relay.set_liveness(keepalive, missed);
    }

    pub fn set_peers(&mut self, peers: &[(String, PublicKey)], now: Time) {
        self.note(|| Input::SetPeers { peers: peers.into(), now });
        self.relay.set_peers(peers, now);
    }
}
