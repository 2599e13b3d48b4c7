//! [`SymbolRules`]: the rules of one symbol, from the first need to the last answer.
//!
//! # Theory of operation
//!
//! *Listeners* are all rules that come from open sockets (and [`NEIGHBORS`], which every symbol has); they are made
//! equal to what `detection` found. *Flows* are added by first packets and by connections, and removed when their
//! socket is gone. Both live in the [`ReceiveTable`]; here are the indexes of one symbol.
//!
//! A listener whose socket is gone *leaves*. One of TCP is told to the relay with weight 0 at once, so that it takes no new flow,
//! and is there as long as it has connections: it is *draining*.
//!
//! A rule is told to the relay as soon as the port is granted, and again in every later session. Messages of rules
//! travel in one ordered stream, so "add the new one, then delete the old one" leaves no gap on the relay.

mod by_hand;
mod leaving;

use crate::fast;
use crate::flow::FlowKey;
use crate::receive_table::ReceiveTable;
use crate::rule::{Resets, Rule, RuleState, Told};
use crate::seen::{Parts, SocketPart};
use frames::message::{Message, RuleAdd, RuleDelete, TranslatedRuleAdd, Translation};
use frames::{PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use l2link::{PeerId, Time};
use leaving::drains;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// ARP, neighbor discovery and router advertisements for the symbol: asked for first, and always.
pub(crate) const NEIGHBORS: ProtocolAddress = ProtocolAddress::EtherType(0x0806);

/// Most flows of one symbol: as many as there are ephemeral ports towards one server, so that a port scan from behind
/// the symbol cannot make the relay hold more than 64 Ki entries of it.
pub(crate) const FLOWS_MAX: usize = 65_536;
/// How many of the flows that have been idle longest go when the table is full: one pass makes room for many.
const EVICTED_AT_ONCE: usize = FLOWS_MAX / 16;

/// What all symbols share: the receive table, and messages on their way into the link.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) receive: ReceiveTable,
    pub(crate) outbox: Vec<(PeerId, Message<'static>)>,
    last_request: u32,
    /// When that was noticed which rules are added for at the moment; none for now.
    pub(crate) noticed: Option<Time>,
    /// See [`crate::Control::changes`].
    pub(crate) changes: u32,
}

impl Tables {
    pub(crate) fn new(random: u32) -> Self {
        Self {
            receive: ReceiveTable::new(random),
            outbox: Vec::new(),
            last_request: 0,
            noticed: None,
            changes: 0,
        }
    }

    pub(crate) fn request(&mut self) -> RequestId {
        // 0 is that of answers to nothing.
        self.last_request = self.last_request.wrapping_add(1).max(1);
        RequestId(self.last_request)
    }

    pub(crate) fn send(&mut self, peer: PeerId, message: Message<'static>) {
        if fast::is_change(&message) {
            self.changes = self.changes.wrapping_add(1);
        }
        self.outbox.push((peer, message));
    }
}

/// A port that the relay granted in the present session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) peer: PeerId,
    pub(crate) port: PortId,
}

#[derive(Debug)]
pub(crate) struct SymbolRules {
    symbol: SymbolId,
    /// Of an address symbol: its rules are told with it, and it has none for [`NEIGHBORS`].
    translation: Option<Translation>,
    /// Whether it has none for [`NEIGHBORS`] though it is no address symbol: a file symbol, which asks nobody for addresses.
    without_neighbors: bool,
    grant: Option<Grant>,
    listeners: Parts<BTreeMap<ProtocolAddress, UpTunnel>>,
    flows: BTreeMap<FlowKey, UpTunnel>,
    /// Both of the above, for the path of packets.
    index: FxHashMap<ProtocolAddress, UpTunnel>,
    /// Listeners whose socket is gone. Their connections have yet to be looked at, or are alive still.
    leaving: BTreeSet<ProtocolAddress>,
    /// Listeners of which a refusal was withheld since they were last looked for.
    suspected: BTreeSet<ProtocolAddress>,
    /// Since when leaving listeners have had no connection but what is in `TIME_WAIT`.
    quiet: BTreeMap<ProtocolAddress, Time>,
    /// Rules by hand, in force or not: what is here no automatism removes.
    by_hand: BTreeSet<ProtocolAddress>,
    /// Share of new flows among the controls with the same listener.
    weight: u16,
    /// The share that an operator gave its relay's symbols, 0 for no new flow.
    given: Option<u16>,
    /// When the server was last as far behind as its weight says, or further.
    pub(crate) behind_at: Option<Time>,
    /// Flows that went because the table was full.
    pub(crate) evicted: u64,
}

