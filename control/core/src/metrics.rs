//! Figures for monitoring, as plain values: gauges, counters and latencies of the control.

use crate::Control;
use crate::symbol::State;
use frames::{DropReason, ProtocolAddress};
use l2link::Histogram;
use l2link::counters::Traffic;

/// How long things took, in all the daemon's life.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) socket_looks: Histogram,
    pub(crate) connection_looks: Histogram,
    listener_rules: Histogram,
    flow_rules: Histogram,
    pub(crate) routes: Histogram,
}

impl Latencies {
    /// Those of rules of this kind.
    pub(crate) fn rule(&mut self, address: &ProtocolAddress) -> &mut Histogram {
        match address {
            ProtocolAddress::Flow { .. } => &mut self.flow_rules,
            ProtocolAddress::Listener { .. }
            | ProtocolAddress::IpProtocol { .. }
            | ProtocolAddress::EtherType(_) => &mut self.listener_rules,
        }
    }
}

/// What [`Control::metrics`] tells.
#[derive(Debug)]
pub struct Metrics<'a> {
    /// How often each reason to drop occurred, anywhere in the control.
    pub drops: Vec<(DropReason, u64)>,
    /// Number of symbols in each state that there is.
    pub symbol_states: [(&'static str, u64); 4],
    /// The symbols.
    pub symbols: Vec<SymbolMetrics<'a>>,
    /// Number of rules in each state that there is.
    pub rules: [(&'static str, u64); 5],
    /// Those of the rules that are of flows.
    pub flows: u64,
    /// Flows that went because a symbol had too many.
    pub flows_evicted: u64,
    /// Routes of the kernels' tables that are mirrored.
    pub routes_mirrored: u64,
    /// Routes told to relays, by what came of them: `installed`, `refused`, `pending`.
    pub routes: [(&'static str, u64); 3],
    /// Parts of relays' tables that differed and were said again.
    pub routes_repaired: u64,
    /// Durations of the looks at sockets and at connections.
    pub looks: [(&'static str, &'a Histogram); 2],
    /// From the event that told of a need (or from the look that showed it) to the relay's word that the rule is in force,
    /// for sockets and for flows.
    pub rule_latencies: [(&'static str, &'a Histogram); 2],
    /// From a change of a route in the kernel to the relay's word that it is in force there, one change at a time.
    pub route_latency: &'a Histogram,
}

/// A symbol.
#[derive(Debug)]
pub struct SymbolMetrics<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Namespace; empty for the daemon's own.
    pub netns: &'a str,
    /// Name of its relay.
    pub relay: &'a str,
    /// Name of its port.
    pub port: &'a str,
    /// Whether it is up.
    pub up: bool,
    /// What programs sent by it.
    pub sent: Traffic,
    /// What came up for it.
    pub received: Traffic,
}

impl Control {
    /// Number of symbols that are up, and of all that are configured.
    #[must_use]
    pub fn symbols_up(&self) -> (usize, usize) {
        let up = self.symbols.iter().filter(|symbol| symbol.state().0 == State::Up).count();
        (up, self.symbols.len() + self.refused.len())
    }

    /// Figures for monitoring. Takes time in proportion to the number of rules.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        let mut rules = [("active", 0), ("draining", 0), ("pending", 0), ("refused", 0), ("closing", 0)];
        let mut flows = 0;
        for (_, rule) in self.tables.receive.iter() {
            let state = self.symbol(rule.symbol).map_or("closing", |symbol| symbol.rules.state(rule));
            if let Some((_, count)) = rules.iter_mut().find(|(name, _)| *name == state) {
                *count += 1;
            }
            flows += u64::from(matches!(rule.protocol_address, ProtocolAddress::Flow { .. }));
        }
        let states = self.symbols.iter().map(|symbol| symbol.state().0);
        let states: Vec<State> = states.chain(self.refused.iter().map(|_| State::Refused)).collect();
        let count =
            |wanted: State| (wanted.name(), states.iter().filter(|state| **state == wanted).count() as u64);
        let drops = DropReason::ALL.iter();
        let drops = drops.map(|reason| (*reason, self.dropped(*reason)));
        let [mirrored, told, installed, refused, repaired] = self.route_totals().map(|(_, value)| value);
        let latencies = &self.latencies;
        Metrics {
            drops: drops.collect(),
            symbol_states: [State::Up, State::Down, State::Waiting, State::Refused].map(count),
            symbols: self
                .symbols
                .iter()
                .zip(&states)
                .map(|(symbol, state)| SymbolMetrics {
                    name: &symbol.config.name,
                    netns: symbol.config.netns.as_deref().unwrap_or_default(),
                    relay: &symbol.config.relay,
                    port: &symbol.config.port,
                    up: *state == State::Up,
                    sent: symbol.sent,
                    received: symbol.received,
                })
                .collect(),
            rules,
            flows,
            flows_evicted: self.symbols.iter().map(|symbol| symbol.rules.evicted).sum(),
            routes_mirrored: mirrored,
            routes: [
                ("installed", installed),
                ("refused", refused),
                ("pending", told.saturating_sub(installed + refused)),
            ],
            routes_repaired: repaired,
            looks: [("sockets", &latencies.socket_looks), ("connections", &latencies.connection_looks)],
            rule_latencies: [("socket", &latencies.listener_rules), ("flow", &latencies.flow_rules)],
            route_latency: &latencies.routes,
        }
    }
}
