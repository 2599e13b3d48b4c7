//! [`Pins`]: flows that stay with their server, whatever the table says.
//!
//! There is room for [`PINS_MAX`]. A control may have as many as there is room left, so that neither a flood of new
//! connections to one nor a control that tells too much keeps the flows of others from being remembered: there always is
//! some room for who has less. A flow for which there is none goes by the table, a new one by the old table as long as that
//! counts.
//!
//! Flows are known by a keyed hash, with a secret of this process: nobody can make a flow that is taken for another's, or
//! many that are looked for in one place.

use super::ServerId;
use super::flow_table::{FlowTable, Slot};
use super::hash::FlowKey;
use frames::UpTunnel;
use l2link::PeerId;
use std::collections::BTreeMap;

/// Most pinned flows: 64 MiB.
pub(crate) const PINS_MAX: usize = 3_000_000;

#[derive(Debug, Default)]
pub(super) struct Pins {
    flows: FlowTable<Entry>,
    /// Whose flows there are, by number.
    owners: Vec<Owner>,
    /// The numbers of those with flows.
    numbers: BTreeMap<(ServerId, UpTunnel), u32>,
    /// The others.
    unused: Vec<u32>,
    /// Flows by control; no zero is kept.
    by_control: BTreeMap<PeerId, usize>,
    refused: u64,
    told: bool,
}

/// A flow that stays with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) server: ServerId,
    /// Of the rule whose reports sweep it.
    pub(super) tunnel: UpTunnel,
    /// The newest request when it was told or opened.
    pub(super) request: u32,
}

/// A [`Pin`] in sixteen bytes.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
struct Entry {
    flow: u64,
    owner: u32,
    request: u32,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    control: PeerId,
    server: ServerId,
    tunnel: UpTunnel,
    flows: usize,
}

impl Slot for Entry {
    #[inline]
    fn key(&self) -> u64 {
        self.flow
    }
}

impl Pins {
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Flows for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// See [`FlowTable::touch`].
    #[inline]
    pub(super) fn touch(&self, FlowKey(flow): FlowKey) -> u64 {
        self.flows.touch(flow).map_or(0, Slot::key)
    }

    #[inline]
    pub(super) fn get(&self, FlowKey(flow): FlowKey) -> Option<Pin> {
        let entry = self.flows.get(flow)?;
        let Owner { server, tunnel, .. } = self.owners[entry.owner as usize];
        Some(Pin { server, tunnel, request: entry.request })
    }

    /// A flow was opened anew.
    pub(super) fn renew(&mut self, FlowKey(flow): FlowKey, request: u32) {
        if let Some(entry) = self.flows.get_mut(flow) {
            entry.request = request;
        }
    }

    /// Whether a flow can be pinned to a server of a control.
    pub(super) fn has_room(&self, key: FlowKey, control: PeerId) -> bool {
        let known = self.flows.get(key.0).map(|entry| self.owners[entry.owner as usize].control);
        let own = self.by_control.get(&control).copied().unwrap_or(0);
        known == Some(control) || own < PINS_MAX - self.len()
    }

    /// Pins a flow to a server of a control, in the place of a former pin of it. Returns whether there was room.
    pub(super) fn insert(&mut self, key: FlowKey, control: PeerId, pin: Pin) -> bool {
        if !self.has_room(key, control) {
            self.refused += 1;
            if !core::mem::replace(&mut self.told, true) {
                log::warn!(target: "relay::balance", "a control has too many flows that stay against the table: its others go by it");
            }
            return false;
        }
        self.remove(key);
        let owner = self.owner(control, pin.server, pin.tunnel);
        self.owners[owner as usize].flows += 1;
        *self.by_control.entry(control).or_default() += 1;
        self.flows.insert(Entry { flow: key.0, owner, request: pin.request });
        true
    }

    pub(super) fn remove(&mut self, FlowKey(flow): FlowKey) {
        let Some(entry) = self.flows.remove(flow) else { return };
        let owner = &mut self.owners[entry.owner as usize];
        owner.flows -= 1;
        let Owner { control, server, tunnel, flows } = *owner;
        if flows == 0 {
            self.numbers.remove(&(server, tunnel));
            self.unused.push(entry.owner);
        }
        if let Some(count) = self.by_control.get_mut(&control) {
            *count -= 1;
            if *count == 0 {
                self.by_control.remove(&control);
            }
        }
    }

