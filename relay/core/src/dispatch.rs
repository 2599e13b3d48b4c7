//! The dispatch table: which control gets a packet.
//!
//! # Theory of operation
//! A rule stands in one hash table under its [`Key`], exact flows, listeners, IP protocols and EtherTypes alike. A
//! packet is looked up stage by stage, from the most exact key to the least (see `select`), and each stage costs one
//! lookup whatever the number of rules; a stage of which there is no rule at all costs none. As there may be very many flows
//! and listeners, packets are looked up in extracts of the table, made such that one read of memory tells: `flows`, and
//! the pools of [`services`].
//!
//! In tables with very many entries each lookup waits for memory. Packets come in batches, so what all packets of one are going
//! to look up is read first ([`Dispatch::fetch`]): it is the batch that waits, not each packet.
//!
//! An entry lists its *members*: the rules with that key, the newest first. Of those of a flow there is one, as a rule; raw
//! and packet sockets get copies, each member one. The members of listeners are [`services`]: one of them gets a packet,
//! chosen by the flow. An entry is at most [`MEMBERS_PER_KEY`] long; in practice it has one member for each control.
//!
//! Rules live in a slab, so that a member is an index and counting a packet costs no lookup. Invariants: an entry is
//! never empty; every member's rule is in the slab; every rule is in `by_tunnel` once and in the table under each of
//! its keys once; `flows` has each key of a flow with a member that takes packets.

mod away;
mod contests;
mod decision;
mod flow_table;
mod hash;
mod learning;
mod maglev;
mod pins;
mod pool;
mod pools;
mod services;
mod shares;
mod tracks;

pub(crate) use decision::{Cause, Decision};
pub(crate) use pool::Standing;
pub(crate) use services::Ends;

use crate::config::PortConfig;
use crate::rule::{Key, Rule};
use flow_table::{FlowTable, Slot};
use frames::{PortId, SymbolId, UpTunnel};
use hash::{FlowKey, PoolHash};
use l2link::PeerId;
use learning::Missed;
use pools::PoolKey;
use rustc_hash::FxHashMap;
use services::{ServiceKey, Services, wide};
use shares::service_of;
use smallvec::SmallVec;
use std::collections::{BTreeMap, btree_map, hash_map};
use std::hint::black_box;

/// Most rules of one control: twice the ports of one address, so that no program meets it by accident.
pub(crate) const RULES_PER_CONTROL: usize = 131_072;
/// Most rules under one key, as choosing among them takes time in proportion.
pub(crate) const MEMBERS_PER_KEY: usize = 256;
/// Most of them that one control may have: a symbol in each of some dozen namespaces, twice while it begins anew.
pub(crate) const MEMBERS_PER_CONTROL: usize = 64;
/// Entries of a table that the processor has near by, in its second cache.
const NEAR: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    rules: Vec<Option<Rule>>,
    free: Vec<RuleIndex>,
    by_tunnel: BTreeMap<(PeerId, UpTunnel), RuleIndex>,
    table: FxHashMap<Key, Entry>,
    /// Who has the packets of a flow by a rule for exactly that.
    flows: FlowTable<OwnFlow>,
    /// Entries by class of key: a class without any is not looked up.
    classes: [usize; Key::CLASSES],
    /// Rules by control; no zero is kept.
    owned: BTreeMap<PeerId, usize>,
    services: Services,
    servers: Servers,
    /// Controls that have just fallen silent.
    missed: Missed,
    names: BTreeMap<PeerId, String>,
    /// Weights that an operator gave controls, by name.
    weights: BTreeMap<String, u16>,
    /// The ports' configuration; one that is not here shares with everybody alike.
    ports: BTreeMap<PortId, PortConfig>,
    /// Rules that ever were.
    arrivals: u64,
}

/// Who serves: a symbol of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerId(u32);

/// The numbers of servers. No number is used twice, as flows may still be known by it.
#[derive(Debug, Default)]
struct Servers {
    numbers: BTreeMap<(PeerId, SymbolId), ServerId>,
    next: u32,
    /// With as many it is time to forget those that are no more.
    full: usize,
}