impl SymbolRules {
    /// `weight` is the share of new flows, from 1.
    pub(crate) fn new(symbol: SymbolId, translation: Option<Translation>, weight: u16) -> Self {
        Self {
            symbol,
            translation,
            without_neighbors: false,
            grant: None,
            listeners: Parts::default(),
            flows: BTreeMap::new(),
            index: FxHashMap::default(),
            leaving: BTreeSet::new(),
            suspected: BTreeSet::new(),
            quiet: BTreeMap::new(),
            by_hand: BTreeSet::new(),
            weight,
            given: None,
            behind_at: None,
            evicted: 0,
        }
    }

    /// The same, without a rule for [`NEIGHBORS`] but what is asked for.
    pub(crate) fn without_neighbors(self) -> Self {
        Self { without_neighbors: true, ..self }
    }

    /// The up tunnel of a rule.
    pub(crate) fn tunnel(&self, address: &ProtocolAddress) -> Option<UpTunnel> {
        self.index.get(address).copied()
    }

    /// Sets the share of new flows, from 1.
    pub(crate) fn set_weight(&mut self, weight: u16, tables: &mut Tables) {
        if core::mem::replace(&mut self.weight, weight) != weight && self.given.is_none() {
            self.tell_weights(tables);
        }
    }

    /// Sets the share that counts instead, 0 for no new flow; `None` for the symbol's own.
    pub(crate) fn give_weight(&mut self, given: Option<u16>, tables: &mut Tables) {
        let before = self.share();
        self.given = given;
        if self.share() != before {
            self.tell_weights(tables);
        }
    }

    fn share(&self) -> u16 {
        self.given.unwrap_or(self.weight)
    }

    fn tell_weights(&self, tables: &mut Tables) {
        let open = self.listeners().filter(|address| {
            matches!(address, ProtocolAddress::Listener { .. }) && !self.leaving.contains(address)
        });
        let open: Vec<ProtocolAddress> = open.copied().collect();
        open.iter().for_each(|listener| self.tell_weight(listener, tables));
    }

    pub(crate) fn weight(&self) -> u16 {
        self.weight
    }

