//! What is wanted is compared with what is there.

use super::{Address, Entry, Given, GivenAddress, Order, Orphans, PATIENCE, Phase, Refusal, State};
use crate::config::ControlName;
use crate::port::{Port, Ports};
use frames::PortId;
use frames::message::{PortAddress, Status};
use l2link::{PeerId, Time};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Why an address cannot be added.
enum Obstacle {
    /// For a reason that the control is to know.
    Refused(Refusal),
    /// This one, which nobody wants, must go first: the same with another prefix length, as a rule.
    Leaving((PortId, Address)),
}

impl Given {
    pub(super) fn reconcile(&mut self, ports: &Ports, now: Time) {
        self.see(ports);
        match self.orphans {
            Orphans::Unseen => self.orphans = Orphans::Stay(self.hold.map(|hold| now + hold)),
            Orphans::Stay(Some(until)) if until <= now => self.orphans = Orphans::Gone,
            Orphans::Stay(_) | Orphans::Gone => {}
        }
        self.find_owners();
        let keys: Vec<_> = self.entries.keys().copied().collect();
        for (id, address) in keys {
            match ports.get(id).filter(|port| port.is_present()) {
                Some(port) => self.reconcile_address(port, address, ports, now),
                None => self.set_state((id, address), State::Idle),
            }
        }
        self.entries.retain(|_, entry| entry.owner.is_some() || entry.there);
        self.refuse_rivals();
    }

    /// Takes in what the interfaces have.
    fn see(&mut self, ports: &Ports) {
        let mut there = BTreeSet::new();
        for port in ports.iter().filter(|port| port.is_present()) {
            let given = port.state.addresses.iter().filter(|address| address.is_given());
            there.extend(given.map(|address| (port.id, Address::of(address))));
        }
        for key in &there {
            let entry = self.entries.entry(*key).or_insert_with(|| Entry {
                // A port that was not there at the start may bring some as well.
                adopted: self.orphans != Orphans::Gone,
                ..Entry::default()
            });
            if core::mem::take(&mut entry.lost) {
                self.repaired += 1;
                log::info!(target: "relay::port", "address {} was lost, and is back", key.1);
            }
            entry.there = true;
        }
        for (key, entry) in &mut self.entries {
            let present = ports.get(key.0).is_some_and(Port::is_present);
            if entry.there && !there.contains(key) {
                entry.there = false;
                // One that went with its interface was not taken by anybody.
                entry.lost = present && entry.owner.is_some() && !matches!(entry.state, State::Asked(_));
            }
        }
    }

    fn find_owners(&mut self) {
        for (&(port, address), entry) in &mut self.entries {
            let said = entry.owner.and_then(|owner| self.said.get(&(port, owner)));
            let wants = said.is_some_and(|said| said.refusal.is_none() && said.addresses.contains(&address));
            if !wants {
                entry.owner = None;
            }
        }
        for (&(port, peer), said) in self.said.iter().filter(|(_, said)| said.refusal.is_none()) {
            for address in said.addresses.iter().filter(|address| address.is_sensible()) {
                let entry = self.entries.entry((port, *address)).or_default();
                if entry.owner.is_none() {
                    entry.owner = Some(peer);
                    entry.adopted = false;
                    entry.state = State::Idle;
                }
            }
        }
    }

    fn reconcile_address(&mut self, port: &Port, address: Address, ports: &Ports, now: Time) {
        let key = (port.id, address);
        let Some(entry) = self.entries.get(&key) else { return };
        let at = GivenAddress {
            port: port.id,
            ifindex: port.state.ifindex,
            address: address.address,
            prefix_length: address.prefix_length,
        };
        let tries = match &entry.state {
            State::Idle => true,
            State::Asked(asked) => *asked + PATIENCE <= now,
            State::Failed(_, next) => *next <= now,
        };
        match entry.owner {
            Some(owner) if entry.there => match own_conflict(port, address.address, ports) {
                None => {
                    self.set_state(key, State::Idle);
                    self.reply(owner, port.id, address, Refusal::new(Status::OK, ""));
                }
                // The relay got it later.
                Some(refusal) => {
                    if tries {
                        self.set_state(key, State::Asked(now));
                        self.orders.push(Order::Delete(at));
                    }
                    self.reply(owner, port.id, address, refusal);
                }
            },
            Some(owner) => match self.obstacle(port, address, ports) {
                Some(Obstacle::Refused(refusal)) => {
                    self.set_state(key, State::Idle);
                    self.reply(owner, port.id, address, refusal);
                }
                Some(Obstacle::Leaving(other)) => {
                    self.set_state(key, State::Idle);
                    let adopted = self.entries.get_mut(&other).map(|entry| &mut entry.adopted);
                    // Compared once more, as its turn may be over.
                    self.changed |= adopted.is_some_and(core::mem::take);
                }
                None if tries => {
                    self.set_state(key, State::Asked(now));
                    self.orders.push(Order::Add(at));
                }
                None => {
                    if let State::Failed(refusal, _) = &entry.state {
                        let refusal = refusal.clone();
                        self.reply(owner, port.id, address, refusal);
                    }
                }
            },
            None if entry.adopted && self.orphans_stay(port) => self.set_state(key, State::Idle),
            None if entry.there && tries => {
                self.set_state(key, State::Asked(now));
                self.orders.push(Order::Delete(at));
            }
            None => {}
        }
    }

