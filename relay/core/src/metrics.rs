//! Figures for monitoring, as plain values: gauges and counters of the relay.

use crate::dispatch::Standing;
use crate::police::PuntClass;
use crate::relay::Relay;
use crate::show::port_state;
use crate::symbol::Grant;
use frames::{DropReason, ProtocolAddress};
use l2link::Link;

/// What [`Relay::metrics`] tells.
#[derive(Debug)]
pub struct Metrics<'a> {
    /// How often each reason to drop occurred, anywhere in the relay.
    pub drops: Vec<(DropReason, u64)>,
    /// Each port with its state, one of [`Metrics::PORT_STATES`].
    pub ports: Vec<(&'a str, &'static str)>,
    /// Number of symbols, granted and refused.
    pub symbols: [(&'static str, u64); 2],
    /// Number of rules in each state that there is.
    pub rules: [(&'static str, u64); 4],
    /// Those of the rules that are of flows.
    pub flows: u64,
    /// Flows that stay with a control other than new ones of their kind would go to.
    pub flows_pinned: u64,
    /// Flows for which there was no room among those.
    pub flows_unpinned: u64,
    /// Flows that are watched while shares change.
    pub flows_tracked: u64,
    /// Routes that are known.
    pub routes_known: u64,
    /// Routes by what came of them: `installed`, `refused`, `stale` (of the installed ones).
    pub routes: [(&'static str, u64); 3],
    /// Routes that were lost and are installed again.
    pub routes_repaired: u64,
    /// Looks at the kernel's routes.
    pub route_looks: u64,
    /// Addresses that controls gave to ports.
    pub given_addresses: u64,
    /// Those of them that were lost and are there again.
    pub given_addresses_repaired: u64,
    /// Packets sent up and refused by limits, by control and class.
    pub punts: Vec<Punts<'a>>,
}

/// Packets for one control of one class.
#[derive(Debug)]
pub struct Punts<'a> {
    /// The control.
    pub control: &'a str,
    /// The class.
    pub class: PuntClass,
    /// Packets sent up.
    pub passed: u64,
    /// Packets dropped because of the rate.
    pub dropped: u64,
}

impl Metrics<'_> {
    /// The states of a port.
    pub const PORT_STATES: [&'static str; 4] = ["up", "no-carrier", "down", "absent"];
}

impl Relay {
    /// The link, for its counters and peers.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Number of ports that are up, and of all that are configured.
    #[must_use]
    pub fn ports_up(&self) -> (usize, usize) {
        let up = self.ports.iter().filter(|port| port_state(port.state.flags) == "up").count();
        (up, self.ports.iter().count())
    }

    /// Figures for monitoring. Takes time in proportion to the number of rules, and to that of routes while the control of
    /// some is gone.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        let refused = self.refusals.len() as u64;
        let mut rules = [("active", 0), ("standby", 0), ("draining", 0), ("refused", refused)];
        let mut flows = 0;
        for rule in self.dispatch.iter() {
            let place = match self.dispatch.standing(rule) {
                Standing::Active => 0,
                Standing::Standby => 1,
                Standing::Draining => 2,
            };
            rules[place].1 += 1;
            flows += u64::from(matches!(rule.protocol_address, ProtocolAddress::Flow { .. }));
        }
        let mut symbols = [("up", 0), ("refused", 0)];
        for (.., symbol) in self.symbols.iter() {
            symbols[usize::from(matches!(symbol.grant, Grant::Refused { .. }))].1 += 1;
        }
        let punts = self.controls.values().flat_map(|control| {
            control.police.punted().map(|(class, punted)| Punts {
                control: &control.name,
                class,
                passed: punted.passed,
                dropped: punted.dropped,
            })
        });
        let counts = self.fib.counts;
        Metrics {
            drops: DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason))).collect(),
            ports: self.ports.iter().map(|port| (port.name(), port_state(port.state.flags))).collect(),
            symbols,
            rules,
            flows,
            flows_pinned: self.dispatch.pinned() as u64,
            flows_unpinned: self.dispatch.unpinned(),
            flows_tracked: self.dispatch.tracked() as u64,
            routes_known: self.fib.len(),
            routes: [
                ("installed", counts.installed),
                ("refused", self.fib.refused()),
                ("stale", self.fib.stale()),
            ],
            routes_repaired: counts.repaired,
            route_looks: counts.looks,
            given_addresses: self.given.len(),
            given_addresses_repaired: self.given.repaired,
            punts: punts.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::message::PortFlags;

    #[test]
    fn every_state_of_a_port_is_listed() {
        let known = (PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER).bits();
        // Without and with all bits that mean nothing yet.
        for bits in (0..=known).flat_map(|bits| [bits, bits | !known]) {
            let state = port_state(PortFlags::from_bits_retain(bits));
            assert!(Metrics::PORT_STATES.contains(&state), "{state}");
        }
    }
}
