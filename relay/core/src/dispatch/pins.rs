//! [`Pins`]: flows that stay with their server, whatever the table says.
//!
//! There is room for [`PINS_MAX`]. A server may have half of it while others have pins as well, so that neither a flood of
//! new connections to one nor a control that tells too much keeps the flows of others from being remembered. A flow for
//! which there is no room goes by the table, a new one by the old table as long as that counts.

use super::ServerId;
use super::flow_table::FlowTable;
use super::hash::FlowHash;
use frames::UpTunnel;
use std::collections::BTreeMap;

/// Most pinned flows: 32 MiB.
pub(crate) const PINS_MAX: usize = 1_000_000;
/// Most of one server, while there are others.
const SERVER_MAX: usize = PINS_MAX / 2;

#[derive(Debug, Default)]
pub(super) struct Pins {
    flows: FlowTable<Entry>,
    /// Whose flows there are, by number. A place without flows is used again.
    owners: Vec<Owner>,
    numbers: BTreeMap<(ServerId, UpTunnel), u32>,
    /// Flows by server; no zero is kept.
    by_server: BTreeMap<ServerId, usize>,
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

/// A [`Pin`] in eight bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    owner: u32,
    request: u32,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    server: ServerId,
    tunnel: UpTunnel,
    flows: usize,
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

    #[inline]
    pub(super) fn get(&self, FlowHash(flow): FlowHash) -> Option<Pin> {
        let entry = self.flows.get(flow)?;
        let Owner { server, tunnel, .. } = self.owners[entry.owner as usize];
        Some(Pin { server, tunnel, request: entry.request })
    }

    /// A flow was opened anew.
    pub(super) fn renew(&mut self, FlowHash(flow): FlowHash, request: u32) {
        if let Some(entry) = self.flows.get_mut(flow) {
            entry.request = request;
        }
    }

    /// Pins a flow, in the place of a former pin of it. Returns whether there was room.
    pub(super) fn insert(&mut self, flow: FlowHash, pin: Pin) -> bool {
        let is_known = self.get(flow).is_some_and(|known| known.server == pin.server);
        let of_server = self.by_server.get(&pin.server).copied().unwrap_or(0);
        let alone = of_server == self.len();
        if !is_known && (self.len() >= PINS_MAX || (of_server >= SERVER_MAX && !alone)) {
            self.refused += 1;
            if !core::mem::replace(&mut self.told, true) {
                log::warn!(target: "relay::balance", "there is no room for more flows that stay against the table: others go by it");
            }
            return false;
        }
        self.remove(flow);
        let owner = self.owner(pin.server, pin.tunnel);
        self.owners[owner as usize].flows += 1;
        *self.by_server.entry(pin.server).or_default() += 1;
        self.flows.insert(flow.0, Entry { owner, request: pin.request });
        true
    }

    pub(super) fn remove(&mut self, FlowHash(flow): FlowHash) {
        if let Some(entry) = self.flows.remove(flow) {
            let owner = &mut self.owners[entry.owner as usize];
            owner.flows -= 1;
            let server = owner.server;
            self.gone(server, 1);
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
        self.by_server.clear();
        for entry in self.flows.values() {
            let owner = &mut self.owners[entry.owner as usize];
            owner.flows += 1;
            *self.by_server.entry(owner.server).or_default() += 1;
        }
        self.told &= self.len() > PINS_MAX / 4;
    }

    /// The rules of which there are pins.
    pub(super) fn rules(&self) -> impl Iterator<Item = (ServerId, UpTunnel)> {
        self.owners.iter().filter(|owner| owner.flows > 0).map(|owner| (owner.server, owner.tunnel))
    }

    fn owner(&mut self, server: ServerId, tunnel: UpTunnel) -> u32 {
        if let Some(number) = self.numbers.get(&(server, tunnel)) {
            return *number;
        }
        let owner = Owner { server, tunnel, flows: 0 };
        let unused = self.owners.iter().position(|owner| owner.flows == 0);
        let place = match unused {
            Some(place) => {
                let former = core::mem::replace(&mut self.owners[place], owner);
                self.numbers.remove(&(former.server, former.tunnel));
                place
            }
            None => {
                self.owners.push(owner);
                self.owners.len() - 1
            }
        };
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        self.numbers.insert((server, tunnel), number);
        number
    }

    fn gone(&mut self, server: ServerId, flows: usize) {
        if let Some(count) = self.by_server.get_mut(&server) {
            *count -= flows;
            if *count == 0 {
                self.by_server.remove(&server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(server: u32, tunnel: u32) -> Pin {
        Pin { server: ServerId(server), tunnel: UpTunnel(tunnel), request: 1 }
    }

    fn flow(n: usize) -> FlowHash {
        FlowHash(super::super::hash::mix(n as u64 + 1))
    }

    #[test]
    fn a_server_leaves_room_for_others() {
        let mut pins = Pins::default();
        for n in 0..SERVER_MAX + 10 {
            pins.insert(flow(n), pin(1, 1));
        }
        assert_eq!((pins.len(), pins.refused()), (SERVER_MAX + 10, 0), "alone it may have more than half");
        for n in 0..SERVER_MAX {
            pins.insert(flow(n + PINS_MAX), pin(2, 7));
        }
        pins.insert(flow(3 * PINS_MAX), pin(1, 1));
        assert_eq!((pins.len(), pins.refused()), (PINS_MAX, 11));
        assert_eq!(pins.get(flow(3)), Some(pin(1, 1)));
        assert!(pins.flows.memory() <= 34 * PINS_MAX, "{}", pins.flows.memory());
        pins.retain(|pin| pin.server == ServerId(2));
        assert_eq!(
            (pins.len(), pins.rules().collect::<Vec<_>>()),
            (SERVER_MAX - 10, vec![(ServerId(2), UpTunnel(7))])
        );
        pins.retain(|_| false);
        assert_eq!((pins.flows.memory(), pins.rules().count()), (0, 0));
    }

    #[test]
    fn a_flow_has_one_pin() {
        let mut pins = Pins::default();
        pins.insert(flow(1), pin(1, 1));
        pins.insert(flow(1), pin(2, 2));
        pins.renew(flow(1), 9);
        assert_eq!(pins.get(flow(1)), Some(Pin { request: 9, ..pin(2, 2) }));
        assert_eq!(pins.rules().collect::<Vec<_>>(), [(ServerId(2), UpTunnel(2))]);
        pins.insert(flow(2), pin(3, 3));
        assert_eq!(pins.owners.len(), 2, "the place of the first is used again");
        pins.remove(flow(1));
        pins.remove(flow(2));
        assert!(pins.is_empty() && pins.by_server.is_empty());
    }
}
