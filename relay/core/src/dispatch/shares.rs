//! From the rules of listeners to the candidates of their services.

use super::away::Lost;
use super::hash::{Secret, of_name};
use super::learning::Learning;
use super::pool::{Candidate, Standing};
use super::pools::Pools;
use super::services::{Ends, ServiceKey, TCP, any_like};
use super::{Dispatch, Member, ServerId, Servers};
use crate::config::{Conflicts, PortConfig};
use crate::rule::{Key, Rule};
use frames::message::LiveFlow;
use frames::{PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use l2link::{PeerId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// What a control has a part in.
#[derive(Debug)]
pub(crate) struct Held {
    services: BTreeSet<ServiceKey>,
    lost: Lost,
}

impl Dispatch {
    /// A table for these ports, in the order of their ids. `controls` are those that had rules in an earlier life, if it
    /// did not end in order. `draw` gives random bytes.
    pub(crate) fn new(
        ports: &[PortConfig],
        controls: BTreeSet<String>,
        draw: impl FnMut() -> [u8; 32],
    ) -> Self {
        let ports = (1..).map(PortId).zip(ports.iter().cloned()).collect();
        let mut dispatch = Self { ports, ..Self::default() };
        dispatch.services.pools = Pools::keyed(Secret::drawn(draw));
        dispatch.services.learning = Learning::anew(controls);
        dispatch
    }

    /// A port is offered on these conditions now, or no more.
    pub(crate) fn configure(&mut self, id: PortId, config: Option<PortConfig>) {
        match config {
            Some(config) => _ = self.ports.insert(id, config),
            None => _ = self.ports.remove(&id),
        }
        let rules = self.rules.iter().flatten().filter(|rule| rule.port == id);
        let keys: BTreeSet<Key> = rules.flat_map(|rule| Key::of(id, &rule.protocol_address)).collect();
        keys.iter().for_each(|key| self.share_out(key));
    }

    /// The name by which a control is known to all relays.
    pub(crate) fn name(&mut self, peer: PeerId, name: &str) {
        self.names.insert(peer, name.to_owned());
    }

    /// Has a control of this name have that share of new flows, whatever it says itself; `None` for what it says.
    pub(crate) fn weigh(&mut self, control: &str, weight: Option<u16>) {
        match weight {
            Some(weight) => _ = self.weights.insert(control.to_owned(), weight),
            None => _ = self.weights.remove(control),
        }
        let peers = self.names.iter().filter(|(_, name)| *name == control).map(|(peer, _)| *peer);
        let peers: Vec<PeerId> = peers.collect();
        let rules = peers.into_iter().flat_map(|peer| self.of_peer(peer));
        let keys: BTreeSet<Key> = rules.flat_map(|rule| Key::of(rule.port, &rule.protocol_address)).collect();
        keys.iter().for_each(|key| self.share_out(key));
    }

    /// The names of all controls with rules.
    pub(crate) fn controls(&self) -> impl Iterator<Item = &String> {
        self.owned.keys().filter_map(|peer| self.names.get(peer))
    }

    /// A control is not to be remembered: nobody waits for it.
    pub(crate) fn forget(&mut self, control: &str) {
        self.services.forget(control);
    }

    /// What a rule is good for.
    pub(crate) fn standing(&self, rule: &Rule) -> Standing {
        let server = self.servers.get(rule.peer, rule.symbol);
        let standings = Key::of(rule.port, &rule.protocol_address).filter_map(|key| {
            let (service, local) = service_of(&key)?;
            self.services.standing(&service, local, server?)
        });
        let otherwise = if rule.weight == 0 { Standing::Draining } else { Standing::Active };
        standings.min().unwrap_or(otherwise)
    }

    /// A rule is gone: if it was that of a connection, its listener may have it now.
    pub(super) fn keep(&mut self, rule: &Rule) {
        let ProtocolAddress::Flow { protocol: TCP, local, local_port, remote, remote_port } =
            rule.protocol_address
        else {
            return;
        };
        if let Some(server) = self.servers.get(rule.peer, rule.symbol) {
            let ends = Ends { local: (local, local_port), remote: (remote, remote_port) };
            self.services.keep(rule.port, &ends, server);
        }
    }

    /// A control tells flows of a rule.
    pub(crate) fn report(
        &mut self,
        (peer, tunnel, request): (PeerId, UpTunnel, RequestId),
        flows: &[LiveFlow],
        last: bool,
    ) {
        let Some(rule) =
            self.by_tunnel.get(&(peer, tunnel)).and_then(|index| self.rules[index.place()].as_ref())
        else {
            return;
        };
        let ProtocolAddress::Listener { protocol, port: local_port, .. } = rule.protocol_address else {
            return;
        };
        let Some(server) = self.servers.get(peer, rule.symbol) else { return };
        let service = ServiceKey { port: rule.port, protocol, local_port };
        self.services.report((peer, tunnel, request), (service, server), flows, last);
    }

    /// What a control has a part in, before its rules are released.
    pub(crate) fn held(&self, peer: PeerId) -> Held {
        let keys = self.of_peer(peer).flat_map(|rule| Key::of(rule.port, &rule.protocol_address));
        let services = keys.filter_map(|key| service_of(&key)).map(|(service, _)| service).collect();
        let lost = self.services.lost(peer, &services);
        Held { services, lost }
    }

    /// A control has gone, and lost its rules; but not its connections, perhaps.
    pub(crate) fn left(&mut self, peer: PeerId, held: Held, now: Time) {
        self.services.away.leaves(peer, held.lost, now);
    }

    /// A control is there, perhaps again.
    pub(crate) fn returns(&mut self, peer: PeerId, now: Time) {
        self.services.away.returns(peer, now);
    }

    /// A control has [left](Self::left) without a word. If nobody serves a service now, and it was not alone in it a moment ago,
    /// that is learned anew.
    pub(crate) fn missed(&mut self, peer: PeerId, held: Held, now: Time) {
        let Held { services, lost } = held;
        self.services.away.is_missed(peer, lost, now);
        self.missed.add(peer, services.clone(), now);
        for service in services {
            let servers: BTreeSet<PeerId> = self.missed.servers(&service).collect();
            if servers.len() > 1 && !self.services.is_served(&service) {
                let names = servers.iter().filter_map(|server| self.names.get(server)).cloned();
                Learning::also(&mut self.services.learning, service, names);
            }
        }
    }

    /// A control has said all of its rules.
    pub(crate) fn said_all(&mut self, peer: PeerId, control: &str) {
        self.services.said_all(peer, control);
    }

    /// Requests for flows that are to be sent to controls.
    pub(crate) fn take_requests(&mut self) -> Vec<(PeerId, UpTunnel, RequestId)> {
        self.services.take_requests()
    }

    /// Flows that stay with their server against the table.
    pub(crate) fn pinned(&self) -> usize {
        self.services.pinned()
    }

    /// Flows for which there was no room since the start.
    pub(crate) fn unpinned(&self) -> u64 {
        self.services.unpinned()
    }

    /// Flows of datagrams that are remembered.
    pub(crate) fn tracked(&self) -> usize {
        self.services.tracked()
    }

    /// When [`Dispatch::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.services.poll_timeout()
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.missed.expire(now);
        self.services.handle_timeout(now);
    }

    /// The rules of a key changed: if they are listeners, its service has others to serve it, and if they are of a flow, it may have.
    pub(super) fn share_out(&mut self, key: &Key) {
        let Some((service, local)) = service_of(key) else { return self.assign(key) };
        let mut locals = vec![local];
        if local == any_like(local) {
            locals.extend(self.services.named(&service, local));
        }
        let conflicts = self.ports.get(&service.port).map_or(Conflicts::Share, |port| port.conflicts);
        for local in locals {
            let (candidates, is_named) = self.candidates(service, local);
            self.services.update(service, local, (&candidates, is_named), conflicts);
        }
    }

    /// Who serves at an address: who listens there, and then who listens at any; and whether anybody listens there.
    fn candidates(&mut self, service: ServiceKey, local: u128) -> (Vec<Candidate>, bool) {
        let ServiceKey { port, protocol, local_port } = service;
        let key = |local| Key::Listener { port, protocol, local, local_port };
        let mut members: Vec<Member> = self.members(&key(local)).to_vec();
        let is_named = !members.is_empty();
        if any_like(local) != local {
            members.extend_from_slice(self.members(&key(any_like(local))));
        }
        let mut newest: BTreeMap<ServerId, Candidate> = BTreeMap::new();
        let mut ranks: BTreeMap<(PeerId, SymbolId), ServerId> = BTreeMap::new();
        for member in members {
            let Some(rule) = self.rules[member.target.rule.place()].as_ref() else { continue };
            let (peer, symbol, since) = (rule.peer, rule.symbol, rule.since);
            let server = self.server(peer, symbol);
            ranks.insert((peer, symbol), server);
            let name = self.names.get(&peer).map_or("", String::as_str);
            let candidate = || {
                let given = self.weights.get(name).copied().filter(|_| member.weight > 0);
                let priority = self.ports.get(&port).map_or(0, |port| port.priority(name));
                let weight = given.unwrap_or(member.weight);
                Candidate { server, target: member.target, weight, seed: 0, priority, since }
            };
            let known = newest.entry(server).or_insert_with(candidate);
            if known.weight == 0 && member.weight > 0 {
                // A listener that is open goes before one that drains.
                *known = Candidate { since: known.since, ..candidate() };
            }
            // A control that began anew has its former place.
            known.since = known.since.min(since);
        }
        let mut last = None;
        let mut rank = 0;
        for ((peer, _), server) in ranks {
            rank = if last == Some(peer) { rank + 1 } else { 0 };
            last = Some(peer);
            let seed = match self.names.get(&peer) {
                Some(name) => of_name(name, rank),
                None => of_name("", peer.0 as usize * 256 + rank),
            };
            if let Some(candidate) = newest.get_mut(&server) {
                candidate.seed = seed;
            }
        }
        (newest.into_values().collect(), is_named)
    }

    /// The number of a server, allotted now if it has none.
    fn server(&mut self, peer: PeerId, symbol: SymbolId) -> ServerId {
        if let Some(server) = self.servers.get(peer, symbol) {
            return server;
        }
        if self.servers.is_full() {
            let serving: BTreeSet<_> =
                self.rules.iter().flatten().map(|rule| (rule.peer, rule.symbol)).collect();
            let with_flows = self.services.servers();
            self.servers.retain(|owner, server| serving.contains(owner) || with_flows.contains(&server));
            let known = self.servers.numbers.iter().map(|((peer, _), server)| (*server, *peer)).collect();
            self.services.retain_servers(&known);
        }
        self.servers.allot(peer, symbol)
    }
}

impl Servers {
    pub(super) fn get(&self, peer: PeerId, symbol: SymbolId) -> Option<ServerId> {
        self.numbers.get(&(peer, symbol)).copied()
    }

    fn allot(&mut self, peer: PeerId, symbol: SymbolId) -> ServerId {
        let server = ServerId(self.next);
        self.next = self.next.wrapping_add(1);
        self.numbers.insert((peer, symbol), server);
        server
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= self.full
    }

    /// Keeps those that `which` picks; there is room for as many again until the next time.
    fn retain(&mut self, which: impl Fn(&(PeerId, SymbolId), ServerId) -> bool) {
        self.numbers.retain(|owner, server| which(owner, *server));
        self.full = (2 * self.numbers.len()).max(SERVERS_LEAST);
    }
}

/// With fewer servers than these none is looked for that is no more.
const SERVERS_LEAST: usize = 64;

/// The service that a listener is of, and its address.
pub(super) fn service_of(key: &Key) -> Option<(ServiceKey, u128)> {
    match *key {
        Key::Listener { port, protocol, local, local_port } => {
            Some((ServiceKey { port, protocol, local_port }, local))
        }
        Key::Flow { .. } | Key::IpProtocol { .. } | Key::EtherType { .. } => None,
    }
}