    fn set_state(&mut self, key: (PortId, Address), state: State) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = state;
        }
    }

    /// Why the port cannot have the address: somebody has it already.
    fn obstacle(&self, port: &Port, wanted: Address, ports: &Ports) -> Option<Obstacle> {
        if let Some(refusal) = own_conflict(port, wanted.address, ports) {
            return Some(Obstacle::Refused(refusal));
        }
        let same = |item: &(&(PortId, Address), &Entry)| {
            let ((id, other), entry) = (*item.0, item.1);
            let asked = entry.owner.is_some() && matches!(entry.state, State::Asked(_));
            let alike = other.address == wanted.address && (id == port.id || !is_link_local(other.address));
            (entry.there || asked) && alike && (id, other) != (port.id, wanted)
        };
        let (&(id, other), entry) = self.entries.iter().find(same)?;
        let Some(owner) = entry.owner else { return Some(Obstacle::Leaving((id, other))) };
        let at = ports.get(id).map_or("?", Port::name);
        let text = format!("{} has given {other} to port {at}", self.name(owner));
        Some(Obstacle::Refused(Refusal::new(Status::CONFLICT, text)))
    }

    /// Whether a control may yet want orphans at this port.
    fn orphans_stay(&self, port: &Port) -> bool {
        let silent = |name: &ControlName| match name {
            ControlName::Any => true,
            ControlName::Named(name) => !self.spoke.contains(&(port.id, name.clone())),
        };
        let mut may = port.config.allow.iter().filter(|permission| permission.addressing);
        self.orphans != Orphans::Gone && may.any(|permission| silent(&permission.control))
    }

    /// Tells those who did not get what they want.
    fn refuse_rivals(&mut self) {
        let mut refusals = Vec::new();
        for (&(port, peer), said) in &self.said {
            for address in &said.addresses {
                let owner = self.entries.get(&(port, *address)).and_then(|entry| entry.owner);
                let refusal = match (&said.refusal, owner) {
                    (Some(refusal), _) => refusal.clone(),
                    (None, _) if !address.is_sensible() => {
                        Refusal::new(Status::BAD_REQUEST, format!("{address} is no address of an interface"))
                    }
                    (None, Some(owner)) if owner != peer => {
                        let text = format!("{} has given it to the port already", self.name(owner));
                        Refusal::new(Status::CONFLICT, text)
                    }
                    (None, _) => continue,
                };
                refusals.push((peer, port, *address, refusal));
            }
        }
        for (peer, port, address, refusal) in refusals {
            self.reply(peer, port, address, refusal);
        }
    }

    /// Tells a control that has said the address in this association, unless it knows.
    fn reply(&mut self, peer: PeerId, port: PortId, address: Address, refusal: Refusal) {
        if self.said.get(&(port, peer)).is_none_or(|said| said.phase != Phase::Current) {
            return;
        }
        let told = self.told.insert((peer, port, address), refusal.clone());
        if told.as_ref() != Some(&refusal) {
            let address = PortAddress::new(address.address, address.prefix_length);
            self.orders.push(Order::Reply { peer, port, address, refusal });
        }
    }

    pub(super) fn name(&self, peer: PeerId) -> &str {
        self.names.get(&peer).map_or("?", String::as_str)
    }
}

/// Why no control can give a port this address: the relay has it of its own.
fn own_conflict(port: &Port, address: IpAddr, ports: &Ports) -> Option<Refusal> {
    let has = |other: &&Port| {
        let own = |item: &PortAddress| !item.is_given() && item.address() == address;
        other.is_present()
            && (other.id == port.id || !is_link_local(address))
            && other.state.addresses.iter().any(own)
    };
    let place = if let Some(other) = ports.iter().find(has) {
        format!("at port {}", other.name())
    } else if !is_link_local(address) && ports.elsewhere().contains(&address) {
        "at an interface that is no port".to_owned()
    } else {
        return None;
    };
    Some(Refusal::new(Status::CONFLICT, format!("{address} is the relay's own, {place}")))
}

/// Whether an address means one interface only (RFC 4007).
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl Address {
    /// Whether an interface can have it.
    fn is_sensible(&self) -> bool {
        let address = self.address;
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
    }
}