/// Where a packet is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) peer: PeerId,
    pub(crate) tunnel: UpTunnel,
    pub(crate) symbol: SymbolId,
    rule: RuleIndex,
}

/// The targets of one packet, each symbol at most once.
#[derive(Debug, Default)]
pub(crate) struct Targets(Vec<Target>);

/// A flow that is looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought {
    port: PortId,
    protocol: u8,
    ends: Ends,
    flow: FlowKey,
    pool: PoolHash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RuleIndex(u32);

/// A flow that has a rule. Two in a cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct OwnFlow {
    key: u64,
    target: Option<Target>,
}

#[derive(Debug, Default)]
struct Entry {
    members: SmallVec<[Member; 1]>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    target: Target,
    weight: u16,
}

/// What [`Dispatch::add`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    New,
    /// The same rule was there already; its weight may have changed, and it is stale no more.
    Again,
    /// The tunnel was in use by this rule, which is gone.
    InsteadOf(Rule),
}

/// The control has [`RULES_PER_CONTROL`] rules, or the key has [`MEMBERS_PER_KEY`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl Dispatch {
    /// Puts a rule in force. A rule with the same tunnel is replaced.
    pub(crate) fn add(&mut self, rule: Rule) -> Result<Added, TableFull> {
        let id = (rule.peer, rule.tunnel);
        if let Some(index) = self.by_tunnel.get(&id).copied()
            && let Some(known) = self.rules[index.place()].as_mut()
            && (known.port, known.symbol, known.protocol_address)
                == (rule.port, rule.symbol, rule.protocol_address)
        {
            known.stale = false;
            if known.weight == 0 && rule.weight > 0 {
                // A server that is back, behind those that took its place.
                self.arrivals += 1;
                known.since = self.arrivals;
            }
            known.weight = rule.weight;
            self.set_weight(index, &rule);
            return Ok(Added::Again);
        }
        let replaced = self.remove(id.0, id.1);
        let owned = self.owned.get(&rule.peer).copied().unwrap_or(0);
        let crowded = |key| {
            self.table.get(&key).is_some_and(|entry| {
                let own = entry.members.iter().filter(|member| member.target.peer == rule.peer).count();
                entry.members.len() >= MEMBERS_PER_KEY || own >= MEMBERS_PER_CONTROL
            })
        };
        if owned >= RULES_PER_CONTROL || Key::of(rule.port, &rule.protocol_address).any(crowded) {
            return Err(TableFull);
        }
        self.insert(rule);
        Ok(replaced.map_or(Added::New, Added::InsteadOf))
    }

    /// Takes a rule out of force.
    pub(crate) fn remove(&mut self, peer: PeerId, tunnel: UpTunnel) -> Option<Rule> {
        let index = self.by_tunnel.remove(&(peer, tunnel))?;
        let rule = self.rules[index.place()].take()?;
        for key in Key::of(rule.port, &rule.protocol_address) {
            if let hash_map::Entry::Occupied(mut entry) = self.table.entry(key) {
                entry.get_mut().members.retain(|member| member.target.rule != index);
                if entry.get().members.is_empty() {
                    entry.remove();
                    self.classes[key.class()] -= 1;
                }
            }
            self.share_out(&key);
            if let Some((service, _)) = service_of(&key) {
                // Nobody waits for its flows.
                self.services.answered(service, peer, tunnel);
            }
            self.keep(&rule);
        }
        self.free.push(index);
        if let btree_map::Entry::Occupied(mut owned) = self.owned.entry(peer) {
            *owned.get_mut() -= 1;
            if *owned.get() == 0 {
                owned.remove();
            }
        }
        Some(rule)
    }

    /// Takes those rules of a control out of force that `which` picks.
    pub(crate) fn remove_where(&mut self, peer: PeerId, which: impl Fn(&Rule) -> bool) -> Vec<Rule> {
        let tunnels: Vec<_> = self.of_peer(peer).filter(|rule| which(rule)).map(|rule| rule.tunnel).collect();
        tunnels.into_iter().filter_map(|tunnel| self.remove(peer, tunnel)).collect()
    }

    /// Marks all rules of a control as left from an earlier session.
    pub(crate) fn mark_stale(&mut self, peer: PeerId) {
        for (_, index) in self.by_tunnel.range(tunnels_of(peer)) {
            if let Some(rule) = self.rules[index.place()].as_mut() {
                rule.stale = true;
            }
        }
    }

    /// All rules by control and tunnel.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.by_tunnel.values().filter_map(|index| self.rules[index.place()].as_ref())
    }

    /// The one that has the packets of this key.
    pub(crate) fn first(&self, key: &Key) -> Option<Target> {
        self.members(key).iter().find(|member| member.weight > 0).map(|member| member.target)
    }

    /// A flow that is going to be looked up.
    #[inline]
    pub(crate) fn seek(&self, port: PortId, protocol: u8, ends: Ends) -> Sought {
        self.services.seek(port, protocol, ends)
    }

    /// Reads what [`Dispatch::decide`] is going to read of tables that are too large for the processor's caches. Nothing depends on
    /// what is read, so that the processor waits for the memory of many flows at once.
    pub(crate) fn fetch<'a>(&self, flows: impl Iterator<Item = &'a Sought> + Clone) {
        if self.flows.len() > NEAR {
            let touch = |sought: &Sought| self.flows.touch(sought.flow.0).map_or(0, Slot::key);
            black_box(flows.clone().fold(0, |read, sought| read ^ touch(sought)));
        }
        self.services.fetch(flows);
    }

    /// Decides about a packet that is there.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn find(&mut self, sought: &Sought, opens: bool) -> Option<Target> {
        let decision = self.decide(sought, opens);
        self.commit(&decision);
        decision.target
    }

    /// As [`Dispatch::find`], of a flow by itself.
    #[cfg(test)]
    pub(crate) fn serve(&mut self, port: PortId, protocol: u8, ends: &Ends, opens: bool) -> Option<Target> {
        let sought = self.seek(port, protocol, *ends);
        self.find(&sought, opens)
    }

    /// The rule of a target that is in force.
    pub(crate) fn rule(&self, target: &Target) -> Option<&Rule> {
        self.rules.get(target.rule.place())?.as_ref()
    }

    /// Whether another control has a rule with this key.
    pub(crate) fn is_anothers(&self, key: &Key, peer: PeerId) -> bool {
        self.members(key).iter().any(|member| member.target.peer != peer)
    }

    /// Every member of the key's entry that takes new flows.
    pub(crate) fn copies(&self, key: &Key, targets: &mut Targets) {
        for member in self.members(key).iter().filter(|member| member.weight > 0) {
            targets.push(member.target);
        }
    }

    /// As [`Dispatch::copies`], of the controls that `which` picks.
    pub(crate) fn copies_of(&self, key: &Key, which: impl Fn(PeerId) -> bool, targets: &mut Targets) {
        for member in self.members(key).iter().filter(|member| which(member.target.peer)) {
            targets.push(member.target);
        }
    }

    /// Whether the target's rule is still in force.
    pub(crate) fn in_force(&self, target: &Target) -> bool {
        self.rules
            .get(target.rule.place())
            .and_then(Option::as_ref)
            .is_some_and(|rule| (rule.peer, rule.tunnel) == (target.peer, target.tunnel))
    }

    /// Counts a packet that was sent to a target of this moment.
    pub(crate) fn count(&mut self, target: &Target, bytes: usize) {
        if let Some(rule) = self.rules.get_mut(target.rule.place()).and_then(Option::as_mut) {
            rule.packets += 1;
            rule.bytes += bytes as u64;
        }
    }

    /// Counts packets that were sent by a rule.
    pub(crate) fn count_all(&mut self, peer: PeerId, tunnel: UpTunnel, packets: u64, bytes: u64) {
        let place = self.by_tunnel.get(&(peer, tunnel)).map(|index| index.place());
        if let Some(rule) = place.and_then(|place| self.rules.get_mut(place)?.as_mut()) {
            rule.packets += packets;
            rule.bytes += bytes;
        }
    }

    /// Takes over who has the packets of a flow.
    fn assign(&mut self, key: &Key) {
        let Key::Flow { port, protocol, local, local_port, remote, remote_port } = *key else { return };
        let service = (ServiceKey { port, protocol, local_port }, local);
        let (_, FlowKey(flow)) = self.services.pools.hashes(&service, (remote, remote_port));
        match self.first(key) {
            target @ Some(_) => _ = self.flows.insert(OwnFlow { key: flow, target }),
            None => _ = self.flows.remove(flow),
        }
    }

    fn members(&self, key: &Key) -> &[Member] {
        if self.classes[key.class()] == 0 {
            return &[];
        }
        self.table.get(key).map_or(&[], |entry| &entry.members)
    }

    /// The port of a rule.
    pub(crate) fn port_of(&self, peer: PeerId, tunnel: UpTunnel) -> Option<PortId> {
        let index = self.by_tunnel.get(&(peer, tunnel))?;
        self.rules.get(index.place())?.as_ref().map(|rule| rule.port)
    }

    pub(crate) fn of_peer(&self, peer: PeerId) -> impl Iterator<Item = &Rule> {
        self.by_tunnel.range(tunnels_of(peer)).filter_map(|(_, index)| self.rules[index.place()].as_ref())
    }

    fn insert(&mut self, rule: Rule) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.rules.push(None);
            RuleIndex(u32::try_from(self.rules.len() - 1).unwrap_or(u32::MAX))
        });
        let target = Target { peer: rule.peer, tunnel: rule.tunnel, symbol: rule.symbol, rule: index };
        for key in Key::of(rule.port, &rule.protocol_address) {
            let members = &mut self.table.entry(key).or_default().members;
            if members.is_empty() {
                self.classes[key.class()] += 1;
            }
            members.insert(0, Member { target, weight: rule.weight });
        }
        self.by_tunnel.insert((rule.peer, rule.tunnel), index);
        *self.owned.entry(rule.peer).or_default() += 1;
        let (port, address) = (rule.port, rule.protocol_address);
        self.arrivals += 1;
        self.rules[index.place()] = Some(Rule { since: self.arrivals, ..rule });
        Key::of(port, &address).for_each(|key| self.share_out(&key));
    }

    fn set_weight(&mut self, index: RuleIndex, rule: &Rule) {
        for key in Key::of(rule.port, &rule.protocol_address) {
            let members = self.table.get_mut(&key).map_or(&mut [][..], |entry| &mut entry.members);
            for member in members.iter_mut().filter(|member| member.target.rule == index) {
                member.weight = rule.weight;
            }
            self.share_out(&key);
        }
    }
}

impl RuleIndex {
    /// In the slab.
    #[inline]
    const fn place(self) -> usize {
        self.0 as usize
    }
}

impl Slot for OwnFlow {
    #[inline]
    fn key(&self) -> u64 {
        self.key
    }
}

impl Sought {
    #[inline]
    fn pool_key(&self) -> PoolKey {
        let (local, local_port) = self.ends.local;
        (ServiceKey { port: self.port, protocol: self.protocol, local_port }, wide(local))
    }
}

impl Targets {
    /// Adds a target unless its symbol gets the packet already.
    pub(crate) fn push(&mut self, target: Target) {
        if !self.0.iter().any(|known| (known.peer, known.symbol) == (target.peer, target.symbol)) {
            self.0.push(target);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Target> {
        self.0.get(index).copied()
    }

    /// The target, if there is one alone.
    pub(crate) fn sole(&self) -> Option<Target> {
        if let [target] = self.0[..] { Some(target) } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes over the targets of `other`; allots no memory once the capacity is there.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }
}

fn tunnels_of(peer: PeerId) -> core::ops::RangeInclusive<(PeerId, UpTunnel)> {
    (peer, UpTunnel(0))..=(peer, UpTunnel(u32::MAX))
}

#[cfg(test)]
mod tests;