    pub(crate) fn grant(&self) -> Option<Grant> {
        self.grant
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &ProtocolAddress> {
        self.listeners.all().flat_map(BTreeMap::keys)
    }

    /// Those of the sockets of one part, in order.
    pub(crate) fn listeners_of(&self, part: SocketPart) -> impl Iterator<Item = &ProtocolAddress> {
        self.listeners.of(part).keys()
    }

    pub(crate) fn flows(&self) -> impl Iterator<Item = (&FlowKey, UpTunnel)> {
        self.flows.iter().map(|(flow, tunnel)| (flow, *tunnel))
    }

    /// The flows from one local port, on any local address.
    pub(crate) fn flows_from(
        &self,
        protocol: u8,
        local_port: u16,
    ) -> impl Iterator<Item = (&FlowKey, UpTunnel)> {
        let first = FlowKey {
            protocol,
            local_port,
            local: core::net::Ipv4Addr::UNSPECIFIED.into(),
            remote: core::net::Ipv4Addr::UNSPECIFIED.into(),
            remote_port: 0,
        };
        let same = move |flow: &FlowKey| flow.protocol == protocol && flow.local_port == local_port;
        self.flows
            .range(first..)
            .take_while(move |(flow, _)| same(flow))
            .map(|(flow, tunnel)| (flow, *tunnel))
    }

    fn tell_weight(&self, listener: &ProtocolAddress, tables: &mut Tables) {
        let Some(tunnel) = self.index.get(listener).copied() else { return };
        let refused = |rule: &Rule| matches!(rule.state, RuleState::Refused(_));
        if tables.receive.get(tunnel).is_some_and(|rule| !refused(rule)) {
            self.tell(tunnel, tables);
        }
    }

    /// Whether connections may have come of a listener.
    pub(crate) fn has_conversed(&self, listener: &ProtocolAddress, tables: &Tables) -> bool {
        let rule = self.index.get(listener).and_then(|tunnel| tables.receive.get(*tunnel));
        rule.is_some_and(|rule| rule.socket_seen || rule.packets > 0)
    }

    /// A listener has a connection.
    pub(crate) fn note_conversation(&self, listener: &ProtocolAddress, tables: &mut Tables) {
        let rule = self.index.get(listener).and_then(|tunnel| tables.receive.get_mut(*tunnel));
        if let Some(rule) = rule {
            rule.socket_seen = true;
        }
    }

    pub(crate) fn contains(&self, address: &ProtocolAddress) -> bool {
        self.index.contains_key(address)
    }

    /// Makes a rule, which must not exist, and tells the relay if it may be told.
    pub(crate) fn add(&mut self, address: ProtocolAddress, now: Time, tables: &mut Tables) -> UpTunnel {
        let flow = FlowKey::try_from(&address);
        if flow.is_ok() && self.flows.len() >= FLOWS_MAX {
            self.evict(now, tables);
        }
        let tunnel = tables.receive.insert(
            Rule {
                symbol: self.symbol,
                protocol_address: address,
                state: RuleState::Pending,
                told: Told::Never,
                request: RequestId(0),
                socket_seen: false,
                passing: false,
                draining: false,
                resets: Resets::None,
                needed: self.grant.map(|_| tables.noticed.unwrap_or(now)),
                last_used: now,
                packets: 0,
                bytes: 0,
            },
            now,
        );
        match flow {
            Ok(flow) => self.flows.insert(flow, tunnel),
            Err(()) => self.listeners.of_mut(SocketPart::of(&address)).insert(address, tunnel),
        };
        let twin = self.index.insert(address, tunnel);
        debug_assert_eq!(twin, None, "{address} has a rule");
        self.tell(tunnel, tables);
        tunnel
    }

    /// The rule is no longer needed for what was detected. One by hand stays.
    pub(crate) fn remove(&mut self, address: &ProtocolAddress, now: Time, tables: &mut Tables) {
        if !self.by_hand.contains(address) {
            self.discard(address, now, tables);
        }
    }

    /// Takes the rule out, whoever wanted it.
    fn discard(&mut self, address: &ProtocolAddress, now: Time, tables: &mut Tables) {
        let Some(tunnel) = self.index.remove(address) else { return };
        self.leaving.remove(address);
        self.suspected.remove(address);
        self.quiet.remove(address);
        match FlowKey::try_from(address) {
            Ok(flow) => self.flows.remove(&flow),
            Err(()) => {
                tables.changes = tables.changes.wrapping_add(1);
                self.listeners.of_mut(SocketPart::of(address)).remove(address)
            }
        };
        let request = tables.request();
        let Some(rule) = tables.receive.get_mut(tunnel) else { return };
        match (rule.told, self.grant) {
            (Told::Never, grant) => {
                let refused = matches!(rule.state, RuleState::Refused(_));
                tables.receive.remove(tunnel, now);
                // The relay shows what it refused for as long as that is wanted.
                if let Some(grant) = grant.filter(|_| refused) {
                    tables.send(grant.peer, Message::RuleDelete(RuleDelete { request, tunnel }));
                }
            }
            (Told::Now, Some(grant)) => {
                rule.state = RuleState::Closing;
                rule.request = request;
                tables.send(grant.peer, Message::RuleDelete(RuleDelete { request, tunnel }));
            }
            // The relay sweeps it when it hears RULES_END.
            (Told::Earlier | Told::Now, _) => rule.state = RuleState::Closing,
        }
    }

    /// Takes everything out but [`NEIGHBORS`]: the symbol's interface is gone, and its programs with it. Rules by hand are in
    /// force again with the interface.
    pub(crate) fn discard_all(&mut self, now: Time, tables: &mut Tables) {
        let flows = self.flows.keys().map(FlowKey::rule);
        let gone: Vec<_> = self.listeners().copied().chain(flows).filter(|rule| *rule != NEIGHBORS).collect();
        for address in gone {
            self.discard(&address, now, tables);
        }
    }

    /// The port is granted: tells the relay all rules, [`NEIGHBORS`] first.
    pub(crate) fn replay(&mut self, grant: Grant, now: Time, tables: &mut Tables) {
        self.grant = Some(grant);
        match self.index.get(&NEIGHBORS) {
            Some(tunnel) => self.tell(*tunnel, tables),
            None if self.translation.is_some() || self.without_neighbors => {}
            None => {
                self.add(NEIGHBORS, now, tables);
            }
        }
        let listeners = self.listeners.all().flatten().filter(|(address, _)| **address != NEIGHBORS);
        for tunnel in listeners.map(|(_, tunnel)| tunnel).chain(self.flows.values()) {
            self.tell(*tunnel, tables);
        }
    }

    /// Asks again for the rules that were refused for a cause that may have passed; for `all` that were refused, if the relay
    /// has another configuration.
    pub(crate) fn ask_again(&mut self, all: bool, tables: &mut Tables) {
        for tunnel in self.listeners.all().flat_map(BTreeMap::values).chain(self.flows.values()) {
            let rule = tables.receive.get_mut(*tunnel);
            let passing =
                |rule: &&mut Rule| (all || rule.passing) && matches!(rule.state, RuleState::Refused(_));
            if let Some(rule) = rule.filter(passing) {
                rule.state = RuleState::Pending;
                self.tell(*tunnel, tables);
            }
        }
    }

    /// Contact is lost: every rule has to be told again.
    pub(crate) fn suspend(&mut self, tables: &mut Tables) {
        self.grant = None;
        for rule in tables.receive.rules_mut().filter(|rule| rule.symbol == self.symbol) {
            if rule.told == Told::Now {
                rule.told = Told::Earlier;
            }
            rule.needed = None;
            if rule.state != RuleState::Closing {
                rule.state = RuleState::Pending;
            }
        }
    }

    /// Whether packets of the remote end find their way back; `staying` leaves out listeners that do not wait for the end of
    /// their connections.
    pub(crate) fn covering_listener(
        &self,
        flow: &FlowKey,
        staying: bool,
        tables: &Tables,
    ) -> Option<UpTunnel> {
        flow.listeners().into_iter().find_map(|listener| {
            let tunnel = *self.index.get(&listener)?;
            let rule = tables.receive.get(tunnel)?;
            let refused = matches!(rule.state, RuleState::Refused(_));
            let leaves = staying && self.leaving.contains(&listener) && !drains(&listener);
            (!refused && !leaves).then_some(tunnel)
        })
    }

    /// The up tunnel of a flow's own rule.
    pub(crate) fn flow(&self, flow: &FlowKey) -> Option<UpTunnel> {
        self.index.get(&flow.rule()).copied()
    }

    fn tell(&self, tunnel: UpTunnel, tables: &mut Tables) {
        let Some(grant) = self.grant else { return };
        let request = tables.request();
        let Some(rule) = tables.receive.get_mut(tunnel) else { return };
        rule.told = Told::Now;
        rule.request = request;
        let add = RuleAdd {
            request,
            symbol: self.symbol,
            port: grant.port,
            tunnel,
            weight: match rule.protocol_address {
                ref address if drains(address) && self.leaving.contains(address) => 0,
                ProtocolAddress::Listener { .. } => self.share(),
                ProtocolAddress::Flow { .. }
                | ProtocolAddress::IpProtocol { .. }
                | ProtocolAddress::EtherType(_) => 1,
            },
            protocol_address: rule.protocol_address,
        };
        let message = match self.translation {
            Some(translation) => Message::TranslatedRuleAdd(TranslatedRuleAdd { rule: add, translation }),
            None => Message::RuleAdd(add),
        };
        tables.send(grant.peer, message);
    }

    fn evict(&mut self, now: Time, tables: &mut Tables) {
        let last_used = |tunnel| tables.receive.get(tunnel).map_or(Time(0), |rule| rule.last_used);
        let detected = self.flows.iter().filter(|(flow, _)| !self.by_hand.contains(&flow.rule()));
        let mut flows: Vec<(Time, FlowKey)> =
            detected.map(|(flow, tunnel)| (last_used(*tunnel), *flow)).collect();
        if flows.len() > EVICTED_AT_ONCE {
            flows.select_nth_unstable(EVICTED_AT_ONCE);
            flows.truncate(EVICTED_AT_ONCE);
        }
        for (_, flow) in flows {
            self.remove(&flow.rule(), now, tables);
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
