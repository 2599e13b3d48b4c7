//! [`ReceiveTable`]: from up tunnel to symbol (fig. 5 of the patent), and everything known of a rule.
//!
//! # Theory of operation
//!
//! Up tunnels are allotted by this side and are places in a vector, so that a parcel finds its symbol by one index.
//! Numbers start at a random point: the relay may still hold rules of this control's former life, and parcels sent by
//! them must not be taken for the new life's.
//!
//! A number is not used again at once. The relay answers `RULE_DELETE` when it has deleted the rule, but a parcel that it
//! had sent before may be on the wire, or in the link's reassembly, behind the answer. [`REST`] is far longer than any
//! of these.

use crate::rule::Rule;
use core::time::Duration;
use frames::UpTunnel;
use l2link::Time;
use l2link::fast::FAST_LEASE;
use std::collections::VecDeque;

/// How long a number rests before it is used again: the link gives up an incomplete parcel long before.
pub(crate) const REST: Duration = Duration::from_secs(5);
const _: () = assert!(REST.as_secs() > FAST_LEASE.as_secs(), "the fast path must have forgotten it");

#[derive(Debug)]
pub(crate) struct ReceiveTable {
    first: u32,
    slots: Vec<Option<Rule>>,
    resting: VecDeque<(Time, UpTunnel)>,
}

impl ReceiveTable {
    /// An empty table; `random` decides where numbers start.
    pub(crate) fn new(random: u32) -> Self {
        // Of 24 bits: far apart in two lives, and short enough to be read by people.
        Self { first: (random >> 8).max(1), slots: Vec::new(), resting: VecDeque::new() }
    }

    /// Allots an up tunnel.
    pub(crate) fn insert(&mut self, rule: Rule, now: Time) -> UpTunnel {
        if let Some(&(since, tunnel)) = self.resting.front()
            && now - since >= REST
            && let Some(slot) = self.slot(tunnel)
        {
            *slot = Some(rule);
            self.resting.pop_front();
            return tunnel;
        }
        let place = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Some(rule));
        UpTunnel(self.first.wrapping_add(place))
    }

    /// The rule of a tunnel that is in use.
    pub(crate) fn get(&self, tunnel: UpTunnel) -> Option<&Rule> {
        self.slots.get(self.place(tunnel))?.as_ref()
    }

    /// As [`ReceiveTable::get`].
    pub(crate) fn get_mut(&mut self, tunnel: UpTunnel) -> Option<&mut Rule> {
        self.slot(tunnel)?.as_mut()
    }

    /// Takes the rule out; the number rests.
    pub(crate) fn remove(&mut self, tunnel: UpTunnel, now: Time) -> Option<Rule> {
        let rule = self.slot(tunnel)?.take()?;
        self.resting.push_back((now, tunnel));
        Some(rule)
    }

    /// All rules in order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (UpTunnel, &Rule)> {
        let numbers = (0..).map(|place: u32| UpTunnel(self.first.wrapping_add(place)));
        numbers.zip(&self.slots).filter_map(|(tunnel, slot)| Some((tunnel, slot.as_ref()?)))
    }

    /// As [`ReceiveTable::iter`].
    pub(crate) fn rules_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        self.slots.iter_mut().flatten()
    }

    fn place(&self, tunnel: UpTunnel) -> usize {
        tunnel.0.wrapping_sub(self.first) as usize
    }

    fn slot(&mut self, tunnel: UpTunnel) -> Option<&mut Option<Rule>> {
        let place = self.place(tunnel);
        self.slots.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{RuleState, Told};
    use frames::{ProtocolAddress, RequestId, SymbolId};

    #[test]
    fn a_number_rests_before_it_is_used_again() {
        let mut table = ReceiveTable::new(450 << 8);
        let first = table.insert(rule(1), Time(0));
        let second = table.insert(rule(2), Time(0));
        assert_eq!((first, second), (UpTunnel(450), UpTunnel(451)));
        assert_eq!(table.remove(first, Time(0)), Some(rule(1)));
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first, Time(0)), None, "removed once only");
        let third = table.insert(rule(3), Time(4_999_999));
        assert_eq!(third, UpTunnel(452), "the number still rests");
        let fourth = table.insert(rule(4), Time(5_000_000));
        assert_eq!(fourth, first, "the number has rested");
        let numbers: Vec<_> = table.iter().map(|(tunnel, rule)| (tunnel, rule.request.0)).collect();
        assert_eq!(numbers, [(fourth, 4), (second, 2), (third, 3)]);
    }

    #[test]
    fn numbers_that_were_never_allotted() {
        let mut table = ReceiveTable::new(0);
        let tunnel = table.insert(rule(1), Time(0));
        assert_eq!(tunnel, UpTunnel(1), "zero is never allotted");
        for stranger in [UpTunnel(0), UpTunnel(2), UpTunnel(u32::MAX)] {
            assert!(table.get(stranger).is_none() && table.remove(stranger, Time(0)).is_none());
        }
    }

    fn rule(request: u32) -> Rule {
        Rule {
            symbol: SymbolId(1),
            protocol_address: ProtocolAddress::EtherType(0x0806),
            state: RuleState::Pending,
            told: Told::Never,
            request: RequestId(request),
            socket_seen: false,
            passing: false,
            draining: false,
            resets: crate::rule::Resets::None,
            needed: None,
            last_used: Time(0),
            packets: 0,
            bytes: 0,
        }
    }
}
