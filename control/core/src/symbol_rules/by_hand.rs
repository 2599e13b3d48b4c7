//! Rules by hand, beside what is detected.
//!
//! A protocol address that both an operator and a socket want has one rule, which goes with the last of the two: the set of
//! rules by hand is one holder, and what detection finds is the other.

use super::{SymbolRules, Tables};
use crate::flow::FlowKey;
use crate::rule::RuleState;
use crate::symbol::Seat;
use frames::ProtocolAddress;
use frames::message::Group;
use frames::protocol_address::Local;
use l2link::Time;

impl SymbolRules {
    /// All of them, in force or not.
    pub(crate) fn by_hand(&self) -> impl Iterator<Item = &ProtocolAddress> {
        self.by_hand.iter()
    }

    pub(crate) fn is_by_hand(&self, address: &ProtocolAddress) -> bool {
        self.by_hand.contains(address)
    }

    /// Notes one; returns whether that is news. It is put in force with the next comparison.
    pub(crate) fn hold(&mut self, address: ProtocolAddress) -> bool {
        self.by_hand.insert(address)
    }

    /// The operator wants one no more; returns whether there was one. If a socket wants it, it stays; which a comparison shows
    /// for a listener, and a look at the connections for a flow.
    pub(crate) fn let_loose(&mut self, address: &ProtocolAddress, tables: &mut Tables) -> bool {
        let was = self.by_hand.remove(address);
        let rule = self.index.get(address).and_then(|tunnel| tables.receive.get_mut(*tunnel));
        if was && let Some(rule) = rule.filter(|rule| rule.state == RuleState::Active) {
            // Somebody may have spoken to it.
            rule.socket_seen = true;
        }
        was
    }

    /// The listeners by hand that can be reached at this seat, raw and packet sockets included.
    pub(crate) fn listeners_by_hand(&self, seat: &Seat) -> impl Iterator<Item = ProtocolAddress> {
        self.by_hand
            .iter()
            .copied()
            .filter(|address| FlowKey::try_from(address).is_err() && seat.takes(address))
    }

    /// Makes the flows by hand that are not there.
    pub(crate) fn restore_flows(&mut self, seat: &Seat, now: Time, tables: &mut Tables) {
        let is_flow = |address: &ProtocolAddress| FlowKey::try_from(address).is_ok();
        let missing =
            |address: &&ProtocolAddress| is_flow(address) && seat.takes(address) && !self.contains(address);
        let missing: Vec<_> = self.by_hand.iter().filter(missing).copied().collect();
        for address in missing {
            self.add(address, now, tables);
        }
    }

    /// The groups that rules by hand in force are for.
    pub(crate) fn groups_by_hand(&self) -> impl Iterator<Item = Group> {
        let in_force =
            self.by_hand.iter().filter(|address| self.translation.is_none() && self.contains(address));
        in_force.filter_map(|address| match address {
            ProtocolAddress::Listener { local: Local::Address(group), .. }
            | ProtocolAddress::IpProtocol { local: Local::Address(group), .. } => {
                group.is_multicast().then_some(Group::Ip(*group))
            }
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::Flow { .. }
            | ProtocolAddress::EtherType(_) => None,
        })
    }
}

impl Seat {
    /// Whether packets for a rule by hand come through this symbol.
    pub(crate) fn takes(&self, address: &ProtocolAddress) -> bool {
        match *address {
            ProtocolAddress::Listener { local, .. } | ProtocolAddress::IpProtocol { local, .. } => {
                self.reaches(local, None)
            }
            ProtocolAddress::Flow { local, .. } => self.reaches(Local::Address(local), None),
            ProtocolAddress::EtherType(_) => true,
        }
    }
}