    /// Keeps those that `which` picks.
    pub(super) fn retain(&mut self, which: impl Fn(&Pin) -> bool) {
        let owners = &self.owners;
        self.flows.retain(|entry| {
            let Owner { server, tunnel, .. } = owners[entry.owner as usize];
            which(&Pin { server, tunnel, request: entry.request })
        });
        self.owners.iter_mut().for_each(|owner| owner.flows = 0);
        for entry in self.flows.iter() {
            self.owners[entry.owner as usize].flows += 1;
        }
        self.by_control.clear();
        self.unused.clear();
        for (number, owner) in (0..).zip(&self.owners) {
            if owner.flows == 0 {
                self.unused.push(number);
            } else {
                *self.by_control.entry(owner.control).or_default() += owner.flows;
            }
        }
        let owners = &self.owners;
        self.numbers.retain(|_, number| owners[*number as usize].flows > 0);
        self.told &= self.len() > PINS_MAX / 4;
    }

    /// The rules of which there are pins.
    pub(super) fn rules(&self) -> impl Iterator<Item = (ServerId, UpTunnel)> {
        self.numbers.keys().copied()
    }

    fn owner(&mut self, control: PeerId, server: ServerId, tunnel: UpTunnel) -> u32 {
        if let Some(number) = self.numbers.get(&(server, tunnel)) {
            return *number;
        }
        let owner = Owner { control, server, tunnel, flows: 0 };
        let number = match self.unused.pop() {
            Some(number) => {
                self.owners[number as usize] = owner;
                number
            }
            None => {
                self.owners.push(owner);
                u32::try_from(self.owners.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert((server, tunnel), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(server: u32, tunnel: u32) -> Pin {
        Pin { server: ServerId(server), tunnel: UpTunnel(tunnel), request: 1 }
    }

    fn flow(n: usize) -> FlowKey {
        FlowKey(super::super::hash::mix(n as u64 + 1))
    }

    #[test]
    fn who_has_less_finds_room() {
        let mut pins = Pins::default();
        for (control, room) in [(1, PINS_MAX / 2), (2, PINS_MAX / 4), (3, PINS_MAX / 8)] {
            let begin = pins.len();
            // Whatever symbols and rules it has.
            let mut rules = (0..21).cycle().map(|n| pin(10 * control + n % 3, n % 7));
            while pins.insert(flow(pins.len()), PeerId(control), rules.next().unwrap()) {}
            assert!(pins.len() - begin >= room, "control {control} has {}", pins.len() - begin);
        }
        assert!(pins.insert(flow(usize::MAX - 1), PeerId(4), pin(4, 4)));
        assert_eq!(pins.refused(), 3);
        assert!(pins.insert(flow(0), PeerId(1), pin(10, 1)), "it has that one");
        pins.retain(|pin| pin.server == ServerId(4));
        assert_eq!((pins.len(), pins.rules().collect::<Vec<_>>()), (1, vec![(ServerId(4), UpTunnel(4))]));
        assert_eq!(pins.by_control, BTreeMap::from([(PeerId(4), 1)]));
    }

    #[test]
    fn a_flow_has_one_pin() {
        let mut pins = Pins::default();
        assert!(pins.insert(flow(1), PeerId(1), pin(1, 1)));
        assert!(pins.insert(flow(1), PeerId(2), pin(2, 2)));
        pins.renew(flow(1), 9);
        assert_eq!(pins.get(flow(1)), Some(Pin { request: 9, ..pin(2, 2) }));
        assert_eq!(pins.rules().collect::<Vec<_>>(), [(ServerId(2), UpTunnel(2))]);
        assert!(pins.insert(flow(2), PeerId(3), pin(3, 3)));
        assert_eq!(pins.owners.len(), 2, "the place of the first is used again");
        pins.remove(flow(1));
        pins.remove(flow(2));
        assert!(pins.is_empty() && pins.by_control.is_empty() && pins.numbers.is_empty());
    }

    #[test]
    fn a_flow_takes_less_than_three_slots_of_sixteen_bytes() {
        let mut pins = Pins::default();
        for n in 1..200_000 {
            pins.insert(flow(n), PeerId(1), pin(1, 1));
            assert!(n < 100 || pins.flows.memory() <= 48 * n, "{n}: {}", pins.flows.memory());
        }
    }
}
